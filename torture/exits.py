"""Lets an item of an asynchronous batch migration exit, while others are in flight."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.batches import ASYNC, MIGRATION, TOTAL, numbers
from support.project import Project

from torture.figures import Fault, Figure

OTHER_EXIT = "runs with another exit code"
OTHER_ITEM = "runs in which another item was named"
OTHER_CURSOR = "runs whose checkpoint is not just before the item"

_SEED = 20260101
_EXIT_CODE = 5
_WORKERS = (2, 4, 8)
# More processes than most machines have cores: that is the load.
_SIDE_BY_SIDE = 6


def figures(folder: Path, runs: int) -> Iterator[Figure]:
    """Yield the one figure, of so many runs."""
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        found = pool.map(lambda number: [*_faults(folder / str(number), number)], range(runs))
        faults = [fault for each in found for fault in each]
    yield Figure(
        "`sys.exit(5)` in an asynchronous `process`",
        f"{runs} runs, {_SIDE_BY_SIDE} at a time, with {', '.join(map(str, _WORKERS))} workers",
        (OTHER_EXIT, OTHER_ITEM, OTHER_CURSOR),
        faults,
    )


def _faults(root: Path, number: int) -> Iterator[Fault]:
    chance = random.Random(_SEED + number)
    exits = chance.randint(1, TOTAL)
    pauses = [chance.choice((0, 0, 0.001, 0.01)) for _ in range(TOTAL + 1)]
    root.mkdir(parents=True)
    body = f"""
    await asyncio.sleep({pauses}[number])
    if number == {exits}:
        raise SystemExit({_EXIT_CODE})
    """
    workers = _WORKERS[number % len(_WORKERS)]
    migration = numbers(Project(root), body, process=ASYNC, workers=workers)
    result = migration.project.run("migrate", "--data")
    detail = f"item {exits}, {workers} workers: {result}"
    if result.exit_code != _EXIT_CODE:
        yield Fault(OTHER_EXIT, detail)
    if f"Migration {MIGRATION} failed: {exits}: it exited with {_EXIT_CODE}\n" not in result.stderr:
        yield Fault(OTHER_ITEM, detail)
    if (migration.cursor or 0) != exits - 1:
        yield Fault(OTHER_CURSOR, f"{migration.cursor}, {detail}")
