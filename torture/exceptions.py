"""Lets an item fail with every kind of exception, however a batch migration is driven."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from support.batches import ASYNC, MIGRATION, SYNC, TOTAL, Numbers, numbers
from support.project import HISTORY_FILE, Project

from torture import in_process
from torture.figures import Fault, Figure

OTHER_EXIT = "runs with another exit code"
OTHER_STATUS = "migrations with another status"
OTHER_TRIES = "items tried another number of times"
OTHER_ITEM = "runs in which another item was named, or kept as failed"
OTHER_HISTORY = "runs with another attempt in the history"
_KINDS = (OTHER_EXIT, OTHER_STATUS, OTHER_TRIES, OTHER_ITEM, OTHER_HISTORY)

_RUN = ("migrate", "--data")
_FAILING, _TRIES = 3, 2
_TRIED = "tried.txt"
# Whatever is an Exception fails its item, and is tried again.
_FAILING_BY = (
    "ValueError('wrong')",
    "ValueError",
    "ValueError('x' * 300_000)",
    "KeyError('agreement')",
    "LookupError('\\x1b[2J\\nforged line')",
    "AssertionError",
    "NotImplementedError",
    "TimeoutError('too late')",
    "asyncio.QueueFull",
    "ConnectionResetError(104, 'Connection reset by peer')",
    "OSError(28, 'No space left on device', 'file')",
    "UnicodeDecodeError('utf-8', b'\\xff', 0, 1, 'invalid start byte')",
    "RecursionError('maximum recursion depth exceeded')",
    "MemoryError",
    "StopIteration('early')",
    "StopAsyncIteration",
    "UserWarning('deprecated')",
    "ExceptionGroup('several', [ValueError('one'), ExceptionGroup('more', [KeyError('two')])])",
    "kinds.Mute",
    "kinds.Careless('one', 'two')",
    "kinds.chained()",
)
# What is no Exception ends the run, with this code.
_ENDING_BY: Mapping[str, int] = {
    "SystemExit": 1,
    "SystemExit(0)": 1,
    "SystemExit(5)": 5,
    "SystemExit(256)": 1,
    "SystemExit('no licence')": 1,
    "KeyboardInterrupt": 130,
    "GeneratorExit": 1,
    "asyncio.CancelledError": 1,
    "BaseExceptionGroup('exits', [SystemExit(5)])": 1,
    "kinds.Final('enough')": 1,
}
_KINDS_OF_AUTHOR = """\
class Mute(Exception):
    def __str__(self): raise RuntimeError("no text")
    __repr__ = __str__


class Careless(Exception):
    def __init__(self, first, second): self.first = first


class Final(BaseException): pass


def chained():
    error = ValueError("the effect")
    error.__cause__ = KeyError("the cause")
    error.__cause__.__context__ = error
    return error
"""

type Ending = tuple[int | None, str]
type Run = Callable[[Project], Ending]


@dataclass(frozen=True, slots=True)
class Combination:
    """How a migration is driven, and what its third item raises."""

    error: str
    process: str
    workers: int
    on_error: str

    @property
    def collects(self) -> bool:
        """Whether the others go on."""
        return self.on_error == "collect" and self.error in _FAILING_BY

    @property
    def exit_code(self) -> int:
        """What the run is to exit with."""
        return _ENDING_BY.get(self.error, 1)

    @property
    def tries(self) -> int:
        """How often the item is to be tried."""
        return _TRIES if self.error in _FAILING_BY else 1

    @property
    def handled(self) -> int:
        """After which item the checkpoint is to be."""
        return TOTAL if self.collects else _FAILING - 1


def figures(folder: Path, every: int, outside: int) -> Iterator[Figure]:
    """Yield a figure of runs in this process, and one of runs in processes of their own.

    Args:
        folder: where the projects are made.
        every: of how many combinations one is run.
        outside: of how many of these one is run in a process of its own, too.
    """
    errors = (*_FAILING_BY, *_ENDING_BY)
    ways = itertools.product(errors, (SYNC, ASYNC), (1, 4), ("stop", "collect"))
    combinations = [Combination(*way) for way in ways][::every]
    for name, run, chosen in (
        ("this process", _run_here, combinations),
        ("one of its own", _run_outside, combinations[::outside]),
    ):
        found = (_faults(folder / name / str(n), way, run) for n, way in enumerate(chosen))
        yield Figure(
            f"An item that raises, run in {name}",
            f"{len(chosen)} runs: {len(errors)} exceptions, sync and async, 1 and 4 workers,"
            " stop and collect",
            _KINDS,
            [fault for faults in found for fault in faults],
        )


def _faults(root: Path, way: Combination, run: Run) -> Iterator[Fault]:
    root.mkdir(parents=True)
    project = Project(root)
    project.file("kinds.py", _KINDS_OF_AUTHOR)
    body = f"""
    if number == {_FAILING}:
        with open({_TRIED!r}, "a") as tried:
            tried.write("tried\\n")
        import kinds
        raise {way.error}
    """
    migration = numbers(
        project,
        body,
        process=way.process,
        workers=way.workers,
        on_error=repr(way.on_error),
        attempts=_TRIES,
        retry_seconds=0,
    )
    exit_code, output = run(project)
    record = migration.record
    tries = len((root / _TRIED).read_text().splitlines())
    counts = {"processed": way.handled - way.collects, "failed": int(way.collects)}
    for kind, found, expected in (
        (OTHER_EXIT, exit_code, way.exit_code),
        (OTHER_STATUS, (record["started_at"], record["applied_at"]), (None, None)),
        (OTHER_TRIES, tries, way.tries),
        (OTHER_ITEM, _blamed(migration, output), _expected_blame(way)),
        (OTHER_HISTORY, migration.attempts, [("failed", counts)]),
    ):
        if found != expected:
            yield Fault(kind, f"{way}: {found}, not {expected}: {output}")


def _blamed(migration: Numbers, output: str) -> tuple[int | None, list[int], bool]:
    """Return how far it came, which items are kept as failed, and whether the one ended it."""
    ended = f"Migration {MIGRATION} failed: {_FAILING}: " in output
    history = (migration.project.root / HISTORY_FILE).read_text().splitlines()
    kept = [item for line in map(json.loads, history) for item in line.get("failed", ())]
    return migration.cursor, [item["cursor"] for item in kept], ended


def _expected_blame(way: Combination) -> tuple[int, list[int], bool]:
    return way.handled, [_FAILING] if way.collects else [], not way.collects


def _run_here(project: Project) -> Ending:
    ending = in_process.run(_RUN, project.root, project.environment_of_run())
    return ending.exit_code, ending.output


def _run_outside(project: Project) -> Ending:
    result = project.run(*_RUN)
    return result.exit_code, result.stderr
