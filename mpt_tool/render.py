"""What people and programs read: the status table, plans, summaries, findings, tracebacks, JSON."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mpt_tool.enums import MigrationStatusEnum
from mpt_tool.errors import MptToolError, ScriptFailedError
from mpt_tool.terminal import is_coloured, width_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mpt_tool.plan import Entry, Outcome
    from mpt_tool.records import MigrationRecord
    from mpt_tool.scripts import Finding

JSON_VERSION = 1
_EMPTY = "-"
# On a narrow terminal: which columns may be folded, down to which width, and what is left out then.
_GAP = 2
_FOLDED_WIDTHS = {"started": 10, "applied": 10, "note": 14, "id": 16}
_FIRST_TO_GO = ("started", "version", "duration", "applied", "order id", "type", "note")
_FRAMES_LEFT_OUT = (
    f"{Path(__file__).parent}{os.sep}",
    f"{Path(logging.__file__).parents[1] / 'asyncio'}{os.sep}",
    "<frozen importlib",
)
_ANY_HEIGHT = 25
_STYLES = {
    MigrationStatusEnum.RUNNING: "yellow",
    MigrationStatusEnum.FAILED: "red",
    MigrationStatusEnum.FAKED: "cyan",
    MigrationStatusEnum.APPLIED: "green",
    MigrationStatusEnum.NOT_APPLIED: "magenta",
}


def status_table(entries: Sequence["Entry"], stream: TextIO) -> None:
    """Write a line a migration: fitted to the width of a terminal, and never cut elsewhere."""
    columns = ["order id", "id", "type", "status", "started", "applied", "duration"]
    columns += ["version"] if any(e.record and e.record.version for e in entries) else []
    columns += ["note"] if any(e.notes for e in entries) else []
    rows = [_cells(entry) for entry in entries]
    if stream.isatty() or is_coloured(stream):
        _console(stream).print(_rich_table(columns, rows, width_of(stream)))
    else:
        stream.writelines(_aligned([columns, *([row[name] for name in columns] for row in rows)]))


def dry_run(records: Sequence["MigrationRecord"], migration_type: str) -> str:
    """Return what a run would run, in order."""
    if not records:
        return f"No pending {migration_type} migrations."
    lines = (f"  {record.order_id}  {record.migration_id}" for record in records)
    return "\n".join([f"Would run, in this order ({len(records)}):", *lines])


def finding_line(finding: "Finding") -> str:
    """Return a finding as compilers write theirs: file, line if there is one, message."""
    line = f":{finding.line}" if finding.line else ""
    return _printable(f"{finding.file}{line}: {finding.message}")


def summary(outcome: "Outcome") -> str:
    """Return how a run went; after a failure also which migrations it applied and left out."""
    lines = []
    if outcome.failure:
        lines = [
            f"Applied before the failure: {_listed(outcome.applied)}",
            f"{_what_failed(outcome.failure)}: {outcome.failed}",
            f"Not reached: {_listed(outcome.not_reached)}",
        ]
    counts = (
        f"{len(outcome.applied)} applied, {len(outcome.skipped)} skipped,"
        f" {1 if outcome.failure else 0} failed in {duration(outcome.seconds)}."
    )
    return "\n".join([*lines, counts])


def _what_failed(failure: MptToolError) -> str:
    return "Failed" if isinstance(failure, ScriptFailedError) else "Not recorded"


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


def duration(seconds: float) -> str:
    """Return a span of seconds in the two largest units that matter to a reader."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _cells(entry: "Entry") -> dict[str, str]:
    record = entry.record
    seconds = _seconds(entry)
    return {
        "order id": str(entry.order_id),
        "id": _printable(entry.migration_id),
        "type": entry.type or _EMPTY,
        "status": entry.status,
        "started": _moment(record.started_at if record else None),
        "applied": _moment(record.applied_at if record else None),
        "duration": _EMPTY if seconds is None else duration(seconds),
        "version": _printable((record and record.version) or _EMPTY),
        "note": "; ".join(entry.notes) or _EMPTY,
    }


def _seconds(entry: "Entry") -> float | None:
    record = entry.record
    if record is None or record.started_at is None or record.applied_at is None:
        return None
    return max(0.0, (record.applied_at - record.started_at).total_seconds())


def _moment(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}Z" if moment else _EMPTY


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
        status = MigrationStatusEnum(row["status"])
        table.add_row(
            *(Text(row[name], _STYLES[status] if name == "status" else "") for name in shown)
        )
    return table


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


def _printable(text: str) -> str:
    """Return the text with an escape for each line break and whatever else would move a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _listed(migration_ids: Sequence[str]) -> str:
    return ", ".join(migration_ids) or "none"


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    width = width_of(stream)
    if is_coloured(stream):
        return Console(file=stream, force_terminal=True, width=width)
    # Rich takes a dumb terminal for one of 80 columns, unless it is told the height too.
    return Console(file=stream, color_system=None, width=width, height=_ANY_HEIGHT)


def script_traceback(error: BaseException) -> str:
    """Return what a script raised, with its own frames: the whole chain and all group members."""
    report = traceback.TracebackException.from_exception(
        error, max_group_width=sys.maxsize, max_group_depth=sys.maxsize
    )
    _drop_our_frames(report)
    return "".join(report.format())


def _drop_our_frames(report: traceback.TracebackException) -> None:
    """Leave out the frames of this package and those that Python puts between it and a script."""
    reports = [report]
    while reports:
        each = reports.pop()
        each.stack[:] = [
            frame for frame in each.stack if not frame.filename.startswith(_FRAMES_LEFT_OUT)
        ]
        related = (each.__cause__, each.__context__, *(each.exceptions or []))
        reports += [other for other in related if other is not None]
