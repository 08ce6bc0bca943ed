"""What people and programs read: tables, plans, summaries, findings, JSON."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.errors import MptToolError, StoppedError, StorageError, UnbegunError
from mpt_tool.view.terminal import is_coloured, width_of
from mpt_tool.wording import duration, in_items, printable, timestamp

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mpt_tool.batch.rehearsal import Sight
    from mpt_tool.records import Attempt, MigrationRecord
    from mpt_tool.scripts.check import Finding
    from mpt_tool.scripts.plan import Entry, Outcome

JSON_VERSION = 1
_EMPTY = "-"
# On a narrow terminal: which columns may be folded, down to which width, and what is left out then.
_GAP = 2
_FOLDED_WIDTHS = {"started": 10, "applied": 10, "by": 12, "note": 14, "id": 16}
_FIRST_TO_GO = ("started", "version", "duration", "by", "applied", "order id", "type", "note")
_ANY_HEIGHT = 25
_STYLES: Mapping[str, str] = {
    MigrationStatusEnum.RUNNING: "yellow",
    MigrationStatusEnum.FAILED: "red",
    MigrationStatusEnum.FAKED: "cyan",
    MigrationStatusEnum.APPLIED: "green",
    MigrationStatusEnum.NOT_APPLIED: "magenta",
    OutcomeEnum.INTERRUPTED: "yellow",
    OutcomeEnum.FOUND_DEAD: "red",
}


def status_table(entries: Sequence["Entry"], stream: TextIO) -> None:
    """Write a line a migration: fitted to the width of a terminal, and never cut elsewhere."""
    columns = ["order id", "id", "type", "status", "started", "applied", "duration"]
    columns += ["version"] if any(e.record and e.record.version for e in entries) else []
    columns += ["note"] if any(e.notes for e in entries) else []
    _write_table(columns, [_cells(entry) for entry in entries], stream)


def history_table(attempts: Sequence["Attempt"], stream: TextIO) -> None:
    """Write a line an attempt, the newest last, fitted like the status table."""
    columns = ["started", "id", "type", "outcome", "duration", "by", "version", "note"]
    _write_table(columns, [_attempt_cells(attempt) for attempt in attempts], stream)


def attempt_details(attempt: "Attempt") -> str:
    """Return everything that the history keeps of an attempt."""
    document = attempt.document()
    if attempt.counts:
        document["counts"] = ", ".join(
            f"{count:,} {name}" for name, count in attempt.counts.items()
        )
    error = document.pop("error", None)
    lines = [f"{key}: {printable(str(value))}" for key, value in document.items()]
    name = "error"
    while error:
        lines.append(f"{name}: {printable(error['kind'])}: {printable(error['message'])}")
        lines += [f"  {printable(frame)}" for frame in error["frames"]]
        error, name = error.get("cause"), "caused by"
    return "\n".join(lines)


def _write_table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], stream: TextIO) -> None:
    if stream.isatty() or is_coloured(stream):
        _console(stream).print(_rich_table(columns, rows, width_of(stream)))
    else:
        stream.writelines(_aligned([columns, *([row[name] for name in columns] for row in rows)]))


def _attempt_cells(attempt: "Attempt") -> dict[str, str]:
    return {
        "started": _moment(attempt.started_at or attempt.ended_at),
        "id": printable(attempt.migration_id),
        "type": attempt.type,
        "outcome": attempt.outcome,
        "duration": _EMPTY if attempt.seconds is None else duration(attempt.seconds),
        "by": printable(f"{attempt.user}@{attempt.host}"),
        "version": printable(attempt.version or _EMPTY),
        "note": printable(attempt.error.message) if attempt.error else _EMPTY,
    }


def dry_run(records: Sequence["MigrationRecord"], migration_type: str) -> str:
    """Return what a run would run, in order."""
    if not records:
        return f"No pending {migration_type} migrations."
    lines = (f"  {record.order_id}  {record.migration_id}" for record in records)
    return "\n".join([f"Would run, in this order ({len(records)}):", *lines])


def sight(sight: "Sight") -> str:
    """Return what a dry run saw of a batch migration."""
    lines = [("" if sight.is_all else "More than ") + in_items(sight.items)]
    lines += [f"  {printable(name)}" for name in sight.shown]
    if sight.items > len(sight.shown):
        lines.append("  ...")
    if sight.writes is not None:
        lines.append(f"Writes that were refused ({len(sight.writes):,}):")
        lines += [f"  {printable(write)}" for write in sight.writes]
        lines.append(f"Items that failed ({len(sight.failures):,}):")
        lines += [f"  {printable(failure)}" for failure in sight.failures]
        lines.append(
            "Guarded were self.mpt_client and self.airtable_client alone:"
            " what the script wrote by any other means was written."
        )
    return "\n".join(lines)


def finding_line(finding: "Finding") -> str:
    """Return a finding as compilers write theirs: file, line if there is one, message."""
    line = f":{finding.line}" if finding.line else ""
    return printable(f"{finding.file}{line}: {finding.message}")


def summary(outcome: "Outcome") -> str:
    """Return how a run went; after a failure also which migrations it applied and left out."""
    lines = []
    if outcome.failure:
        lines = [
            f"Applied before the failure: {_listed(outcome.applied)}",
            f"{_what_failed(outcome.failure)}: {outcome.failed}",
            f"Not reached: {_listed(outcome.not_reached)}",
        ]
    is_stopped = isinstance(outcome.failure, StoppedError)
    failed = 1 if outcome.failure and not is_stopped else 0
    counts = f"{len(outcome.applied)} applied, {len(outcome.skipped)} skipped, {failed} failed"
    stopped = ", 1 stopped" if is_stopped else ""
    return "\n".join([*lines, f"{counts}{stopped} in {duration(outcome.seconds)}."])


def _what_failed(failure: MptToolError) -> str:
    match failure:
        case StoppedError():
            return "Stopped"
        case UnbegunError():
            return "Not begun"
        case StorageError():
            return "Not recorded"
        case _:
            return "Failed"


def json_document(command: str, content: Mapping[str, Any], stream: TextIO) -> None:
    """Write the one JSON document of a command, in the envelope that all commands share."""
    document = {"version": JSON_VERSION, "command": command, **content}
    stream.write(json.dumps(document, indent=2) + "\n")


def entry_document(entry: "Entry") -> dict[str, Any]:
    """Return a line of the status table as JSON values."""
    record = entry.record
    return {
        "order_id": entry.order_id,
        "migration_id": entry.migration_id,
        "type": entry.type,
        "status": entry.status,
        "started_at": _isoformat(record.started_at if record else None),
        "applied_at": _isoformat(record.applied_at if record else None),
        "seconds": _seconds(entry),
        "version": record and record.version,
        "file": entry.script and str(entry.script.path),
        "notes": list(entry.notes),
    }


def record_document(record: "MigrationRecord") -> dict[str, Any]:
    """Return what a dry run shows of a migration as JSON values."""
    return {
        "order_id": record.order_id,
        "migration_id": record.migration_id,
        "type": record.type,
    }


def _cells(entry: "Entry") -> dict[str, str]:
    record = entry.record
    seconds = _seconds(entry)
    return {
        "order id": str(entry.order_id),
        "id": printable(entry.migration_id),
        "type": entry.type or _EMPTY,
        "status": entry.status,
        "started": _moment(record.started_at if record else None),
        "applied": _moment(record.applied_at if record else None),
        "duration": _EMPTY if seconds is None else duration(seconds),
        "version": printable((record and record.version) or _EMPTY),
        "note": "; ".join(entry.notes) or _EMPTY,
    }


def _seconds(entry: "Entry") -> float | None:
    record = entry.record
    if record is None or record.started_at is None or record.applied_at is None:
        return None
    return max(0.0, (record.applied_at - record.started_at).total_seconds())


def _moment(moment: datetime | None) -> str:
    return timestamp(moment) if moment else _EMPTY


def _isoformat(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip() + "\n"


def _rich_table(columns: Sequence[str], rows: Sequence[Mapping[str, str]], width: int) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    widths = _fitted(
        {name: max(map(len, [name, *(r[name] for r in rows)])) for name in columns}, width
    )
    shown = list(widths)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in shown:
        table.add_column(name, width=widths[name], overflow="fold")
    if len(shown) < len(columns):
        left_out = ", ".join(name for name in columns if name not in shown)
        table.caption = f"No room for: {left_out}. A wider terminal, a pipe and --json show all."
        table.caption_justify = "left"
    for row in rows:
        table.add_row(*(Text(row[name], _style(name, row[name])) for name in shown))
    return table


def _style(column: str, value: str) -> str:
    return _STYLES[value] if column in {"status", "outcome"} else ""


def _fitted(longest: Mapping[str, int], width: int) -> dict[str, int]:
    """Return the widths of the columns that a terminal has room for: folded, else left out."""
    least = {name: min(size, _FOLDED_WIDTHS.get(name, size)) for name, size in longest.items()}
    widths = dict(longest)
    for name in _FIRST_TO_GO:
        if sum(least[shown] + _GAP for shown in widths) > width + _GAP:
            widths.pop(name, None)
    excess = sum(widths.values()) + _GAP * (len(widths) - 1) - width
    for name in _FOLDED_WIDTHS:
        if name in widths and excess > 0:
            folded = max(least[name], widths[name] - excess)
            excess -= widths[name] - folded
            widths[name] = folded
    return widths


def _listed(migration_ids: Sequence[str]) -> str:
    return ", ".join(migration_ids) or "none"


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    width = width_of(stream)
    if is_coloured(stream):
        return Console(file=stream, force_terminal=True, width=width)
    # Rich takes a dumb terminal for one of 80 columns, unless it is told the height too.
    return Console(file=stream, color_system=None, width=width, height=_ANY_HEIGHT)
