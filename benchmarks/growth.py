"""How the time and the memory of the tool grow with the number of scripts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

SIZES = (100, 1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Action:
    """What is done in a project where all migrations are applied, or none."""

    title: str
    arguments: Sequence[str]
    applied: bool
    environment: Mapping[str, str] = field(default_factory=dict)


_TAB = {
    "_MPT_TOOL_COMPLETE": "complete_bash",
    "COMP_WORDS": "mpt-tool migrate --fake step_000",
    "COMP_CWORD": "3",
}
RUN_ALL = Action("`--data`, all pending", ["migrate", "--data"], applied=False)
ACTIONS = (
    Action("`--list`", ["migrate", "--list"], applied=True),
    Action("`--data`, all applied", ["migrate", "--data"], applied=True),
    Action("`--check`", ["migrate", "--check"], applied=True),
    Action("`--fake` and TAB, all applied", [], applied=True, environment=_TAB),
    Action("`--fake` and TAB, all pending", [], applied=False, environment=_TAB),
    RUN_ALL,
)
HEAD = ("Action", *(f"{size:,} scripts" for size in SIZES))


def grow(
    contender: Contender, folder: Path, runs: int, *, longest: bool
) -> Iterator[Sequence[str]]:
    """Yield a row of the table for each action.

    Args:
        contender: the release to measure.
        folder: where the projects are made.
        runs: how often each is measured, after one that is not.
        longest: whether to run the most scripts too, once.
    """
    for size in SIZES:
        projects.create(folder / str(size), size)
    for action in ACTIONS:
        row = [action.title]
        for size in SIZES:
            is_longest = action is RUN_ALL and size == SIZES[-1]
            if is_longest and not longest:
                row.append("left out")
                continue
            result = Measurements()
            for turn in [1] if is_longest else range(runs + 1):
                projects.reset_state(folder / str(size), size if action.applied else 0)
                command = [contender.command, *action.arguments]
                into = result if turn else None
                measure(command, folder / str(size), into, action.environment)
            row.append(f"{result.median:.2f} s, {max(result.megabytes):.0f} MB")
        yield row
