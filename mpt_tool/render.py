"""What people see: the status table, a run's progress and summary, failures, logs, JSON."""

import json
import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mpt_tool.enums import MigrationStatusEnum

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from mpt_tool.plan import Entry
    from mpt_tool.records import MigrationRecord
    from mpt_tool.redaction import Redact
    from mpt_tool.runner import Reporter, RunResult
    from mpt_tool.scripts import Finding

JSON_VERSION = 1
LOG_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"
_CHATTY_LIBRARIES = ("asyncio", "httpcore", "httpx", "urllib3")
_EMPTY = "-"
_FRAMES_LEFT_OUT = (
    str(Path(__file__).parent),
    str(Path(logging.__file__).parents[1] / "asyncio"),
    "<frozen importlib",
)
# Wider than any row, so that what goes to a file is never cut.
_UNBOUNDED = 100_000
_STYLES = {
    MigrationStatusEnum.RUNNING: "yellow",
    MigrationStatusEnum.FAILED: "red",
    MigrationStatusEnum.FAKED: "cyan",
    MigrationStatusEnum.APPLIED: "green",
    MigrationStatusEnum.NOT_APPLIED: "magenta",
}


def allows_colour(environment: Mapping[str, str]) -> bool:
    """Whether the environment lets any stream have colour."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def is_coloured(stream: TextIO) -> bool:
    """Whether what goes to this stream has colour: a terminal, or forced, and not forbidden."""
    return allows_colour(os.environ) and (stream.isatty() or bool(os.environ.get("FORCE_COLOR")))


# --- reports on stdout


def status_table(entries: Sequence["Entry"], stream: TextIO) -> None:
    """Write a line a migration: fitted to the width of a terminal, and never cut elsewhere."""
    columns = ["order id", "id", "type", "status", "started", "applied", "duration"]
    columns += ["version"] if any(e.record and e.record.version for e in entries) else []
    columns += ["note"] if any(e.notes for e in entries) else []
    cells = [_cells(entry) for entry in entries]
    rows = [[row[column] for column in columns] for row in cells]
    if stream.isatty() or is_coloured(stream):
        _rich_table(columns, rows, stream)
    else:
        stream.writelines(_aligned([columns, *rows]))


def dry_run(records: Sequence["MigrationRecord"], kind: str) -> str:
    """Return what a run would run, in order."""
    if not records:
        return f"No pending {kind} migrations."
    lines = (f"  {record.order_id}  {record.migration_id}" for record in records)
    return "\n".join([f"Would run, in this order ({len(records)}):", *lines])


def finding_line(finding: "Finding") -> str:
    """Return a finding as compilers write theirs: file, line if there is one, message."""
    line = f":{finding.line}" if finding.line else ""
    return f"{finding.file}{line}: {finding.message}"


def summary(result: "RunResult") -> str:
    """Return how a run went; after a failure also which migrations it applied and left out."""
    lines = []
    if result.failure:
        lines = [
            f"Applied before the failure: {_listed(result.applied)}",
            f"Failed: {result.failed}",
            f"Not reached: {_listed(result.not_reached)}",
        ]
    counts = (
        f"{len(result.applied)} applied, {len(result.skipped)} skipped,"
        f" {1 if result.failure else 0} failed in {duration(result.seconds)}."
    )
    return "\n".join([*lines, counts])


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
    """Return a span of time in the two largest units that matter to a reader."""
    if seconds < 60:
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
        "id": entry.migration_id,
        "type": entry.type or _EMPTY,
        "status": entry.status,
        "started": _moment(record.started_at if record else None),
        "applied": _moment(record.applied_at if record else None),
        "duration": _EMPTY if seconds is None else duration(seconds),
        "version": (record and record.version) or _EMPTY,
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


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], stream: TextIO) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    status = columns.index("status")
    for row in rows:
        style = _STYLES[MigrationStatusEnum(row[status])]
        table.add_row(*row[:status], f"[{style}]{row[status]}[/]", *row[status + 1 :])
    _console(stream).print(table)


def _listed(migration_ids: Sequence[str]) -> str:
    return ", ".join(migration_ids) or "none"


def _console(stream: TextIO) -> "Console":
    from rich.console import Console

    width = shutil.get_terminal_size().columns if stream.isatty() else _UNBOUNDED
    if is_coloured(stream):
        return Console(file=stream, force_terminal=True, width=width)
    return Console(file=stream, color_system=None, width=width)


# --- what goes to stderr


def script_traceback(error: BaseException) -> str:
    """Return what a script raised, with its own frames: the whole chain and all group members."""
    report = traceback.TracebackException.from_exception(error)
    _drop_our_frames(report)
    return "".join(report.format())


def _drop_our_frames(report: traceback.TracebackException) -> None:
    """Leave out the frames of this package and those that Python puts between it and a script."""
    report.stack[:] = [
        frame for frame in report.stack if not frame.filename.startswith(_FRAMES_LEFT_OUT)
    ]
    for related in (report.__cause__, report.__context__, *(report.exceptions or [])):
        if related is not None:
            _drop_our_frames(related)


@contextmanager
def logs(stream: TextIO, level: int, redact: "Redact") -> Iterator["Console | None"]:
    """Send logs to the stream, and give its console if it is a terminal with colour.

    Without one logs are plain, one event a line.
    """
    console = _console(stream) if stream.isatty() and is_coloured(stream) else None
    handler: logging.Handler
    if console is None:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(_RedactingFormatter(LOG_FORMAT, redact))
    else:
        from rich.logging import RichHandler

        handler = RichHandler(console=console, show_path=False, log_time_format="%X")
        handler.setFormatter(_RedactingFormatter("%(message)s", redact))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield console
    finally:
        root.removeHandler(handler)


@contextmanager
def progress(console: "Console | None", *, quiet: bool) -> Iterator["Reporter"]:
    """Give the reporter of a run: live on a console, where prints and logs go above it."""
    if console is None or quiet:
        yield SilentReporter()
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty()
    ) as display:
        yield LiveReporter(display)


class SilentReporter:
    """Shows nothing: the log has a line for the beginning and the end of each migration."""

    @contextmanager
    def running(self, migration_id: str, number: int, total: int) -> Iterator[None]:
        """Do nothing meanwhile."""
        yield


class LiveReporter:
    """Shows on a terminal what runs."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress

    @contextmanager
    def running(self, migration_id: str, number: int, total: int) -> Iterator[None]:
        """Show the migration as the one that runs."""
        task = self._progress.add_task(f"[{number}/{total}] {migration_id}", total=None)
        try:
            yield
        finally:
            self._progress.remove_task(task)


class _RedactingFormatter(logging.Formatter):
    def __init__(self, form: str, redact: "Redact") -> None:
        super().__init__(form)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))
