"""The columns of the state table."""

from collections.abc import Mapping
from typing import Any

from mpt_tool.enums import MigrationTypeEnum

_DATE_TIME = {
    "type": "dateTime",
    "options": {
        "dateFormat": {"name": "iso"},
        "timeFormat": {"name": "24hour"},
        "timeZone": "utc",
    },
}


COLUMNS: Mapping[str, Mapping[str, Any]] = {
    # Airtable takes the first column of a new table for the name of its rows.
    "migration_id": {"type": "singleLineText"},
    "order_id": {"type": "number", "options": {"precision": 0}},
    "started_at": _DATE_TIME,
    "applied_at": _DATE_TIME,
    "type": {
        "type": "singleSelect",
        "options": {"choices": [{"name": str(name)} for name in MigrationTypeEnum]},
    },
    "version": {"type": "singleLineText"},
    # As JSON.
    "checkpoint": {"type": "multilineText"},
}


OPTIONAL_COLUMNS = frozenset({"version", "checkpoint"})
