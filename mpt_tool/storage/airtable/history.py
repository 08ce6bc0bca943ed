"""Keeps the history in a second table of the Airtable base, a row an attempt."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyairtable import Table
from pyairtable.api.types import RecordDict
from pydantic import ValidationError
from requests import HTTPError

from mpt_tool.errors import NoHistoryError
from mpt_tool.process.log import get_log
from mpt_tool.records import Attempt
from mpt_tool.storage.airtable.cells import error_cell
from mpt_tool.storage.airtable.errors import explaining_errors, is_gone
from mpt_tool.storage.airtable.schema import LONG_TEXT, TEXT, WHOLE

log = get_log(__name__)

# An attempt's keys; `counts` and `error` as JSON.
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
}
_AS_JSON = ("counts", "error")
_KEYS = ["run_id", "migration_id", "outcome"]


class AirtableHistory:
    """Adds attempts to a table, and reads them; `NoHistoryError` if it is not there."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._is_there = True

    def append(self, attempt: Attempt) -> None:
        """Add a row, in a way that may be repeated when the reply was lost."""
        fields = attempt.document()
        if attempt.counts:
            fields["counts"] = json.dumps(attempt.counts)
        if attempt.error:
            fields["error"] = error_cell(attempt.error)
        with self._asking():
            self._table.batch_upsert([{"fields": fields}], key_fields=_KEYS)

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first; a row that is none is left out."""
        with self._asking():
            pages = self._table.api.iterate_requests("get", self._table.urls.records)
            rows = [row for page in pages for row in page["records"]]
        rows.sort(key=lambda row: str(row["createdTime"]))
        return filter(None, map(self._attempt, reversed(rows)))

    def _attempt(self, row: RecordDict) -> Attempt | None:
        fields = dict(row["fields"])
        try:
            for name in _AS_JSON:
                if name in fields:
                    fields[name] = json.loads(fields[name])
            return Attempt.model_validate(fields)
        except (ValidationError, ValueError, TypeError):
            log.debug("Row %s of table %s is no attempt: left out", row["id"], self._table.name)
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
