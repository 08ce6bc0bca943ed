"""The tables that people read: of migrations, of attempts and of failed items."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.records import seconds_between
from mpt_tool.view.layout import EMPTY, Shape, write_table
from mpt_tool.wording import as_text, duration, in_outcomes, name_of, timestamp

if TYPE_CHECKING:
    from mpt_tool.records import Attempt, FailedItem
    from mpt_tool.scripts.plan import Entry

_LISTING = Shape(
    columns=(
        *("order id", "id", "type", "status", "started", "applied", "duration", "version"),
        "note",
    ),
    key="id",
    text="note",
    first_to_go=("started", "version", "duration", "order id", "applied", "type"),
    kept=("status",),
    coloured="status",
)
_HISTORY = Shape(
    columns=("started", "id", "type", "outcome", "duration", "by", "version", "note"),
    key="id",
    text="note",
    first_to_go=("version", "by", "duration", "type"),
    kept=("started", "outcome"),
    coloured="outcome",
)
_RUNS = Shape(
    columns=("started", "run", "outcomes", "duration", "by", "version"),
    key="run",
    text="outcomes",
    first_to_go=("version", "duration", "by"),
    kept=("started",),
)
_FAILURES = Shape(columns=("target", "item", "error"), key="item", text="error")
_STYLES: Mapping[str, str] = {
    MigrationStatusEnum.RUNNING: "yellow",
    MigrationStatusEnum.FAILED: "red",
    MigrationStatusEnum.FAKED: "cyan",
    MigrationStatusEnum.APPLIED: "green",
    MigrationStatusEnum.NOT_APPLIED: "magenta",
    # A stop that was asked for is no failure.
    OutcomeEnum.STOPPED: "yellow",
    OutcomeEnum.FOUND_DEAD: "red",
    OutcomeEnum.TRIED: "",
}


def entries_table(entries: Sequence["Entry"], times: Sequence[str], stream: TextIO) -> None:
    """Write a line a migration: fitted to the width of a terminal, and never cut elsewhere.

    Args:
        entries: the migrations.
        times: which of the columns started, applied and duration are shown.
        stream: where it goes.
    """
    rows = list(map(_cells, entries))
    shown = {"order id", "id", "type", "status", *times}
    shown |= {name for name in ("version", "note") if any(row[name] != EMPTY for row in rows)}
    shape = replace(_LISTING, columns=[each for each in _LISTING.columns if each in shown])
    write_table(shape, rows, list(map(_colour_of, entries)), stream)


def history_table(attempts: Sequence["Attempt"], stream: TextIO) -> None:
    """Write a line an attempt, the newest last, fitted like that of migrations."""
    colours = [_STYLES[attempt.outcome] for attempt in attempts]
    write_table(_HISTORY, list(map(_attempt_cells, attempts)), colours, stream)


def runs_table(runs: Sequence[Sequence["Attempt"]], stream: TextIO) -> None:
    """Write a line a run, the newest last, fitted like that of migrations."""
    write_table(_RUNS, list(map(_run_cells, runs)), [""] * len(runs), stream)


def failures_table(items: Mapping[str, Sequence["FailedItem"]], stream: TextIO) -> None:
    """Write a line an item that failed, fitted like that of migrations."""
    rows = [
        {"target": target, "item": as_text(each.cursor), "error": each.error}
        for target, failed in items.items()
        for each in failed
    ]
    shape = _FAILURES if any(items) else replace(_FAILURES, columns=("item", "error"))
    write_table(shape, rows, [""] * len(rows), stream)


def _attempt_cells(attempt: "Attempt") -> dict[str, str]:
    note = attempt.error.message if attempt.error else in_outcomes(attempt.outcomes or {})
    return {
        "started": _moment(attempt.started_at or attempt.ended_at),
        "id": name_of(attempt.migration_id, attempt.target or ""),
        "type": attempt.type,
        "outcome": attempt.outcome,
        "duration": EMPTY if attempt.seconds is None else duration(attempt.seconds),
        "by": _by(attempt),
        "version": attempt.version or EMPTY,
        "note": note or EMPTY,
    }


def _run_cells(attempts: Sequence["Attempt"]) -> dict[str, str]:
    first, last = attempts[0], attempts[-1]
    began = first.started_at or first.ended_at
    seconds = seconds_between(began, last.ended_at)
    return {
        "started": _moment(began),
        "run": first.run_id or EMPTY,
        "outcomes": in_outcomes(Counter(each.outcome for each in attempts)),
        "duration": EMPTY if seconds is None else duration(seconds),
        "by": _by(first),
        "version": first.version or EMPTY,
    }


def _by(attempt: "Attempt") -> str:
    return "@".join(filter(None, (attempt.user, attempt.host))) or EMPTY


def _cells(entry: "Entry") -> dict[str, str]:
    record, seconds = entry.record, entry.seconds
    return {
        "order id": str(entry.order_id),
        "id": entry.name,
        "type": entry.type or EMPTY,
        "status": entry.state,
        "started": _moment(record.started_at if record else None),
        "applied": _moment(record.applied_at if record else None),
        "duration": EMPTY if seconds is None else duration(seconds),
        "version": (record and record.version) or EMPTY,
        "note": "; ".join(filter(None, _notes(entry))) or EMPTY,
    }


def _notes(entry: "Entry") -> list[str]:
    return [entry.in_targets, *entry.notes, in_outcomes(entry.outcomes)]


def _colour_of(entry: "Entry") -> str:
    return _STYLES[entry.state]


def _moment(moment: datetime | None) -> str:
    return timestamp(moment) if moment else EMPTY
