"""Kills runs of a batch migration with targets, steps and outcomes, and counts what came of it."""

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from support.project import COMMAND, Project

from torture.figures import Fault, Figure

_SEED = 20260101
_TARGETS = ("PRD-1", "PRD-2", "PRD-3")
_BATCH_SIZE = 50
_RUN = ("migrate", "--data")
# What was made, and what was processed by which process: a line each, written at once.
_MADE, _PROCESSED = "made.txt", "processed.txt"
MADE_AGAIN, UNMADE = "steps made again", "steps never made"
MISSED, REPLAYED = "items missed", "replays beyond a checkpoint"
MISCOUNTED, UNFINISHED = "wrong counts of outcomes", "runs that did not end well"
KINDS = (MADE_AGAIN, UNMADE, MISSED, REPLAYED, MISCOUNTED, UNFINISHED)


@dataclass(frozen=True, slots=True)
class Subject:
    """A project with the one migration, of so many items for each target."""

    project: Project
    items: int

    def faults(self) -> Iterator[Fault]:
        """Yield what is wrong once the migration is applied."""
        where = self.project.root.name
        wanted = Counter(step for target in _TARGETS for step in _steps(target, self.items))
        made = Counter(_lines(self.project, _MADE))
        yield from (Fault(MADE_AGAIN, f"{where}: {step}") for step in made - wanted)
        yield from (Fault(UNMADE, f"{where}: {step}") for step in wanted - made)
        runs = list(self.runs())
        every = {f"{target} {item}" for target in _TARGETS for item in range(1, self.items + 1)}
        yield from (Fault(MISSED, f"{where}: {item}") for item in every.difference(*runs))
        for count in filter(lambda count: count > _BATCH_SIZE, replays(runs)):
            yield Fault(REPLAYED, f"{where}: {count}")
        right = Counter(_outcome(item) for item in range(1, self.items + 1))
        for target in _TARGETS:
            counted = [
                each["outcomes"]
                for each in self.project.attempts()
                if (each["outcome"], each.get("target")) == ("applied", target)
            ]
            # Killed once it was saved that a target is applied, a run leaves no attempt at it.
            if counted not in ([], [right]):
                yield Fault(MISCOUNTED, f"{where}: {target} {counted}")

    def runs(self) -> Iterator[set[str]]:
        """Yield the items that each run processed; one that came to none is left out."""
        lines = [line.split(" ", 1) for line in _lines(self.project, _PROCESSED)]
        for _, of_run in groupby(lines, key=lambda line: line[0]):
            yield {item for _, item in of_run}


def figures(folder: Path, kills: int, items: int) -> Iterator[Figure]:
    """Yield the one figure.

    Args:
        folder: where the projects are made.
        kills: how many runs are killed.
        items: how many items each target has.
    """
    moments = random.Random(_SEED)
    began = time.perf_counter()
    usual = create(folder / "usual", items).project.run(*_RUN)
    whole = time.perf_counter() - began
    faults = [] if usual.exit_code == 0 else [Fault(UNFINISHED, usual.stderr)]
    killed = projects = in_gap = most_replayed = 0
    while killed < kills:
        projects += 1
        subject = create(folder / f"{projects:03}", items)
        while killed < kills and _is_killed(subject.project, moments.uniform(0, whole)):
            killed += 1
        end = subject.project.run(*_RUN)
        if end.exit_code:
            faults.append(Fault(UNFINISHED, end.stderr))
        faults += subject.faults()
        in_gap += len(_lines(subject.project, "found.txt"))
        most_replayed = max([most_replayed, *replays(list(subject.runs()))])
    yield Figure(
        "SIGKILL at a random moment of a batch migration with targets, steps, workers and outcomes",
        f"{killed} kills in {projects} projects of {len(_TARGETS)} targets with {items} items each",
        KINDS,
        faults,
        f"{in_gap} steps were made in the moment of a kill, and found; {most_replayed} items of a"
        f" checkpoint of {_BATCH_SIZE} replayed at most",
    )


def create(folder: Path, items: int) -> Subject:
    """Create a project whose migration has so many items for each target, and did not run."""
    folder.mkdir(parents=True)
    project = Project(folder)
    text = _SCRIPT.format(targets=_TARGETS, batch_size=_BATCH_SIZE, items=items)
    project.file("migrations/1_steps.py", text)
    return Subject(project, items)


def replays(runs: Sequence[set[str]]) -> Iterator[int]:
    """Yield how many items each run processed that another had processed before."""
    seen: set[str] = set()
    for items in runs:
        yield len(items & seen)
        seen |= items


def _is_killed(project: Project, seconds: float) -> bool:
    """Run for so many seconds and kill; return whether the run had not ended before."""
    process = subprocess.Popen(
        [COMMAND, *_RUN],
        cwd=project.root,
        env=project.environment_of_run(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    return process.wait() == -signal.SIGKILL


def _lines(project: Project, name: str) -> Sequence[str]:
    path = project.root / name
    return path.read_text().splitlines() if path.exists() else []


def _steps(target: str, items: int) -> Iterator[str]:
    """Yield the steps that are to be made for a target."""
    yield f"{target} parameter"
    yield from (f"{target} {item}" for item in range(1, items + 1) if item % 7 == 0)


def _outcome(item: int) -> str:
    return "changed" if item % 3 else "right already"


_SCRIPT = """\
import os
import random
import time
from pathlib import Path

from mpt_tool.migration import BatchDataMigration


def note(name, line):
    with open(name, "a") as file:
        file.write(f"{{line}}\\n")


class Migration(BatchDataMigration):
    targets = {targets}
    workers = 4
    batch_size = {batch_size}

    def prepare(self):
        self.keep("parameter", f"{{self.target}} parameter")

    def items(self, cursor):
        return range((cursor or 0) + 1, {items} + 1)

    def process(self, item):
        if item % 7 == 0:
            self.keep("webhook", f"{{self.target}} {{item}}")
        time.sleep(random.uniform(0, 0.002))
        note("processed.txt", f"{{os.getpid()}} {{self.target}} {{item}}")
        return "changed" if item % 3 else "right already"

    def keep(self, key, line):
        def make():
            note("made.txt", line)
            return line

        def find():
            made = Path("made.txt")
            if made.exists() and line in made.read_text().splitlines():
                note("found.txt", line)
                return line

        assert self.once(key, make, find) == line
"""
