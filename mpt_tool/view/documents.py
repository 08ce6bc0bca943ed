"""What programs read: the JSON documents of all commands, in one envelope, and CSV."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import singledispatch
from typing import TYPE_CHECKING, Any, TextIO

from mpt_tool.records import seconds_between
from mpt_tool.scripts.plan import of_targets, running
from mpt_tool.view.results import (
    Content,
    DryRun,
    Examination,
    Failures,
    Findings,
    History,
    Listing,
    Pending,
    Runs,
    Status,
    Verified,
    Written,
)
from mpt_tool.wording import printable

if TYPE_CHECKING:
    from mpt_tool.batch.rehearsal import Sight
    from mpt_tool.records import Attempt, ErrorReport
    from mpt_tool.scripts.plan import Entry
    from mpt_tool.view.schemas import ListedMigration

JSON_VERSION = 1
# With what a formula begins, as OWASP lists it; a tab or a line break is escaped anyway.
_FORMULA = ("=", "+", "-", "@")


def write_json(command: str, content: Mapping[str, Any], stream: TextIO) -> None:
    """Write the one JSON document of a command, in the envelope that all commands share."""
    document = {"version": JSON_VERSION, "command": command, **content}
    stream.write(json.dumps(document, indent=2) + "\n")


def write_csv(content: Content, stream: TextIO) -> None:
    """Write failed items as CSV, a line each: the cursor, as JSON unless it is text; the error.

    The target comes first, if the migration has any. What a spreadsheet would take for a formula is
    marked as text by an apostrophe before it.
    """
    assert isinstance(content, Failures)
    lines = csv.writer(stream, lineterminator="\n")
    has_targets = any(content.items)
    lines.writerow([*(["target"] if has_targets else []), "cursor", "error"])
    for target, items in content.items.items():
        for item in items:
            cursor = item.cursor if isinstance(item.cursor, str) else json.dumps(item.cursor)
            cells = [*([target] if has_targets else []), cursor, item.error]
            lines.writerow([_as_text(printable(cell)) for cell in cells])


def _as_text(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


@singledispatch
def document(_content: Content) -> dict[str, Any]:
    """Return what a command reports as JSON values; nothing of what has no such form."""
    return {}


@document.register(Listing)
def _(content: Listing) -> dict[str, Any]:
    entries = [_of_entry(entry) for entry in content.entries]
    return {"migrations": entries, "notes": list(content.notes)}


@document.register(Pending)
def _(content: Pending) -> dict[str, Any]:
    entries = [_of_entry(entry) for entry in content.entries]
    return {"pending": entries, "notes": list(content.notes)}


@document.register(History)
def _(content: History) -> dict[str, Any]:
    return {"attempts": [attempt.document() for attempt in content.attempts]}


@document.register(Runs)
def _(content: Runs) -> dict[str, Any]:
    return {"runs": [_of_run(attempts) for attempts in content.runs]}


@document.register(Failures)
def _(content: Failures) -> dict[str, Any]:
    items = [
        {
            **({"target": target} if target else {}),
            **item.model_dump(mode="json", exclude={"steps"}),
        }
        for target, failed in content.items.items()
        for item in failed
    ]
    return {"migration_id": content.migration_id, "failures": items}


@document.register(Verified)
def _(content: Verified) -> dict[str, Any]:
    return {"verified": [_of_verified(*each) for each in content.entries]}


@document.register(Written)
def _(content: Written) -> dict[str, Any]:
    report = content.report
    counts = {"migrations": len(report.entries), "attempts": len(report.attempts)}
    return {"file": content.file, **counts}


@document.register(Findings)
def _(content: Findings) -> dict[str, Any]:
    return {"findings": [asdict(finding) for finding in content.findings]}


@document.register(Examination)
def _(content: Examination) -> dict[str, Any]:
    checks = [
        {"subject": subject, **asdict(each)}
        for subject, found in content.checks.items()
        for each in found
    ]
    return {"checks": checks}


@document.register(DryRun)
def _(content: DryRun) -> dict[str, Any]:
    keys = ("order_id", "migration_id", "type")
    records = [
        {key: getattr(record, key) for key in keys}
        | ({"targets": list(targets)} if targets else {})
        for record, targets in content.records
    ]
    sights = {target: _of_sight(sight) for target, sight in content.sights.items()}
    if not sights:
        return {"would_run": records}
    seen = {"items": sights[""]} if "" in sights else {"targets": sights}
    return {"would_run": records, **seen}


def _of_entry(entry: "Entry") -> "ListedMigration":
    record = entry.record
    document: ListedMigration = {
        "order_id": entry.order_id,
        "migration_id": entry.migration_id,
        "type": entry.type,
        "status": entry.status,
        "started_at": _isoformat(record.started_at) if record else None,
        "applied_at": _isoformat(record.applied_at) if record else None,
        "seconds": entry.seconds,
        "version": record.version if record else None,
        "file": str(entry.script.path) if entry.script else None,
        "notes": list(entry.notes),
    }
    if entry.is_stopped:
        document["is_stopped"] = True
    if entry.outcomes:
        document["outcomes"] = dict(entry.outcomes)
    if entry.target:
        document["target"] = entry.target
    elif entry.targets or (record and record.targets):
        document["targets"] = [_of_entry(each) for each in of_targets(entry)]
    return document


def _of_run(attempts: "Sequence[Attempt]") -> dict[str, Any]:
    keys = ("run_id", "user", "host", "process", "version", "tool_version")
    first, last = attempts[0], attempts[-1]
    began = first.started_at or first.ended_at
    return {
        **{key: getattr(first, key) or None for key in keys},
        "started_at": _isoformat(began),
        "ended_at": _isoformat(last.ended_at),
        "seconds": seconds_between(began, last.ended_at),
        "outcomes": Counter(each.outcome for each in attempts),
        "migrations": list(dict.fromkeys(each.migration_id for each in attempts)),
    }


@document.register(Status)
def _(status: Status) -> dict[str, Any]:
    holder, failure, next_ = status.holder, status.last_failure, status.next_command
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for entry in status.entries:
        counts[entry.type or "unknown"][entry.status] += 1
    return {
        "at": _isoformat(status.at),
        "lock": holder and {**asdict(holder), "since": _isoformat(holder.since)},
        "running": [_of_running(entry) for entry in running(status.entries)],
        "counts": counts,
        "last_failure": failure and failure.document(),
        "next": next_ and asdict(next_),
        "notes": list(status.strays),
    }


def _of_running(entry: "Entry") -> dict[str, Any]:
    checkpoint = entry.record and entry.record.checkpoint
    return {
        **_of_entry(entry),
        "is_left": entry.is_left,
        "checkpoint": checkpoint and checkpoint.document(),
    }


def _of_sight(sight: "Sight") -> dict[str, Any]:
    document = {**asdict(sight), "kinds": sight.kinds}
    if not sight.is_to_verify:
        del document["is_to_verify"]
    if sight.rehearsed:
        document["rehearsed"] |= {"outcomes": sight.rehearsed.outcomes}
    return document


def _of_verified(entry: "Entry", error: "ErrorReport | None") -> dict[str, Any]:
    return {
        "migration_id": entry.migration_id,
        **({"target": entry.target} if entry.target else {}),
        "error": error and error.model_dump(mode="json"),
    }


def _isoformat(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
