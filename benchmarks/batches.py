"""Batch migrations: what the tool adds to each item, how fast and how politely it walks."""

import json
import statistics
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from support.airtable_server import BASE, STATE_COLUMNS, TABLE, AirtableServer
from support.http_server import Request
from support.mpt_server import MPTServer

from benchmarks import batch_kills, found_pace, many_at_once, projects, rehearsing
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

HEAD = ("Case", "Figure", "Target")

_RUN = ("migrate", "--data")
_BATCH_SIZE = 100
_REPLY_SECONDS = 0.05
_MANY_WORKERS = 16
_PER_SECOND = 100
_CHECKPOINT_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Args:
        items: how many items that take no time are walked over.
        requests: how many items are a request each.
        requests_by_one: the same for one worker, which takes so much longer.
        saved_items: how many items, of 2 ms each, are walked over with the state on Airtable.
        kills: how many runs are killed, with one worker and again with several.
        limit_seconds: how long each limit of a platform holds that does not publish it.
        rehearsed: how many items are rehearsed.
    """

    items: int
    requests: int
    requests_by_one: int
    saved_items: int
    kills: int
    limit_seconds: float
    rehearsed: int


LONG = Extent(1_000_000, 2_000, 400, 5_000, 200, 60, 3_000)
SHORT = Extent(50_000, 400, 40, 1_500, 10, 15, 200)


def figures(ours: Contender, folder: Path, runs: int, extent: Extent) -> Iterator[Sequence[str]]:
    """Yield a row of the table for each figure.

    Args:
        ours: the release that runs.
        folder: where the projects are made.
        runs: how often the time an item takes is measured.
        extent: how much is measured.
    """
    yield from _overhead(ours, folder / "overhead", runs, extent.items)
    yield from _speed(ours, folder / "speed", extent)
    yield from _pace(ours, folder / "pace", extent.requests)
    yield found_pace.figure(ours, folder / "found-pace", extent.limit_seconds)
    for workers in (1, 8):
        yield batch_kills.figure(ours, folder / f"kills-{workers}", workers, extent.kills)
    yield _checkpoints(ours, folder / "checkpoints", extent.saved_items)
    yield from many_at_once.figures(ours, folder / "many", extent.requests, extent.requests)
    yield rehearsing.figure(ours, folder / "rehearsal", extent.rehearsed)


def _overhead(ours: Contender, folder: Path, runs: int, items: int) -> Iterator[Sequence[str]]:
    """Measure by turns, so that what else the machine does meets the tool and the loop alike."""
    few, many, loop = (folder / name for name in ("few", "many", "loop"))
    projects.create(few, 1, _idle_batch(items // 10))
    projects.create(many, 1, _idle_batch(items))
    projects.create(loop, 1, _idle_loop(items))
    of_few, of_many, of_loop = Measurements(), Measurements(), Measurements()
    measure([ours.command, *_RUN], few, of_few)
    for _ in range(runs):
        for project, result in ((many, of_many), (loop, of_loop)):
            projects.reset_state(project, 0)
            measure([ours.command, *_RUN], project, result)
    beyond = _microseconds_an_item(of_many.seconds, of_loop.seconds, items)
    cpu = statistics.median(_microseconds_an_item(of_many.cpu_seconds, of_loop.cpu_seconds, items))
    spread = f"{min(beyond):.2f} to {max(beyond):.2f}"
    case = f"{items:,} items with outcomes, 1 worker: time an item, beyond a loop that saves alike"
    yield (
        case,
        f"{statistics.median(beyond):.2f} µs ({spread}); of the processor: {cpu:.2f} µs",
        "≤ 3 µs",
    )
    yield (
        f"peak memory with {items // 10:,} and with {items:,} items",
        f"{max(of_few.megabytes):.1f} MB and {max(of_many.megabytes):.1f} MB",
        "the same",
    )


def _microseconds_an_item(
    tool: Sequence[float], loop: Sequence[float], items: int
) -> Sequence[float]:
    """Return for each turn how much longer the tool took than the loop."""
    return [1e6 * (one - other) / items for one, other in zip(tool, loop, strict=True)]


def _speed(ours: Contender, folder: Path, extent: Extent) -> Iterator[Sequence[str]]:
    alone = _rate(_arrivals(ours, folder / "alone", extent.requests_by_one, 1))
    together = _rate(_arrivals(ours, folder / "together", extent.requests, _MANY_WORKERS))
    case = f"{extent.requests:,} requests that take {_REPLY_SECONDS * 1000:.0f} ms each"
    yield (
        f"{case}, {_MANY_WORKERS} workers beside one (measured with {extent.requests_by_one})",
        f"{together / alone:.1f} times as fast ({together:.0f} a second, {alone:.1f} a second)",
        "≥ 12 times",
    )


def _pace(ours: Contender, folder: Path, requests: int) -> Iterator[Sequence[str]]:
    arrivals = _arrivals(ours, folder, requests, _MANY_WORKERS, _PER_SECOND)
    # How many there are in the second that begins with each of them.
    crowds = [bisect_left(arrivals, began + 1) - number for number, began in enumerate(arrivals)]
    yield (
        f"the same with `max_per_second = {_PER_SECOND}`, as the server sees it",
        f"{_rate(arrivals):.1f} a second, {max(crowds)} at most in any second",
        f"within 3 % of {_PER_SECOND}, {_PER_SECOND} at most",
    )


def _arrivals(
    ours: Contender, folder: Path, requests: int, workers: int, per_second: float = 0
) -> list[float]:
    """Return when the requests of a batch migration reached the server, in their order."""
    projects.create(folder, 1, _requesting_batch(requests, workers, per_second))
    with MPTServer(clock=time.monotonic) as server:
        for number in range(requests):
            server.add_agreement(str(number))
        server.delay(_REPLY_SECONDS, times=requests)
        measure([ours.command, *_RUN], folder, environment=server.settings)
        return sorted(request.time for request in server.requests())


def _rate(moments: Sequence[float]) -> float:
    return (len(moments) - 1) / (moments[-1] - moments[0])


def _checkpoints(ours: Contender, folder: Path, items: int) -> Sequence[str]:
    projects.create(folder, 1, _slow_batch(items))
    with AirtableServer() as server:
        column = {"name": "checkpoint", "type": "multilineText"}
        server.add_table(BASE, TABLE, [*STATE_COLUMNS, column])
        measure([ours.command, *_RUN], folder, environment=server.settings)
        moments = [request.time for request in server.record_requests() if _is_save(request)]
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    count = f"{len(moments)} requests in {moments[-1] - moments[0]:.1f} s"
    return (
        f"checkpoints on Airtable with `checkpoint_seconds = {_CHECKPOINT_SECONDS}`",
        f"{count}, {min(gaps):.3f} s apart at least",
        f"≥ {_CHECKPOINT_SECONDS} s apart",
    )


def _is_save(request: Request) -> bool:
    """Whether a request writes a checkpoint: the end of a migration empties the cell."""
    return '"checkpoint": "' in json.dumps(request.body)


def _idle_batch(items: int) -> str:
    return f"""\
from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    batch_size = {_BATCH_SIZE}

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        return "changed" if item % 2 else "right already"
"""


def _idle_loop(items: int) -> str:
    return f"""\
import json
import os
from pathlib import Path

from mpt_tool.migration import DataBaseMigration


class Migration(DataBaseMigration):
    def run(self):
        for item in range({items}):
            self.process(item)
            if (item + 1) % {_BATCH_SIZE} == 0:
                self.save({{"cursor": item, "processed": item + 1}})

    def process(self, item):
        return "changed" if item % 2 else "right already"

    def save(self, checkpoint):
        with open("checkpoint.tmp", "w") as file:
            json.dump(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        Path("checkpoint.tmp").replace("checkpoint.json")
        folder = os.open(".", os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
"""


def _requesting_batch(items: int, workers: int, per_second: float) -> str:
    return f"""\
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    workers = {workers}
    max_per_second = {per_second}

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        self.mpt_client.commerce.agreements.get(str(item))
"""


def _slow_batch(items: int) -> str:
    return f"""\
import time

from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    checkpoint_seconds = {_CHECKPOINT_SECONDS}

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        time.sleep(0.002)
"""
