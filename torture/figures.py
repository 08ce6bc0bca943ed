"""What a case of the torture shows: how often it tried, and what must never happen but did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must never happen, and how it did.

    Args:
        kind: what happened, in the plural.
        detail: where, and what was found there.
    """

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Figure:
    """What a case shows.

    Args:
        case: what was done.
        tried: how often, and under what conditions.
        kinds: what must not happen.
        faults: what did; each is of one of the kinds.
        besides: what else was counted, which is no fault.
    """

    case: str
    tried: str
    kinds: Sequence[str]
    faults: Sequence[Fault]
    besides: str = ""

    @property
    def found(self) -> str:
        """How often each of the kinds happened."""
        happened = [fault.kind for fault in self.faults]
        return ", ".join(f"{happened.count(kind)} {kind}" for kind in self.kinds)

    @property
    def row(self) -> Sequence[str]:
        """The figure as a row of the table."""
        return self.case, self.tried, self.found, self.besides


HEAD = ("Case", "Tried", "Found", "Besides")


def table(figures: Iterable[Figure]) -> Iterable[str]:
    """Yield the lines of a table in Markdown, each as soon as its figure is there."""
    yield _line(HEAD)
    yield _line(["---"] * len(HEAD))
    for figure in figures:
        yield _line(figure.row)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
