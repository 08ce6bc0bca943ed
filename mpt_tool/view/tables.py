"""The tables that people read: fitted to the width of a terminal, and never cut elsewhere."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.records import seconds_between
from mpt_tool.view.terminal import console_for, is_coloured, width_of
from mpt_tool.wording import as_text, duration, in_outcomes, name_of, printable, timestamp

if TYPE_CHECKING:
    from rich.table import Table

    from mpt_tool.records import Attempt, FailedItem
    from mpt_tool.scripts.plan import Entry

_EMPTY = "-"
_GAP = 2
# On a narrow terminal: which columns may be folded, down to which width, and what is left out then.
_FOLDED_WIDTHS = {
    "started": 10,
    "applied": 10,
    "by": 12,
    "note": 14,
    "id": 16,
    "error": 20,
    "item": 16,
}
_FIRST_TO_GO = ("started", "version", "duration", "applied", "order id", "type", "note")
_FIRST_TO_GO_OF_HISTORY = ("version", "by", "duration", "type", "note", "started")
_STYLES: Mapping[str, str] = {
    MigrationStatusEnum.RUNNING: "yellow",
    MigrationStatusEnum.FAILED: "red",
    MigrationStatusEnum.FAKED: "cyan",
    MigrationStatusEnum.APPLIED: "green",
    MigrationStatusEnum.NOT_APPLIED: "magenta",
    OutcomeEnum.INTERRUPTED: "yellow",
    OutcomeEnum.FOUND_DEAD: "red",
}


def entries_table(entries: Sequence["Entry"], times: Sequence[str], stream: TextIO) -> None:
    """Write a line a migration: fitted to the width of a terminal, and never cut elsewhere.

    Args:
        entries: the migrations.
        times: which of the columns started, applied and duration are shown.
        stream: where it goes.
    """
    columns = ["order id", "id", "type", "status", *times]
    columns += ["version"] if any(e.record and e.record.version for e in entries) else []
    columns += ["note"] if any(any(_notes(entry)) for entry in entries) else []
    _write_table(columns, [_cells(entry) for entry in entries], stream)


def history_table(attempts: Sequence["Attempt"], stream: TextIO) -> None:
    """Write a line an attempt, the newest last, fitted like that of migrations."""
    columns = ["started", "id", "type", "outcome", "duration", "by", "version", "note"]
    _write_table(columns, list(map(_attempt_cells, attempts)), stream, _FIRST_TO_GO_OF_HISTORY)


def runs_table(runs: Sequence[Sequence["Attempt"]], stream: TextIO) -> None:
    """Write a line a run, the newest last, fitted like that of migrations."""
    columns = ["started", "run", "outcomes", "duration", "by", "version"]
    _write_table(columns, list(map(_run_cells, runs)), stream, ("version", "duration", "by"))


def failures_table(items: Mapping[str, Sequence["FailedItem"]], stream: TextIO) -> None:
    """Write a line an item that failed, fitted like that of migrations."""
    columns = ["target", "item", "error"] if any(items) else ["item", "error"]
    rows = [
        {"target": target, "item": as_text(each.cursor), "error": each.error}
        for target, failed in items.items()
        for each in failed
    ]
    _write_table(columns, rows, stream)


def _write_table(
    columns: Sequence[str],
    cells: Sequence[Mapping[str, str]],
    stream: TextIO,
    first_to_go: Sequence[str] = _FIRST_TO_GO,
) -> None:
    """Write a table; nothing if it has no row."""
    rows = [{name: printable(row[name]) for name in columns} for row in cells]
    if not rows:
        return
    if not (is_coloured(stream) or stream.isatty()):
        stream.writelines(_aligned([columns, *(list(row.values()) for row in rows)]))
        return
    width = width_of(stream)
    console_for(stream, width).print(_rich_table(columns, rows, width, first_to_go))


def _attempt_cells(attempt: "Attempt") -> dict[str, str]:
    note = attempt.error.message if attempt.error else in_outcomes(attempt.outcomes or {})
    return {
        "started": _moment(attempt.started_at or attempt.ended_at),
        "id": name_of(attempt.migration_id, attempt.target or ""),
        "type": attempt.type,
        "outcome": attempt.outcome,
        "duration": _EMPTY if attempt.seconds is None else duration(attempt.seconds),
        "by": _by(attempt),
        "version": attempt.version or _EMPTY,
        "note": note or _EMPTY,
    }


def _run_cells(attempts: Sequence["Attempt"]) -> dict[str, str]:
    first, last = attempts[0], attempts[-1]
    began = first.started_at or first.ended_at
    seconds = seconds_between(began, last.ended_at)
    return {
        "started": _moment(began),
        "run": first.run_id or _EMPTY,
        "outcomes": in_outcomes(Counter(each.outcome for each in attempts)),
        "duration": _EMPTY if seconds is None else duration(seconds),
        "by": _by(first),
        "version": first.version or _EMPTY,
    }


def _by(attempt: "Attempt") -> str:
    return "@".join(filter(None, (attempt.user, attempt.host))) or _EMPTY


def _cells(entry: "Entry") -> dict[str, str]:
    record = entry.record
    seconds = record.seconds if record else None
    return {
        "order id": str(entry.order_id),
        "id": entry.name,
        "type": entry.type or _EMPTY,
        "status": entry.status,
        "started": _moment(record.started_at if record else None),
        "applied": _moment(record.applied_at if record else None),
        "duration": _EMPTY if seconds is None else duration(seconds),
        "version": (record and record.version) or _EMPTY,
        "note": "; ".join(filter(None, _notes(entry))) or _EMPTY,
    }


def _notes(entry: "Entry") -> list[str]:
    return [entry.in_targets, *entry.notes, in_outcomes(entry.outcomes)]


def _moment(moment: datetime | None) -> str:
    return timestamp(moment) if moment else _EMPTY


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip() + "\n"


def _rich_table(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    width: int,
    first_to_go: Sequence[str] = _FIRST_TO_GO,
) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    empty = {name for name in columns if all(row[name] == _EMPTY for row in rows)}
    longest = {name: max(map(len, [name, *(r[name] for r in rows)])) for name in columns}
    if _total(longest) > width:
        # Before anything is folded.
        longest = {name: size for name, size in longest.items() if name not in empty}
    shown = _fitted(longest, width, first_to_go)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in shown:
        table.add_column(name, width=shown[name], overflow="fold")
    if left_out := ", ".join(name for name in columns if name not in (*shown, *empty)):
        table.caption = f"No room for: {left_out}. A wider terminal, a pipe and --json show all."
        table.caption_justify = "left"
    for row in rows:
        styles = {name: _STYLES[row[name]] for name in ("status", "outcome") if name in row}
        table.add_row(*(Text(row[name], styles.get(name, "")) for name in shown))
    return table


def _fitted(longest: Mapping[str, int], width: int, first_to_go: Sequence[str]) -> dict[str, int]:
    """Return the widths of the columns that a terminal has room for: folded, else left out."""
    least = {name: min(size, _FOLDED_WIDTHS.get(name, size)) for name, size in longest.items()}
    widths = dict(longest)
    for name in first_to_go:
        if _total({shown: least[shown] for shown in widths}) > width:
            widths.pop(name, None)
    excess = _total(widths) - width
    for name in _FOLDED_WIDTHS:
        if name in widths and excess > 0:
            folded = max(least[name], widths[name] - excess)
            excess -= widths[name] - folded
            widths[name] = folded
    return widths


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)
