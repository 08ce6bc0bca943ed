"""What programs read: the JSON documents of all commands, in one envelope, and CSV."""

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from mpt_tool.records import seconds_between
from mpt_tool.scripts.plan import of_targets, running
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
from mpt_tool.wording import printable

if TYPE_CHECKING:
    from mpt_tool.batch.rehearsal import Sight
    from mpt_tool.records import Attempt, ErrorReport
    from mpt_tool.scripts.plan import Entry

JSON_VERSION = 1


def write_json(command: str, content: Mapping[str, Any], stream: TextIO) -> None:
    """Write the one JSON document of a command, in the envelope that all commands share."""
    document = {"version": JSON_VERSION, "command": command, **content}
    stream.write(json.dumps(document, indent=2) + "\n")


def write_csv(content: Content, stream: TextIO) -> None:
    """Write failed items as CSV, a line each: the cursor, as JSON unless it is text; the error.

    The target comes first, if the migration has any.
    """
    assert isinstance(content, Failures)
    lines = csv.writer(stream, lineterminator="\n")
    has_targets = any(content.items)
    lines.writerow([*(["target"] if has_targets else []), "cursor", "error"])
    for target, items in content.items.items():
        for item in items:
            cursor = item.cursor if isinstance(item.cursor, str) else json.dumps(item.cursor)
            cells = [*([target] if has_targets else []), cursor, item.error]
            lines.writerow([printable(cell) for cell in cells])


def document(content: Content) -> dict[str, Any]:
    """Return what a command reports as JSON values."""
    match content:
        case Listing():
            entries = [_of_entry(entry) for entry in content.entries]
            return {"migrations": entries, "notes": list(content.notes)}
        case Pending():
            return {"pending": [_of_entry(entry) for entry in content.entries]}
        case History():
            return {"attempts": [attempt.document() for attempt in content.attempts]}
        case Runs():
            return {"runs": [_of_run(attempts) for attempts in content.runs]}
        case Status():
            return _of_status(content)
        case Failures():
            items = [
                {**({"target": target} if target else {}), **item.model_dump(mode="json")}
                for target, failed in content.items.items()
                for item in failed
            ]
            return {"migration_id": content.migration_id, "failures": items}
        case Verified():
            return {"verified": [_of_verified(*each) for each in content.entries]}
        case Findings():
            return {"findings": [asdict(finding) for finding in content.findings]}
        case DryRun():
            return _of_dry_run(content)
        case _:
            return {}


def _of_dry_run(shown: DryRun) -> dict[str, Any]:
    keys = ("order_id", "migration_id", "type")
    records = [
        {key: getattr(record, key) for key in keys}
        | ({"targets": list(targets)} if targets else {})
        for record, targets in shown.records
    ]
    sights = {target: _of_sight(sight) for target, sight in shown.sights.items()}
    if not sights:
        return {"would_run": records}
    seen = {"items": sights[""]} if "" in sights else {"targets": sights}
    return {"would_run": records, **seen}


def _of_entry(entry: "Entry") -> dict[str, Any]:
    record = entry.record
    known: dict[str, Any] = {"outcomes": dict(entry.outcomes)} if entry.outcomes else {}
    if entry.target:
        known["target"] = entry.target
    elif entry.targets or (record and record.targets):
        known["targets"] = [_of_entry(each) for each in of_targets(entry)]
    return {
        "order_id": entry.order_id,
        "migration_id": entry.migration_id,
        "type": entry.type,
        "status": entry.status,
        "started_at": record and _isoformat(record.started_at),
        "applied_at": record and _isoformat(record.applied_at),
        "seconds": record and record.seconds,
        "version": record and record.version,
        "file": entry.script and str(entry.script.path),
        "notes": list(entry.notes),
        **known,
    }


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


def _of_status(status: Status) -> dict[str, Any]:
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
