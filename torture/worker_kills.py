"""Kills runs whose items are in worker processes: the one that drives, or a worker, at random."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from support.batches import MIGRATION, Numbers, numbers
from support.process import is_there, wait_until
from support.project import COMMAND, Project

from torture.figures import Fault, Figure
from torture.steps import MISSED, REPLAYED, UNFINISHED, replays

_SEED = 20260101
_BATCH_SIZE = 50
# In which a run begins its workers and handles some of the items.
_SECONDS = (0.5, 4.0)
# What was begun by which run, and the processes that prepared: the first one drives.
_BEGUN, _PREPARED = "begun.txt", "prepared.txt"
_STORES: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "SQLite": {"STORAGE_TYPE": "sql", "STORAGE_DATABASE_URL": "sqlite:///state.db"},
}
OUTLIVED = "workers that outlived the run"
_BODY = f"""
time.sleep(0.002)
with open("{_BEGUN}", "a") as file:
    file.write(f"{{os.getppid()}} {{number}}\\n")
"""
_PREPARE = f"""
def prepare(self):
    with open("{_PREPARED}", "a") as file:
        file.write(f"{{os.getpid()}}\\n")
"""


def figures(folder: Path, kills: int, items: int) -> Iterator[Figure]:
    """Yield a figure for each store.

    Args:
        folder: where the projects are made.
        kills: how many runs are killed on each; in every other one a worker is, shortly before.
        items: how many the migration has.
    """
    for store, environment in _STORES.items():
        yield _figure(folder / store, store, environment, kills, items)


def _figure(
    folder: Path, store: str, environment: Mapping[str, str], kills: int, items: int
) -> Figure:
    chance, faults = random.Random(_SEED), list[Fault]()
    killed = workers = projects = 0
    while killed < kills:
        projects += 1
        root = folder / str(projects)
        root.mkdir(parents=True)
        subject = _subject(Project(root), items)
        subject.project.environment |= environment
        subject.project.run("migrate", "--init")
        for _ in range(min(3, kills - killed)):
            workers += _killed(subject.project, chance, kills_worker=bool(killed % 2))
            killed += 1
            faults += _outliving(subject.project)
        # More than one is needed if a worker is lost.
        result = subject.project.run("migrate", "--data")
        if result.exit_code:
            faults.append(Fault(UNFINISHED, f"{root.name}: {result.stderr[-300:]}"))
        faults += _faults(subject, items)
    return Figure(
        f'SIGKILL of who drives an `executor = "process"`, then a run to the end, {store}',
        f"{killed} kills in {projects} projects, {workers} of them after one of a worker",
        (MISSED, REPLAYED, OUTLIVED, UNFINISHED),
        faults,
    )


def _subject(project: Project, items: int) -> Numbers:
    return numbers(
        project,
        _BODY,
        total=items,
        methods=_PREPARE,
        executor="'process'",
        workers=2,
        batch_size=_BATCH_SIZE,
    )


def _killed(project: Project, chance: random.Random, *, kills_worker: bool) -> bool:
    """Run for a while and kill the one process; return whether a worker was killed before it."""
    process = subprocess.Popen(
        [COMMAND, "migrate", "--data"],
        cwd=project.root,
        env=project.environment_of_run(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    worker = None
    try:
        process.wait(chance.uniform(*_SECONDS))
    except subprocess.TimeoutExpired:
        workers = [each for each in _prepared(project) if each != process.pid and is_there(each)]
        if kills_worker and workers:
            worker = chance.choice(workers)
            os.kill(worker, signal.SIGKILL)
        try:
            process.wait(chance.uniform(0, 0.5) if worker else 0)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    return worker is not None


def _outliving(project: Project) -> Iterator[Fault]:
    try:
        wait_until(lambda: not any(map(is_there, _prepared(project))))
    except AssertionError:
        yield Fault(OUTLIVED, project.root.name)


def _prepared(project: Project) -> list[int]:
    path = project.root / _PREPARED
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def _faults(subject: Numbers, items: int) -> Iterator[Fault]:
    where, path = subject.project.root.name, subject.project.root / _BEGUN
    lines = [line.split() for line in path.read_text().splitlines()]
    runs = [{item for _, item in of_run} for _, of_run in groupby(lines, lambda line: line[0])]
    missed = set(range(1, items + 1)).difference(subject.processed)
    yield from (Fault(MISSED, f"{where}: {MIGRATION} {item}") for item in sorted(missed))
    for count in filter(lambda count: count > _BATCH_SIZE, replays(runs)):
        yield Fault(REPLAYED, f"{where}: {count}")
