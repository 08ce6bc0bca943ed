"""The tool beside its earlier releases: the same actions in the same projects, taking turns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import projects
from benchmarks.airtable import count_requests
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure


@dataclass(frozen=True, slots=True)
class Case:
    """An action in a project, and the share of the faster earlier release that it is to take."""

    title: str
    arguments: Sequence[str]
    scripts: int
    applied: int
    target: float


CASES = (
    Case("`--help`", ["--help"], 0, 0, 0.30),
    Case("`--list`, 1,000 applied", ["migrate", "--list"], 1000, 1000, 0.45),
    Case("`--data`, 1,000 applied, none pending", ["migrate", "--data"], 1000, 1000, 0.10),
    Case("`--data`, 300 pending", ["migrate", "--data"], 300, 0, 0.30),
)
MOST_REQUESTS = 20


def compare(contenders: Sequence[Contender], folder: Path, runs: int) -> Iterator[Sequence[str]]:
    """Yield a row of the table for each case; the first contender is ours."""
    for number, case in enumerate(CASES):
        ours, *earlier = results = take_turns(case, contenders, folder / str(number), runs)
        share = ours.median / min(result.median for result in earlier)
        yield case.title, *map(str, results), f"{share:.2f}", f"≤ {case.target:.2f}"
    counts = [count_requests(one, folder / f"{one.name}-airtable", 250, 5) for one in contenders]
    requests = (f"{count} requests" for count in counts)
    share = counts[0] / min(counts[1:])
    title = "`--data`, Airtable, 250 applied, 5 pending"
    yield title, *requests, f"{share:.2f}", f"≤ {MOST_REQUESTS} requests"


def take_turns(
    case: Case, contenders: Sequence[Contender], folder: Path, runs: int
) -> list[Measurements]:
    """Measure a case by turns, so that what else the machine does meets all contenders alike."""
    results = [Measurements() for _ in contenders]
    for contender in contenders:
        projects.create(folder / contender.name, case.scripts)
    for turn in range(runs + 1):
        for contender, result in zip(contenders, results, strict=True):
            project = folder / contender.name
            projects.reset_state(project, case.applied)
            # The first turn compiles what Python keeps compiled.
            measure([contender.command, *case.arguments], project, result if turn else None)
    return results
