"""What people read: tables, plans, summaries, findings."""

import json
from collections.abc import Iterable, Sequence
from functools import singledispatch
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from mpt_tool.errors import MptToolError, StoppedError, StorageError, UnbegunError
from mpt_tool.scripts.plan import RunResult
from mpt_tool.view import checks, tables
from mpt_tool.view.results import (
    Content,
    DryRun,
    Examination,
    Failures,
    Findings,
    History,
    Listing,
    Pending,
    Report,
    Runs,
    Status,
    Verified,
)
from mpt_tool.view.status import write_status
from mpt_tool.wording import duration, in_items, in_outcomes, name_of, printable, shortened

if TYPE_CHECKING:
    from collections import Counter

    from mpt_tool.batch.rehearsal import Rehearsed, RehearsedChange, RehearsedItem, Sight
    from mpt_tool.records import Attempt
    from mpt_tool.scripts.check import Finding

_SHOWN_FIELDS = 10
_LONGEST_VALUE = 60


@singledispatch
def write(_content: Content, _stream: TextIO) -> None:
    """Write what a command reports; nothing of what has no such form."""


@write.register(Listing)
def _(content: Listing, stream: TextIO) -> None:
    tables.entries_table(content.entries, ("started", "applied", "duration"), stream)
    found = [] if content.entries else ["No migrations found."]
    _write_lines([*found, *(f"Note: {note}." for note in content.notes)], stream)


@write.register(Pending)
def _(content: Pending, stream: TextIO) -> None:
    tables.entries_table(content.entries, ("started",), stream)
    _write_lines((f"Note: {note}." for note in content.notes), stream)


@write.register(History)
def _(content: History, stream: TextIO) -> None:
    if content.migration_id is None:
        tables.history_table(content.attempts, stream)
    else:
        _write_lines(_in_full(content.attempts), stream)


@write.register(Runs)
def _(content: Runs, stream: TextIO) -> None:
    tables.runs_table(content.runs, stream)


@write.register(Status)
def _(content: Status, stream: TextIO) -> None:
    write_status(content, stream)


@write.register(Failures)
def _(content: Failures, stream: TextIO) -> None:
    tables.failures_table(content.items, stream)


@write.register(Examination)
def _(content: Examination, stream: TextIO) -> None:
    checks.write_checks(content, stream)


@write.register(Verified)
def _(content: Verified, stream: TextIO) -> None:
    verdicts = (
        f"{entry.name}: {error.message if error else 'verified'}"
        for entry, error in content.entries
    )
    _write_lines(verdicts, stream)


@write.register(Findings)
def _(content: Findings, stream: TextIO) -> None:
    _write_lines(map(_finding, content.findings), stream)


@write.register(DryRun)
def _(content: DryRun, stream: TextIO) -> None:
    _write_lines(_dry_run(content), stream)


@write.register(RunResult)
def _(content: RunResult, stream: TextIO) -> None:
    _write_lines(summary(content), stream)


@write.register(Report)
def _(content: Report, stream: TextIO) -> None:
    from mpt_tool.view.report import markdown

    _write_lines(markdown.lines(content), stream)


def _write_lines(lines: Iterable[str], stream: TextIO) -> None:
    stream.writelines(f"{printable(line)}\n" for line in lines)


def _in_full(attempts: "Sequence[Attempt]") -> list[str]:
    details = [["", *_details(attempt)] for attempt in attempts]
    return list(chain(*details))[1:]


def _details(attempt: "Attempt") -> list[str]:
    """Return everything that the history keeps of an attempt."""
    document = attempt.document()
    if attempt.counts:
        counted = (f"{count:,} {name}" for name, count in attempt.counts.items())
        document["counts"] = ", ".join(counted)
    if attempt.outcomes:
        document["outcomes"] = in_outcomes(attempt.outcomes)
    error = document.pop("error", None)
    lines = [f"{key}: {value}" for key, value in document.items()]
    name = "error"
    while error:
        lines.append(": ".join(dict.fromkeys((name, error["kind"], error["message"]))))
        lines += [f"  {frame}" for frame in error["frames"]]
        error, name = error.get("cause"), "caused by"
    return lines


