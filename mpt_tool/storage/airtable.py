"""Keeps the state in a table of Airtable, a row a migration."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyairtable import Api
from pyairtable.api.types import RecordDict
from pydantic import ValidationError
from requests import HTTPError
from requests.exceptions import InvalidHeader

from mpt_tool.airtable_api import open_api
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import StorageError
from mpt_tool.records import MigrationRecord, describe
from mpt_tool.settings import Settings, variables

log = logging.getLogger(__name__)

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
}
OPTIONAL_COLUMNS = frozenset({"version"})


def open_airtable(settings: Settings) -> "AirtableRepository":
    """Return the repository in the base and table that the settings name.

    Raises:
        SettingsError: the key or the base is not set, or the address is none.
    """
    base_id = settings.require("storage_airtable_base_id")
    return AirtableRepository(open_api(settings), base_id, settings.storage_airtable_table_name)


class AirtableRepository:
    """Keeps records in an Airtable table, whose row ids it remembers from `load`.

    Loading N records takes ⌈N/100⌉ requests, saving one takes one.
    """

    def __init__(self, api: Api, base_id: str, table_name: str) -> None:
        self.notes: dict[str, str] = {}
        self._base = api.base(base_id)
        self._table = api.table(base_id, table_name)
        self._rows: dict[str, RecordDict] = {}
        self._missing: set[str] = set()

    def load(self) -> dict[str, MigrationRecord]:
        """Return all records by migration id; of several rows with one id, the one that counts.

        That is one that is applied before one that is not, so that nothing runs twice, and then
        the oldest.

        Raises:
            StorageError: Airtable cannot be reached or refuses, or a row is no record.
        """
        found = defaultdict(list)
        for row in self._read_rows():
            record = self._record(row)
            found[record.migration_id].append((row, record))
        records = {}
        self._rows = {}
        for migration_id, candidates in found.items():
            self._rows[migration_id], records[migration_id] = min(candidates, key=_precedence)
        self.notes = {
            migration_id: f"{len(candidates)} rows in the table"
            for migration_id, candidates in found.items()
            if len(candidates) > 1
        }
        return records

    def save(self, record: MigrationRecord) -> None:
        """Write the record's row: the one it has, or a new one.

        A new row is written in a way that may be repeated when the reply was lost.

        Raises:
            StorageError: Airtable cannot be reached or refuses.
        """
        document = record.document()
        # An optional column is named only where there is something to write or to clear.
        row = self._rows.get(record.migration_id)
        filled = row["fields"] if row else {}
        fields = {
            column: document.get(column)
            for column in COLUMNS
            if (column in document or column in filled) and column not in self._missing
        }
        with self._explaining_errors():
            try:
                self._write(record.migration_id, fields)
            except HTTPError as error:
                column = _unknown_column(error)
                if column not in OPTIONAL_COLUMNS:
                    raise
                log.warning(
                    "Airtable table %s has no column %s, so that is not recorded;"
                    " `mpt-tool migrate --init` adds it",
                    self._table.name,
                    column,
                )
                self._missing.add(column)
                del fields[column]
                self._write(record.migration_id, fields)

    def initialize(self) -> Sequence[str]:
        """Create the table, or the columns that it lacks; return what was created.

        Raises:
            StorageError: nothing is lacking, a column is of another type, or Airtable refuses.
        """
        name = self._table.name
        with self._explaining_errors():
            tables = self._base.schema(force=True).tables
            table = next((each for each in tables if name in (each.name, each.id)), None)
            if table is None:
                self._base.create_table(
                    name, [{"name": column, **COLUMNS[column]} for column in COLUMNS]
                )
                return [f"table {name}"]
            present = {field.name: field.type for field in table.fields}
            for column, definition in COLUMNS.items():
                if present.get(column, definition["type"]) != definition["type"]:
                    raise StorageError(
                        f"Airtable table {name}: column {column} is not of type"
                        f" {definition['type']}: change it"
                    )
            lacking = [column for column in COLUMNS if column not in present]
            for column in lacking:
                definition = COLUMNS[column]
                self._base.table(table.id).create_field(
                    column, definition["type"], options=definition.get("options")
                )
        if not lacking:
            raise StorageError(
                f"Cannot initialize - Airtable table {name} exists and lacks no column"
            )
        return [f"column {column}" for column in lacking]

    def _read_rows(self) -> list[RecordDict]:
        """Return all rows that hold anything of a record.

        Not `Table.all()`, which takes a reply without rows, of a proxy say, for an empty table:
        everything would run again.
        """
        with self._explaining_errors():
            pages = self._table.api.iterate_requests("get", self._table.urls.records)
            rows: list[RecordDict] = [row for page in pages for row in page["records"]]
            return [row for row in rows if COLUMNS.keys() & row["fields"].keys()]

    def _record(self, row: RecordDict) -> MigrationRecord:
        fields = {column: row["fields"].get(column) for column in COLUMNS}
        # JSON has one kind of number: a column with decimals shows a whole one as a float.
        if isinstance(fields["order_id"], float) and fields["order_id"].is_integer():
            fields["order_id"] = int(fields["order_id"])
        try:
            return MigrationRecord.model_validate(fields)
        except ValidationError as error:
            raise StorageError(
                f"Airtable table {self._table.name}: row {row['id']} is no record:"
                f" {describe(error)}. Mend or delete the row; if the column is missing,"
                " `mpt-tool migrate --init` adds it"
            ) from error

    def _write(self, migration_id: str, fields: dict[str, Any]) -> None:
        if row := self._rows.get(migration_id):
            try:
                self._rows[migration_id] = self._table.update(row["id"], fields)
            except HTTPError as error:
                if error.response.status_code not in (403, 404):
                    raise
                # Somebody may have deleted the row meanwhile: what it said is written anew.
                del self._rows[migration_id]
            else:
                return
        # Not a create: one of those whose reply is lost, sent again, would leave two rows.
        result = self._table.batch_upsert([{"fields": fields}], key_fields=["migration_id"])
        self._rows[migration_id] = result["records"][0]

    @contextmanager
    def _explaining_errors(self) -> Iterator[None]:
        try:
            yield
        except HTTPError as error:
            raise StorageError(self._explanation(error)) from error
        except (InvalidHeader, UnicodeEncodeError) as error:
            raise StorageError(
                f"{variables('airtable_api_key')} holds a character that no key has"
            ) from error
        except OSError as error:
            raise StorageError(
                f"Airtable cannot be reached ({type(error).__name__}):"
                f" check the network and {variables('storage_airtable_endpoint_url')}"
            ) from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise StorageError(
                "What answers is not Airtable, for its reply has another form:"
                f" check {variables('storage_airtable_endpoint_url')}"
            ) from error

    def _explanation(self, error: HTTPError) -> str:
        table, base = self._table.name, self._base.id
        kind, message = _error_body(error)
        match error.response.status_code:
            case 401:
                return f"Airtable refuses the key (401): check {variables('airtable_api_key')}"
            case 403:
                return (
                    f"Airtable refuses base {base}, table {table} (403): they do not exist, or the"
                    " key lacks access to the base or a scope (data.records:read and :write;"
                    " for --init schema.bases:read and :write)"
                )
            case 404:
                return (
                    f"Airtable has no base {base} or no table {table} in it (404): check"
                    f" {variables('storage_airtable_base_id')} and"
                    f" {variables('storage_airtable_table_name')},"
                    " or create the table: mpt-tool migrate --init"
                )
            case 422 if column := _unknown_column(error):
                return (
                    f"Airtable table {table} has no column {column}: add it by hand,"
                    " or run: mpt-tool migrate --init"
                )
            case 422 if kind == "INVALID_MULTIPLE_CHOICE_OPTIONS":
                choices = " and ".join(MigrationTypeEnum)
                return (
                    f"Airtable table {table}: column type needs the choices {choices}:"
                    f" add what is missing ({message})"
                )
            case status if status == 429 or status >= 500:
                return (
                    f"Airtable has no time for table {table} ({status}): raise"
                    f" {variables('storage_airtable_retry_seconds')} to go on asking for longer"
                )
            case status:
                reason = " ".join(filter(None, [str(status), kind, message]))
                return f"Airtable refuses a request to table {table}: {reason}"


def _precedence(candidate: tuple[RecordDict, MigrationRecord]) -> tuple[bool, bool, str, str]:
    row, record = candidate
    return record.applied_at is None, record.started_at is None, row["createdTime"], row["id"]


def _error_body(error: HTTPError) -> tuple[str, str]:
    """Return the type and the message of Airtable's error; it answers in more than one shape."""
    try:
        body = error.response.json()
    except ValueError:
        return "", error.response.reason or ""
    match body:
        case {"error": {"type": kind, **rest}}:
            return str(kind), str(rest.get("message", ""))
        case {"error": kind}:
            return str(kind), ""
        case {"errors": [{"error": kind, **rest}, *_]}:
            return str(kind), str(rest.get("message", ""))
        case _:
            return "", ""


def _unknown_column(error: HTTPError) -> str | None:
    """Return the column that Airtable says the table lacks."""
    kind, message = _error_body(error)
    if kind != "UNKNOWN_FIELD_NAME":
        return None
    return message.partition('"')[2].rpartition('"')[0] or None
