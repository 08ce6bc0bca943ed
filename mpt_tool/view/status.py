"""The screen of `status`, at once or again and again, and the lines that others end with."""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TextIO

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum, OutcomeEnum
from mpt_tool.records import ErrorReport
from mpt_tool.scripts.next_command import NextCommand
from mpt_tool.scripts.plan import Entry, running
from mpt_tool.storage.repository import UNTOLD
from mpt_tool.view.layout import folded
from mpt_tool.view.results import Status
from mpt_tool.view.terminal import console_for, is_coloured, is_live, width_of
from mpt_tool.wording import (
    as_text,
    bar,
    duration,
    how_far,
    in_outcomes,
    name_of,
    printable,
    so_many,
    timestamp,
)

if TYPE_CHECKING:
    from rich.console import Group

    from mpt_tool.records import Attempt
    from mpt_tool.storage.repository import Holder

_LABEL_WIDTH = 14
# Of those that run, or were left so: as many as leave room for all else on a screen of 24 lines.
_MOST_RUNNING = 3
_COMMAND = "Next"
_LEFT_OUT = " …"
_STYLES = {"alive": "green", "dead": "red"}

type _Rows = list[tuple[str, str]]
"""Each line with its label, which only the first of a part has."""


def standing(entries: Sequence[Entry], next_: NextCommand | None) -> list[str]:
    """Return, below a blank line, how many there are of each status, and what to type next."""
    total = len(entries)
    counts = [f"{so_many(total, 'migration')}: {_in_statuses(entries)}."] if entries else []
    return ["", *counts, *next_lines(next_)]


def next_lines(next_: NextCommand | None) -> list[str]:
    """Return what to type next, and below it why; nothing if nothing is to be done."""
    return [f"Next: {next_.command}", f"      {next_.reason}"] if next_ else []


def write_status(status: Status, stream: TextIO) -> None:
    """Write the screen: fitted to a terminal, and never cut elsewhere."""
    if is_coloured(stream) or stream.isatty():
        width = width_of(stream)
        height = shutil.get_terminal_size().lines if stream.isatty() else None
        console_for(stream, width).print(_picture(status, width, height))
    else:
        stream.writelines(f"{label:{_LABEL_WIDTH}}{text}\n" for label, text in _rows(status))


def watch(
    look: Callable[[], Status], stream: TextIO, seconds: float, is_read: Callable[[], bool]
) -> None:
    """Show the screen anew after so many seconds each: in its place on a terminal, else below.

    It ends by what is raised meanwhile, or once nobody reads what is written.
    """
    if is_live(stream):
        from rich.live import Live

        console = console_for(stream)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                status = look()
                live.update(_picture(status, console.width, console.height), refresh=True)
                time.sleep(seconds)
    while is_read():
        write_status(look(), stream)
        stream.write("\n")
        stream.flush()
        time.sleep(seconds)


def _picture(status: Status, width: int, height: int | None) -> "Group":
    """Return the lines as Rich draws them, of which a terminal of this size shows all."""
    from rich.console import Group
    from rich.text import Text

    rows = _rows(status)
    pieces = [folded(text, width - _LABEL_WIDTH) for _, text in rows]
    if height:
        # The last line is for what is typed next.
        _shorten(pieces, height - 1, [label != _COMMAND for label, _ in rows])
    lines = []
    for (label, text), shown in zip(rows, pieces, strict=True):
        # How it is with the holder stands below who that is.
        life = next((each for each in _STYLES if not label and text.startswith(each)), "")
        style = "bold cyan" if label == _COMMAND else _STYLES.get(life, "")
        for number, piece in enumerate(shown):
            of_first = "" if number else label
            lines.append(Text.assemble((f"{of_first:{_LABEL_WIDTH}}", "bold"), (piece, style)))
    return Group(*lines)


def _shorten(rows: list[list[str]], height: int, may_go: Sequence[bool]) -> None:
    """Leave of the longest rows their first line alone, until so many lines hold all of them.

    Args:
        rows: the lines of each row.
        height: how many lines there is room for.
        may_go: of which rows something may be left out.
    """
    while sum(map(len, rows)) > height:
        longest = max(range(len(rows)), key=lambda number: (may_go[number], len(rows[number])))
        if not may_go[longest] or len(rows[longest]) == 1:
            return
        first = rows[longest][0]
        rows[longest] = [f"{first[: len(first) - len(_LEFT_OUT)]}{_LEFT_OUT}"]


