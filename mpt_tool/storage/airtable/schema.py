"""The columns of the state table, and how a table gets those that it lacks."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyairtable import Base

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import StorageError
from mpt_tool.storage.airtable.errors import explaining_errors

TEXT = {"type": "singleLineText"}
LONG_TEXT = {"type": "multilineText"}
WHOLE = {"type": "number", "options": {"precision": 0}}
_DATE_TIME = {
    "type": "dateTime",
    "options": {"dateFormat": {"name": "iso"}, "timeFormat": {"name": "24hour"}, "timeZone": "utc"},
}
_TYPE = {
    "type": "singleSelect",
    "options": {"choices": [{"name": str(name)} for name in MigrationTypeEnum]},
}

COLUMNS: Mapping[str, Mapping[str, Any]] = {
    # Airtable takes the first column of a new table for the name of its rows.
    "migration_id": TEXT,
    "order_id": WHOLE,
    "started_at": _DATE_TIME,
    "applied_at": _DATE_TIME,
    "type": _TYPE,
    "version": TEXT,
    # As JSON.
    "checkpoint": LONG_TEXT,
    "targets": LONG_TEXT,
}

AS_JSON = ("checkpoint", "targets")
OPTIONAL_COLUMNS = frozenset({"version", *AS_JSON})


def complete(base: Base, name: str, columns: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """Create the table, or the columns that it lacks; return what was created.

    Raises:
        StorageError: a column is of another type, or Airtable refuses.
    """
    with explaining_errors(base.table(name)):
        tables = base.schema(force=True).tables
        table = next((each for each in tables if name in (each.name, each.id)), None)
        if table is None:
            base.create_table(name, [{"name": each, **columns[each]} for each in columns])
            return [f"table {name}"]
        present = {field.name: field.type for field in table.fields}
        for column, definition in columns.items():
            if present.get(column, definition["type"]) != definition["type"]:
                raise StorageError(
                    f"Airtable table {name}: column {column} is not of type"
                    f" {definition['type']}: change it"
                )
        lacking = [column for column in columns if column not in present]
        for column in lacking:
            type_, options = columns[column]["type"], columns[column].get("options")
            base.table(table.id).create_field(column, type_, options=options)
    return [f"column {column}" for column in lacking]
