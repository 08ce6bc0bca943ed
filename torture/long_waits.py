"""Asks for a pause of ten minutes at each request of a run, with and without a signal meanwhile."""

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support.airtable_server import BASE, TABLE, AirtableServer
from support.process import Process
from support.project import Project

from torture.figures import Fault, Figure

BEYOND_BOUND = "waits beyond the bound"
LATE_STOP = "stops that took more than 2 s"
_STATUSES = (429, 503)
_RETRY_AFTER = {"Retry-After": "600"}
_BOUND_SECONDS = 5
# What a run without a pause takes at most here: it waits a second for the lock.
_USUAL_SECONDS = 5
_STOP_SECONDS = 2
_RUN = ("migrate", "--data")

type Seconds = Callable[[Project], float]


def figures(folder: Path, every: int, busy_seconds: float = 0) -> Iterator[Figure]:
    """Yield a figure without a signal, and one with it.

    Args:
        folder: where the projects are made.
        every: of how many requests one is answered so.
        busy_seconds: what a run may take longer, as the machine has much else to do.
    """
    for name, seconds_of, allowed, kind in (
        ("none", _seconds_of_run, _USUAL_SECONDS + _BOUND_SECONDS, BEYOND_BOUND),
        ("SIGTERM", _seconds_of_stop, _STOP_SECONDS, LATE_STOP),
    ):
        seconds = list(_at_each_request(folder / name, every, seconds_of))
        late = [each for each in seconds if each > allowed + busy_seconds]
        yield Figure(
            f"`Retry-After: 600` at a request of a run, signal: {name}",
            f"{len(seconds)} runs, one for each request, 429 and 503",
            [kind],
            [Fault(kind, f"{each:.1f} s") for each in late],
            f"the longest took {max(seconds):.1f} s",
        )


def _at_each_request(folder: Path, every: int, seconds_of: Seconds) -> Iterator[float]:
    """Yield what each run took; the last one made fewer requests than are let through."""
    for number in itertools.count(step=every):
        for status in _STATUSES:
            with AirtableServer() as server:
                server.add_table(BASE, TABLE)
                # Let through as they are.
                server.delay(0, times=number)
                server.answer(status, headers=_RETRY_AFTER)
                root = folder / f"{number}-{status}"
                root.mkdir(parents=True)
                project = Project(root, server.settings)
                project.script("first")
                seconds = seconds_of(project)
                if all(request.status != status for request in server.requests()):
                    return
                yield seconds


def _seconds_of_run(project: Project) -> float:
    began = time.monotonic()
    project.run(*_RUN, env={"STORAGE_AIRTABLE_RETRY_SECONDS": str(_BOUND_SECONDS)})
    return time.monotonic() - began


def _seconds_of_stop(project: Project) -> float:
    with Process(project, *_RUN, anew=True) as process:
        process.wait_until(lambda: "trying again" in process.stderr, pause=0.02)
        began = time.monotonic()
        process.send(signal.SIGTERM)
        process.wait()
        return time.monotonic() - began
