"""What a page marks its rows with, so that boxes filter them without a script; text as HTML."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from html import escape
from itertools import product

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum, OutcomeEnum
from mpt_tool.wording import printable, printable_lines, timestamp

_UNKNOWN = "unknown"
_TYPES = (*MigrationTypeEnum, _UNKNOWN)
_STATUSES = tuple(dict.fromkeys(map(str, (*MigrationStatusEnum, *OutcomeEnum))))
_COLOURS: Mapping[str, str] = {
    MigrationStatusEnum.RUNNING: "running",
    MigrationStatusEnum.FAILED: "failed",
    MigrationStatusEnum.FAKED: "faked",
    MigrationStatusEnum.APPLIED: "applied",
    MigrationStatusEnum.NOT_APPLIED: "pending",
    OutcomeEnum.STOPPED: "running",
    OutcomeEnum.FOUND_DEAD: "failed",
}


class Marks:
    """The classes of rows: a short one for each type and for each status that occurs.

    Args:
        types: those of all rows, None where it is not known.
        statuses: those of all rows, statuses and outcomes alike.
    """

    def __init__(self, types: Iterable[str | None], statuses: Iterable[str]) -> None:
        found_types, found = {each or _UNKNOWN for each in types}, set(statuses)
        self.types = {each: f"t{_TYPES.index(each)}" for each in _TYPES if each in found_types}
        self.statuses = {
            each: f"s{number}" for number, each in enumerate(_STATUSES) if each in found
        }

    def of(self, type_: str | None, status: str) -> str:
        """Return the classes of a row."""
        return f"{self.types[type_ or _UNKNOWN]} {self.statuses[status]}"

    def of_status(self, status: str) -> str:
        """Return the class of a status, which has a colour."""
        return self.statuses[status]

    def pair(self, classes: str) -> str:
        """Return the class of what is there for rows of these classes, and goes with them."""
        return classes.replace(" ", "")

    def style(self) -> str:
        """Return the rules that colour rows by their status, and that hide what is filtered out."""
        return "\n".join(self._rules())

    def _rules(self) -> Iterator[str]:
        for status, mark in self.statuses.items():
            yield f".{mark} {{ --c: var(--{_COLOURS.get(status, 'other')}); }}"
        for mark in (*self.types.values(), *self.statuses.values()):
            off = f"body:has(#{mark}:not(:checked)) #lists"
            yield f"{off} :is(tr, li, rect).{mark} {{ display: none; }}"
        yield "@supports selector(:has(a)) { .none { display: block; } .run { display: none; }"
        for pair in product(self.types.values(), self.statuses.values()):
            both, name = (
                "".join(f":has(#{mark}:checked)" for mark in pair),
                self.pair(" ".join(pair)),
            )
            yield f"body{both} .none.{name} {{ display: none; }}"
            yield f"body{both} .run.{name} {{ display: block; }}"
        yield "}"


def text(value: str, *, keeps_lines: bool = False) -> str:
    """Return what others wrote as text of HTML: nothing in it is markup, or moves what is around.

    Args:
        value: the text.
        keeps_lines: whether its lines stay lines.
    """
    return escape(printable_lines(value) if keeps_lines else printable(value))


def moment(when: datetime | None) -> str:
    """Return a moment as an element that people and programs read; nothing if there is none."""
    return f'<time datetime="{when.isoformat()}">{timestamp(when)}</time>' if when else ""
