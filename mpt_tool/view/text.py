"""What people read: tables, plans, summaries, findings."""

import json
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from mpt_tool.errors import MptToolError, StoppedError, StorageError, UnbegunError
from mpt_tool.scripts.plan import RunResult
from mpt_tool.view import tables
from mpt_tool.view.results import (
    Content,
    DryRun,
    Failures,
    Findings,
    History,
    Listing,
    Pending,
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


def write(content: Content, stream: TextIO) -> None:
    """Write what a command reports: its table, if it has one, and what is told in lines."""
    match content:
        case Listing():
            tables.entries_table(content.entries, ("started", "applied", "duration"), stream)
        case Pending():
            tables.entries_table(content.entries, ("started",), stream)
        case History(migration_id=None):
            tables.history_table(content.attempts, stream)
        case Runs():
            tables.runs_table(content.runs, stream)
        case Status():
            write_status(content, stream)
        case Failures():
            tables.failures_table(content.items, stream)
    stream.writelines(f"{printable(line)}\n" for line in _lines(content))


def _lines(content: Content) -> Iterable[str]:
    """Return what is told of a command's report in lines."""
    match content:
        case Listing():
            found = [] if content.entries else ["No migrations found."]
            return [*found, *(f"Note: {note}." for note in content.notes)]
        case History(migration_id=str()):
            details = [["", *_details(attempt)] for attempt in content.attempts]
            return list(chain(*details))[1:]
        case Verified():
            return (
                f"{entry.name}: {error.message if error else 'verified'}"
                for entry, error in content.entries
            )
        case Findings():
            return map(_finding, content.findings)
        case DryRun():
            return _dry_run(content)
        case RunResult():
            return summary(content)
        case _:
            return ()


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
    if outcome.failure:
        lines += [
            f"Applied before the failure: {_listed(outcome.applied)}",
            f"{_what_failed(outcome.failure)}: {outcome.failed}",
            f"Not reached: {_listed(outcome.not_reached)}",
        ]
    is_stopped = isinstance(outcome.failure, StoppedError)
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
