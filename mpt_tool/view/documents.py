"""What programs read: the JSON documents of all commands, in one envelope, and CSV."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from mpt_tool.view.results import (
    Content,
    DryRun,
    Failures,
    Findings,
    History,
    Listing,
    Pending,
)
from mpt_tool.wording import printable

if TYPE_CHECKING:
    from mpt_tool.batch.rehearsal import Sight
    from mpt_tool.records import MigrationRecord
    from mpt_tool.scripts.plan import Entry

JSON_VERSION = 1


def write_json(command: str, content: Mapping[str, Any], stream: TextIO) -> None:
    """Write the one JSON document of a command, in the envelope that all commands share."""
    document = {"version": JSON_VERSION, "command": command, **content}
    stream.write(json.dumps(document, indent=2) + "\n")


def write_csv(content: Content, stream: TextIO) -> None:
    """Write failed items as CSV, a line each: the cursor, as JSON unless it is text; the error."""
    assert isinstance(content, Failures)
    lines = csv.writer(stream, lineterminator="\n")
    lines.writerow(["cursor", "error"])
    for item in content.items:
        cursor = item.cursor if isinstance(item.cursor, str) else json.dumps(item.cursor)
        lines.writerow([printable(cursor), printable(item.error)])


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
        case Failures():
            items = [item.model_dump(mode="json") for item in content.items]
            return {"migration_id": content.migration_id, "failures": items}
        case Findings():
            return {"findings": [asdict(finding) for finding in content.findings]}
        case DryRun():
            records = [_of_record(record) for record in content.records]
            seen = {"items": _of_sight(content.sight)} if content.sight else {}
            return {"would_run": records, **seen}
        case _:
            return {}


def _of_entry(entry: "Entry") -> dict[str, Any]:
    record = entry.record
    return {
        "order_id": entry.order_id,
        "migration_id": entry.migration_id,
        "type": entry.type,
        "status": entry.status,
        "started_at": _isoformat(record.started_at if record else None),
        "applied_at": _isoformat(record.applied_at if record else None),
        "seconds": record.seconds if record else None,
        "version": record and record.version,
        "file": entry.script and str(entry.script.path),
        "notes": list(entry.notes),
    }


def _of_record(record: "MigrationRecord") -> dict[str, Any]:
    return {
        "order_id": record.order_id,
        "migration_id": record.migration_id,
        "type": record.type,
    }


def _of_sight(sight: "Sight") -> dict[str, Any]:
    document = asdict(sight)
    if sight.rehearsed:
        document["rehearsed"] |= {
            "kinds": sight.rehearsed.kinds,
            "outcomes": sight.rehearsed.outcomes,
        }
    return document


def _isoformat(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
