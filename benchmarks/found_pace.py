"""Lets a batch migration ask a platform whose limit nobody knows, and that changes meanwhile."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from support.mpt_server import MPTServer, RateLimit

from benchmarks import projects
from benchmarks.contenders import Contender

_LIMITS = (40, 15, 60)
_WORKERS = 16
_REPLY_SECONDS = 0.05


def figure(ours: Contender, folder: Path, seconds: float) -> Sequence[str]:
    """Return the row of the table.

    Args:
        ours: the release that runs.
        folder: where the project is made.
        seconds: how long each limit holds.
    """
    projects.create(folder, 1, _script())
    with MPTServer(clock=time.monotonic, rate_limit=RateLimit(_LIMITS[0])) as server:
        server.add_agreement("AGR-1")
        server.delay(_REPLY_SECONDS, times=10**9)
        process = subprocess.Popen(
            [ours.command, "migrate", "--data"],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **server.settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not server.requests():
            time.sleep(0.01)
        for limit in _LIMITS:
            server.rate_limit = RateLimit(limit)
            time.sleep(seconds)
        statuses = [request.status for request in server.requests()]
        process.send_signal(signal.SIGTERM)
        process.wait()
    share = statuses.count(200) / (sum(_LIMITS) * seconds)
    refused = statuses.count(429) / len(statuses)
    limits = " to ".join(map(str, _LIMITS))
    case = f"a platform with an unpublished limit of {limits} requests a second"
    how = f"each for {seconds:.0f} s, `workers = {_WORKERS}`, {_REPLY_SECONDS * 1000:.0f} ms each"
    return (
        f"{case}; {how}",
        f"{share:.1%} of what it allows; {refused:.1%} of the answers are 429",
        "≥ 90 %, ≤ 2 %",
    )


def _script() -> str:
    return f"""\
from itertools import count

from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    workers = {_WORKERS}

    def items(self, cursor):
        return count()

    def process(self, number):
        self.mpt_client.commerce.agreements.get("AGR-1")
"""