def _dry_run(shown: DryRun) -> list[str]:
    """Return what a run would run, in order, and the items of the one batch migration."""
    if not shown.records:
        return [f"No pending {shown.migration_type} migrations."]
    lines = [
        f"  {record.order_id}  {name_of(record.migration_id, target)}"
        for record, targets in shown.records
        for target in targets or [""]
    ]
    lines.insert(0, f"Would run, in this order ({len(lines)}):")
    for target, sight in shown.sights.items():
        lines += [*([f"{target}:"] if target else []), *_seen(sight)]
    return lines


def _seen(sight: "Sight") -> list[str]:
    """Return what a dry run saw of a batch migration."""
    if sight.is_to_verify:
        return ["No item is left: a run just verifies what earlier ones did."]
    lines = [("" if sight.is_all else "More than ") + in_items(sight.items)]
    if sight.rehearsed:
        lines += chain(*(_of_item(item) for item in sight.rehearsed.items[: len(sight.shown)]))
    else:
        lines += [f"  {name}" for name in sight.shown]
    if sight.items > len(sight.shown):
        lines.append("  ...")
    if sight.beside:
        lines.append("Beside the items:")
        lines += chain(*(_of_change(change, "  ") for change in sight.beside))
    if sight.rehearsed:
        lines += [f"Changes ({sight.kinds.total():,}): {_counted(sight.kinds)}"]
        lines += _rehearsed(sight.rehearsed)
    if sight.refused:
        lines.append(f"Writes that were refused ({len(sight.refused):,}):")
        lines += [f"  {request}" for request in sight.refused]
    return lines


def _rehearsed(rehearsed: "Rehearsed") -> list[str]:
    """Return what came of a rehearsal as a whole."""
    lines = []
    if rehearsed.outcomes:
        lines.append(f"Outcomes: {_counted(rehearsed.outcomes)}")
    lines.append(f"Items that failed ({len(rehearsed.failed):,}):")
    return [*lines, *(f"  {item.name}: {item.failure}" for item in rehearsed.failed)]


def _of_item(item: "RehearsedItem") -> list[str]:
    """Return what came of an item, and what it would have changed."""
    end = item.outcome if item.failure is None else "failed"
    if item.failed_before:
        end = f"{end or 'done'}, failed before"
    changes = chain(*(_of_change(change, "    ") for change in item.changes))
    return [f"  {item.name}: {end}" if end else f"  {item.name}", *changes]


def _of_change(change: "RehearsedChange", indent: str) -> list[str]:
    """Return a change as what becomes of each field."""
    fields = [
        f"{each.field}: {_value(each.before)} → {_value(each.after)}"
        for each in change.fields[:_SHOWN_FIELDS]
    ]
    if len(change.fields) > _SHOWN_FIELDS:
        fields.append(f"and {len(change.fields) - _SHOWN_FIELDS:,} more")
    return [f"{indent}{change.kind}: {change.request}", *(f"{indent}  {each}" for each in fields)]


def _value(value: object) -> str:
    return shortened(json.dumps(value, ensure_ascii=False), _LONGEST_VALUE)


def _counted(counts: "Counter[str]") -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _finding(finding: "Finding") -> str:
    """Return a finding as compilers write theirs: file, line if there is one, message."""
    line = f":{finding.line}" if finding.line else ""
    return f"{finding.file}{line}: {finding.message}"


def summary(outcome: RunResult) -> list[str]:
    """Return how a run went; after a failure also which migrations it applied and left out."""
    lines = [f"{name}: {in_outcomes(counts)}" for name, counts in outcome.outcomes.items()]
    is_stopped = isinstance(outcome.failure, StoppedError)
    if outcome.failure:
        lines += [
            f"Applied before the {'stop' if is_stopped else 'failure'}: {_listed(outcome.applied)}",
            f"{_what_failed(outcome.failure)}: {outcome.failed}",
            f"Not reached: {_listed(outcome.not_reached)}",
        ]
    failed = 1 if outcome.failure and not is_stopped else 0
    counts = f"{len(outcome.applied)} applied, {len(outcome.skipped)} skipped, {failed} failed"
    stopped = ", 1 stopped" if is_stopped else ""
    return [*lines, f"{counts}{stopped} in {duration(outcome.seconds)}."]


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


def _listed(migration_ids: Sequence[str]) -> str:
    return ", ".join(migration_ids) or "none"