def _rows(status: Status) -> _Rows:
    """Return the lines of the screen."""
    parts = {
        "Status": [f"at {timestamp(status.at)}"],
        "Lock": _lock(status.holder),
        "Running": list(_running(status)),
        "Migrations": [*(list(_counts(status.entries)) or ["none"]), *status.strays],
        "Last failure": _failure(status.last_failure),
        _COMMAND: ["nothing is to be done"],
    }
    if status.next_command:
        parts[_COMMAND] = [status.next_command.command, status.next_command.reason]
    return [
        (label if number == 0 else "", printable(line))
        for label, lines in parts.items()
        for number, line in enumerate(lines)
    ]


def _lock(holder: "Holder | None") -> list[str]:
    if holder is None:
        return ["free: nothing runs"]
    if holder is UNTOLD:
        return ["the store does not tell who holds it"]
    who = f"{holder}{f', by {holder.user}' if holder.user else ''}"
    if holder.is_alive is None:
        return [f"{who}: whether it lives cannot be told"]
    if holder.silent_seconds is None:
        life = "alive" if holder.is_alive else "dead: the lock is free"
    elif holder.is_alive:
        life = f"alive, renewed {duration(holder.silent_seconds)} ago"
    else:
        life = f"dead: not renewed for {duration(holder.silent_seconds)}"
    return [who, f"{life}, asked to stop" if holder.is_to_stop and holder.is_alive else life]


def _running(status: Status) -> Iterator[str]:
    """Yield what runs and how far it is, a few lines for each."""
    entries = list(running(status.entries))
    for entry in entries[:_MOST_RUNNING]:
        yield from _one_running(entry, status.at)
    if len(entries) > _MOST_RUNNING:
        yield f"and {len(entries) - _MOST_RUNNING:,} more"
    if not entries:
        yield "nothing"


def _one_running(entry: Entry, now: datetime) -> Iterator[str]:
    record = entry.record
    assert record
    assert record.started_at
    checkpoint, began = record.checkpoint, record.started_at
    if entry.is_left:
        yield f"{entry.name}, {entry.type}, left by a run that died, since {timestamp(began)}"
    else:
        yield f"{entry.name}, {entry.type}, for {duration(_since(began, now))}"
    if not (checkpoint and checkpoint.handled):
        return
    handled, total = checkpoint.handled, checkpoint.total
    # Until a run has a checkpoint of its own, there is that of an earlier one.
    reached_at = max(checkpoint.reached_at or began, began)
    idle = 0.0 if entry.is_left else _since(reached_at, now)
    rate = None if entry.is_left or reached_at != checkpoint.reached_at else checkpoint.rate
    failed = f", {checkpoint.failed:,} failed" if checkpoint.failed else ""
    yield f"{bar(handled, total)} {how_far(handled, total, rate, idle)}{failed}".lstrip()
    outcomes = in_outcomes(checkpoint.outcomes)
    yield f"after item {as_text(checkpoint.cursor)}{f': {outcomes}' if outcomes else ''}"


def _since(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def _counts(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield how many migrations there are of each status, a line a type."""
    for type_ in (MigrationTypeEnum.SCHEMA, MigrationTypeEnum.DATA, None):
        if of_type := [entry for entry in entries if entry.type is type_]:
            yield f"{type_ or 'unknown type'}: {_in_statuses(of_type)}"


def _in_statuses(entries: Sequence[Entry]) -> str:
    counted = Counter(entry.state for entry in entries)
    order = (
        MigrationStatusEnum.APPLIED,
        MigrationStatusEnum.FAKED,
        MigrationStatusEnum.RUNNING,
        MigrationStatusEnum.FAILED,
        OutcomeEnum.STOPPED,
        MigrationStatusEnum.NOT_APPLIED,
    )
    return ", ".join(f"{counted[status]:,} {status}" for status in order if counted[status])


def _failure(attempt: "Attempt | None") -> list[str]:
    """Return what failed last, why in the end, and where in the script."""
    if attempt is None:
        return ["none"]
    name = name_of(attempt.migration_id, attempt.target or "")
    moment = attempt.ended_at or attempt.started_at
    lines = [
        f"{name}{f', {timestamp(moment)}' if moment else ''}, by {attempt.user}@{attempt.host}"
    ]
    if attempt.error:
        root, line = root_cause(attempt.error)
        lines.append(_told(attempt.error))
        if root is not attempt.error:
            lines.append(f"caused by {_told(root)}")
        lines += [line] if line else []
    return lines


def _told(error: ErrorReport) -> str:
    return ": ".join(dict.fromkeys((error.kind, error.message)))


def root_cause(error: ErrorReport) -> tuple[ErrorReport, str]:
    """Return what an error comes from in the end, and the script's line nearest to that, if any."""
    root, line = error, ""
    while True:
        line = root.frames[-1] if root.frames else line
        if root.cause is None:
            return root, line
        root = root.cause
