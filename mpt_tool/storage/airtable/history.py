"""Keeps the history in a second table of the Airtable base: attempts, and items that failed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pyairtable import Table
from pyairtable.api.types import RecordDict
from pydantic import BaseModel, ValidationError
from requests import HTTPError

from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import NoHistoryError
from mpt_tool.process.log import get_log
from mpt_tool.records import Attempt, FailedItems
from mpt_tool.storage.airtable.cells import error_cell, fitting, json_cell
from mpt_tool.storage.airtable.errors import explaining_errors, is_gone
from mpt_tool.storage.airtable.schema import LONG_TEXT, TEXT, WHOLE

log = get_log(__name__)

# What the rows of failed items have as their outcome.
_FAILED_ITEMS = "failed items"
_IS_ATTEMPT = f"{{outcome}}!='{_FAILED_ITEMS}'"
# The keys of an attempt, and of failed items; some as JSON.
COLUMNS: Mapping[str, Mapping[str, Any]] = {
    "run_id": TEXT,
    "migration_id": TEXT,
    "order_id": WHOLE,
    "type": TEXT,
    "outcome": TEXT,
    "started_at": TEXT,
    "ended_at": TEXT,
    "seconds": {"type": "number", "options": {"precision": 3}},
    "user": TEXT,
    "host": TEXT,
    "process": WHOLE,
    "version": TEXT,
    "tool_version": TEXT,
    "checksum": TEXT,
    "counts": LONG_TEXT,
    "error": LONG_TEXT,
    "target": TEXT,
    "since": TEXT,
    "outcomes": LONG_TEXT,
    "first": WHOLE,
    "failed": LONG_TEXT,
}
_AS_JSON = ("counts", "error", "outcomes", "failed")


class AirtableHistory:
    """Adds attempts to a table, and reads them; `NoHistoryError` if it is not there."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._is_there = True

    def append(self, entry: Attempt | FailedItems) -> None:
        """Add rows, in a way that may be repeated when the reply was lost.

        A row is told by three columns: Airtable takes no more. Of the attempts of a run, those
        at the targets of a migration differ by when they began, or by the target.
        """
        if isinstance(entry, Attempt):
            fields = {**entry.document(), "error": error_cell(entry.error) if entry.error else None}
            of_target = "started_at" if entry.started_at else "target"
            third = of_target if entry.target else "outcome"
            self._upsert([fields], ["run_id", "migration_id", third])
            return
        rows = [{**part.document(), "outcome": _FAILED_ITEMS} for part in fitting(entry)]
        # Since when tells the migration and its target. Of two runs each has its own rows, for what
        # the later one keeps under a number holds.
        self._upsert(rows, ["run_id", "since", "first"])

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first; a row that is none is left out."""
        return self._entries(Attempt, _IS_ATTEMPT)

    def last_failure(self) -> Attempt | None:
        """Return the attempt that failed last; None if none did."""
        return next(iter(self._newest(f"{{outcome}}='{OutcomeEnum.FAILED}'", 1)), None)

    def newest_attempts(self, count: int) -> list[Attempt]:
        """Return so many attempts that have ended, the newest first, by a request a hundred."""
        return self._newest(_IS_ATTEMPT, count)

    def _newest(self, formula: str, count: int) -> list[Attempt]:
        options = {
            "filterByFormula": formula,
            # Text, but of one form, in UTC: it sorts as time does.
            "sort[0][field]": "ended_at",
            "sort[0][direction]": "desc",
            "maxRecords": count,
        }
        with self._asking():
            rows = self._rows(options)
        return [attempt for row in rows if (attempt := self._entry(Attempt, row))]

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        """Return the failed items of a migration, those added last first."""
        # An id holds nothing that would have to be escaped.
        formula = f"AND({{migration_id}}='{migration_id}', {{outcome}}='{_FAILED_ITEMS}')"
        return self._entries(FailedItems, formula)

    def _upsert(self, rows: Sequence[Mapping[str, Any]], keys: list[str]) -> None:
        cells = [
            {
                name: json_cell(name, value) if isinstance(value, dict | list) else value
                for name, value in row.items()
                if value is not None and name in COLUMNS
            }
            for row in rows
        ]
        with self._asking():
            self._table.batch_upsert([{"fields": each} for each in cells], key_fields=keys)

    def _entries[Entry: BaseModel](self, kind: type[Entry], formula: str) -> Iterator[Entry]:
        """Return the entries of a kind that a formula selects, the newest first."""
        with self._asking():
            rows = self._rows({"filterByFormula": formula})
        rows.sort(key=lambda row: str(row["createdTime"]))
        return (entry for row in reversed(rows) if (entry := self._entry(kind, row)))

    def _rows(self, options: dict[str, Any]) -> list[RecordDict]:
        """Return the rows that a list request with these options asks for."""
        pages = self._table.api.iterate_requests("get", self._table.urls.records, params=options)
        return [row for page in pages for row in page["records"]]

    def _entry[Entry: BaseModel](self, kind: type[Entry], row: RecordDict) -> Entry | None:
        fields = dict(row["fields"])
        try:
            for name in _AS_JSON:
                if name in fields:
                    fields[name] = json.loads(fields[name])
            return kind.model_validate(fields)
        except (ValidationError, ValueError, TypeError):
            name = self._table.name
            log.debug("Row %s of table %s is no attempt: left out", row["id"], name)
            return None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Explain what a request fails with; a table that is not there is not asked for again."""
        missing = NoHistoryError(
            f"There is no history: Airtable base {self._table.base.id} has no table"
            f" {self._table.name} that the key may see; mpt-tool migrate --init creates it"
        )
        if not self._is_there:
            raise missing
        with explaining_errors(self._table):
            try:
                yield
            except HTTPError as error:
                if not is_gone(error):
                    raise
                self._is_there = False
                raise missing from error
