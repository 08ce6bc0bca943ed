"""Kills runs of a batch migration at random, and counts what is missed and what is replayed."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator, Sequence
from itertools import count, groupby
from pathlib import Path

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

_SEED = 20260101
_RUN = ("migrate", "--data")
# What each run processed: a line an item, with the process and the item.
_JOURNAL = "journal.txt"
_BATCH_SIZE = 50
# For each worker; of a project that is killed again and again, and of the one that tells when.
_ITEMS, _USUAL_ITEMS = 4_000, 500


def figure(
    ours: Contender, folder: Path, workers: int, kills: int, executor: str = "thread"
) -> Sequence[str]:
    """Return the row of the table for one number of workers.

    Args:
        ours: the release that runs.
        folder: where the projects are made.
        workers: how many workers the migration has.
        kills: how many runs are killed: the processes that drive.
        executor: whether the workers are threads or processes.
    """
    # Processes take a second to begin.
    usual_items = _USUAL_ITEMS * (4 if executor == "process" else 1)
    moments = random.Random(_SEED)
    usual = Measurements()
    projects.create(folder / "usual", 1, _script(usual_items * workers, workers, executor))
    measure([ours.command, *_RUN], folder / "usual", usual)
    killed = killed_amid_items = missed = most_replayed = 0
    for number in count():
        if killed >= kills:
            break
        project = folder / str(number)
        projects.create(project, 1, _script(_ITEMS * workers, workers, executor))
        while killed < kills and _kill(ours, project, moments.uniform(0, usual.median)):
            killed += 1
        measure([ours.command, *_RUN], project)
        runs = list(_runs(project))
        killed_amid_items += len(runs) - 1
        missed += _ITEMS * workers - len(set().union(*runs))
        most_replayed = max(most_replayed, *_replays(runs))
    case = f"SIGKILL at random {killed} times ({killed_amid_items} amid items), then to the end"
    kind = f"`executor = {executor}`, " if executor == "process" else ""
    checkpoint = f"{kind}`workers = {workers}`, `batch_size = {_BATCH_SIZE}`"
    return (
        f"{case}; {checkpoint}",
        f"{missed} items missed, {most_replayed} at most replayed at once",
        f"0 missed, ≤ {_BATCH_SIZE} replayed",
    )


def _kill(ours: Contender, project: Path, seconds: float) -> bool:
    """Run for so many seconds and kill; return whether the run had not ended before."""
    process = subprocess.Popen(
        [ours.command, *_RUN],
        cwd=project,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def _runs(project: Path) -> Iterator[set[int]]:
    """Yield the items that each run processed; one that came to none is left out."""
    lines = [line.split() for line in (project / _JOURNAL).read_text().splitlines()]
    for _, of_run in groupby(lines, key=lambda line: line[0]):
        yield {int(item) for _, item in of_run}


def _replays(runs: Sequence[set[int]]) -> Iterator[int]:
    """Yield how many items each run processed that another had processed before."""
    seen: set[int] = set()
    for items in runs:
        yield len(items & seen)
        seen |= items


def _script(items: int, workers: int, executor: str) -> str:
    # What a run does is known by the process that drives it.
    driver = "os.getppid()" if executor == "process" else "os.getpid()"
    return f"""\
import os
import random
import time

from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    executor = "{executor}"
    workers = {workers}
    batch_size = {_BATCH_SIZE}

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        time.sleep(random.uniform(0, 0.001))
        with open("{_JOURNAL}", "a") as journal:
            journal.write(f"{{{driver}}} {{item}}\\n")
"""
