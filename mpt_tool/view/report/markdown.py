"""The report as Markdown, as a pipeline's summary shows it: short, the HTML page tells more."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from mpt_tool.records import Attempt, ErrorReport
from mpt_tool.scripts.plan import Entry, pending
from mpt_tool.view.report.contents import (
    Case,
    cases,
    chain,
    headline,
    last_note,
    made_by,
    moment_of,
    said,
    statuses_of,
)
from mpt_tool.view.results import Report
from mpt_tool.wording import duration, in_outcomes, name_of, printable, shortened, timestamp

# In bytes: what each list may take, so that all of them stay well below the 1 MiB of a summary of
# GitHub Actions, which a step may have written something else to.
_ROOM = 150_000
_NEWEST = 50
_LONGEST_CELL = 300
_OF_ATTEMPTS = ("Started", "Migration", "Outcome", "Took", "By", "Version", "Note")
_OF_MIGRATIONS = ("Migration", "Type", "Status", "Applied", "Note")
# What has a meaning within a line, and what would make a link of a bare address or name; an
# underscore within a word is one.
_MEANINGFUL = re.compile(
    r"[\\`*\[\]<>|~&$]|(?<![a-z0-9])_|_(?![a-z0-9])|:(?=//)|(?<=www)\.|(?<!\w)[@#]", re.IGNORECASE
)


def lines(report: Report) -> Iterator[str]:
    """Yield its lines, which have far less than 1 MiB."""
    yield f"<!-- Written by {report.tool} -->"
    yield f"## Migrations of {text(report.project)}"
    yield ""
    yield f"**{headline(report)}** As of {timestamp(report.made_at)}."
    counts = statuses_of(report.entries).items()
    yield from _table(("Status", "Migrations"), ((status, f"{n:,}") for status, n in counts))
    if found := cases(report):
        yield from _section("Needs attention")
        yield ""
        yield from _fitting((line for case in found for line in _case(case, report)), "")
    if waiting := pending(report.entries):
        yield from _section("Pending, in order")
        yield from _table(("Migration", "Type", "Status", "Note"), map(_pending, waiting))
    if report.attempts:
        yield from _section("Newest attempts" if report.attempts[_NEWEST:] else "All attempts")
        yield from _table(_OF_ATTEMPTS, map(_attempt, islice(report.attempts, _NEWEST)))
    if report.entries:
        yield from _section("All migrations")
        yield from _table(_OF_MIGRATIONS, map(_migration, report.entries))
    for note in report.notes:
        yield ""
        yield f"Note: {text(note)}."


def text(value: str) -> str:
    """Return what others wrote as text of Markdown, for within a line or a cell of a table."""
    return _MEANINGFUL.sub(r"\\\g<0>", printable(value))


def _section(title: str) -> tuple[str, ...]:
    return "", f"### {title}"


def _fitting(rows: Iterable[str], more: str) -> Iterator[str]:
    """Yield the rows that have room, and after those that something is missing."""
    room = _ROOM
    for row in rows:
        room -= len(row.encode()) + 1
        if room < 0:
            yield more
            yield "And more than has room here: a report as .html shows it."
            return
        yield row


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a table; nothing if it has no row."""
    written = [f"| {' | '.join(row)} |" for row in rows]
    if written:
        yield ""
        yield f"| {' | '.join(columns)} |"
        yield f"|{' --- |' * len(columns)}"
        yield from _fitting(written, "")


def _cell(value: str) -> str:
    return text(shortened(value, _LONGEST_CELL))


def _case(case: Case, report: Report) -> Iterator[str]:
    """Yield what is known of one that failed, was stopped or runs."""
    attempt, entry = case.attempt, case.entry
    yield f"- **{case.state}** {_cell(entry.name)}"
    if attempt and (when := moment_of(attempt)):
        took = "" if attempt.seconds is None else f", for {duration(attempt.seconds)}"
        yield f"  - {timestamp(when)} by {_cell(made_by(attempt))}{took}"
    yield from (f"  - {_cell(note)}" for note in (entry.in_targets, *entry.notes) if note)
    errors = chain(attempt.error) if attempt else []
    if errors:
        yield f"  - Root cause: {_error(errors[-1])}"
        yield from (f"    - at {_cell(frame)}" for frame in errors[-1].frames[-1:])
        yield from (f"  - which led to {_error(error)}" for error in errors[-2::-1][:10])
    items = report.failures.get(entry.name, ())
    yield from (f"  - an item failed: {_cell(each.error)}" for each in items[:10])


def _error(error: ErrorReport) -> str:
    return _cell(said(error))


def _pending(entry: Entry) -> list[str]:
    note = "; ".join(filter(None, (entry.in_targets, *entry.notes)))
    return [_cell(entry.name), entry.type or "", entry.state, _cell(note)]


def _attempt(attempt: Attempt) -> list[str]:
    when = moment_of(attempt)
    return [
        timestamp(when) if when else "",
        _cell(name_of(attempt.migration_id, attempt.target or "")),
        attempt.outcome,
        "" if attempt.seconds is None else duration(attempt.seconds),
        _cell(made_by(attempt)),
        _cell(attempt.version or ""),
        _cell(last_note(attempt)),
    ]


def _migration(entry: Entry) -> list[str]:
    applied = entry.record.applied_at if entry.record else None
    note = "; ".join(filter(None, (entry.in_targets, *entry.notes, in_outcomes(entry.outcomes))))
    when = timestamp(applied) if applied else ""
    return [_cell(entry.name), entry.type or "", entry.state, when, _cell(note)]
