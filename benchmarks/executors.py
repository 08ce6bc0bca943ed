"""Batches in worker processes: how much faster, at which cost, and what is lost when they die."""

import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support.dask_cluster import dask_cluster

from benchmarks import batch_kills, projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

HEAD = ("Case", "Figure", "Target")

_RUN = ("migrate", "--data")
_WORKERS = 2
_ITEM_SECONDS = 0.02
_KILL_SECONDS = 2.0
_SEED = 20260101
_JOURNAL, _PROCESSES = "journal.txt", "processes.txt"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Args:
        computed: how many items compute for 20 ms.
        idle: how many items that take no time go through Dask.
        kills: how many processes that drive are killed.
    """

    computed: int
    idle: int
    kills: int


LONG = Extent(1_500, 1_000_000, 50)
SHORT = Extent(200, 50_000, 5)


def figures(ours: Contender, folder: Path, runs: int, extent: Extent) -> Iterator[Sequence[str]]:
    """Yield a row of the table for each figure.

    Args:
        ours: the release that runs.
        folder: where the projects are made.
        runs: how often a time is measured.
        extent: how much is measured.
    """
    with dask_cluster() as cluster:
        on_dask = {"BATCH_EXECUTOR": f"dask:{cluster.address}"}
        yield from _speed(ours, folder / "speed", runs, extent.computed, on_dask)
        yield from _overhead(ours, folder / "overhead", extent.idle, on_dask)
    yield _killed_workers(ours, folder / "killed", extent.computed)
    yield batch_kills.figure(ours, folder / "kills", _WORKERS, extent.kills, "process")


def _speed(
    ours: Contender, folder: Path, runs: int, items: int, on_dask: Mapping[str, str]
) -> Iterator[Sequence[str]]:
    """Measure by turns, so that what else the machine does meets all alike."""
    alone, processes, dask = Measurements(), Measurements(), Measurements()
    projects.create(folder / "thread", 1, _computing(items, "thread", 1))
    projects.create(folder / "process", 1, _computing(items, "process", _WORKERS))
    for _ in range(runs):
        for name, into, variables in (
            ("thread", alone, {}),
            ("process", processes, {}),
            ("process", dask, on_dask),
        ):
            projects.reset_state(folder / name, 0)
            measure([ours.command, *_RUN], folder / name, into, variables)
    for where, result in (("two worker processes", processes), ("two workers of Dask", dask)):
        yield (
            f"{items:,} items that compute for 20 ms, {where} beside one process",
            f"{alone.median / result.median:.2f} times as fast ({result}; one: {alone})",
            "≥ 1.7 times",
        )


def _overhead(
    ours: Contender, folder: Path, items: int, on_dask: Mapping[str, str]
) -> Iterator[Sequence[str]]:
    few, many = Measurements(), Measurements()
    for count, into in ((items // 10, few), (items, many)):
        project = folder / str(count)
        projects.create(project, 1, _idle(count))
        measure([ours.command, *_RUN], project, into, on_dask)
    # What it takes to begin is in both.
    overhead = 1e6 * (many.median - few.median) / (items - items // 10)
    yield f"{items:,} items through Dask: time an item", f"{overhead:.1f} µs", "≤ 50 µs"
    yield (
        f"the same: peak memory of the process that drives, {items // 10:,} and {items:,} items",
        f"{max(few.megabytes):.1f} MB and {max(many.megabytes):.1f} MB",
        "the same",
    )


def _killed_workers(ours: Contender, folder: Path, items: int) -> Sequence[str]:
    projects.create(folder, 1, _computing(items, "process", _WORKERS))
    ended, killed = threading.Event(), list[int]()
    killer = threading.Thread(target=_kill_workers, args=(folder, ended, killed))
    killer.start()
    try:
        measure([ours.command, *_RUN], folder)
    finally:
        ended.set()
        killer.join()
    processed = (folder / _JOURNAL).read_text().split()
    done = len(set(processed))
    case = f"{items:,} items in two worker processes, one killed every {_KILL_SECONDS:g} s"
    return (
        f"{case}: {len(killed)} times",
        f"{items - done} items lost, {len(processed) - done} processed again",
        "0 lost",
    )


def _kill_workers(project: Path, ended: threading.Event, killed: list[int]) -> None:
    """Kill a worker every so many seconds, of those that began last; the first one drives."""
    chance = random.Random(_SEED)
    while not ended.wait(_KILL_SECONDS):
        with suppress(OSError):
            _, *workers = map(int, (project / _PROCESSES).read_text().split())
            alive = [each for each in workers[-_WORKERS:] if each not in killed]
            if alive:
                worker = chance.choice(alive)
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)


def _computing(items: int, executor: str, workers: int) -> str:
    return f"""\
import os
import time

from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    executor = "{executor}"
    workers = {workers}

    def prepare(self):
        with open(self.project_root.absolute() / "{_PROCESSES}", "a") as file:
            file.write(f"{{os.getpid()}}\\n")

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        # Of the processor: waiting for another process is no work.
        ends_at = time.thread_time() + {_ITEM_SECONDS}
        while time.thread_time() < ends_at:
            sum(range(1_000))
        with open(self.project_root.absolute() / "{_JOURNAL}", "a") as file:
            file.write(f"{{item}}\\n")
"""


def _idle(items: int) -> str:
    return f"""\
from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    executor = "process"
    workers = {_WORKERS}
    batch_size = 10_000

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        return "changed" if item % 2 else "right already"
"""
