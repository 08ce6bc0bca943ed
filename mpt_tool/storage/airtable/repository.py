"""Keeps the state in a table of Airtable, a row a migration."""

import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

from pyairtable import Api
from pyairtable.api.types import RecordDict
from pydantic import ValidationError
from requests import HTTPError, Response

from mpt_tool.checks import Check
from mpt_tool.clients.airtable import TIME_OUT, TimeOut, leave_room, open_api
from mpt_tool.clients.retries import BeforeSend, allow_all
from mpt_tool.errors import StorageError
from mpt_tool.process.log import get_log
from mpt_tool.records import Attempt, FailedItems, MigrationRecord, Origin, describe
from mpt_tool.settings import load_settings
from mpt_tool.storage.airtable.cells import json_cell
from mpt_tool.storage.airtable.claims import PREFIX, AirtableClaims, claim_of, is_claim
from mpt_tool.storage.airtable.errors import explaining_errors, is_gone, unknown_column
from mpt_tool.storage.airtable.history import COLUMNS as HISTORY_COLUMNS
from mpt_tool.storage.airtable.history import AirtableHistory
from mpt_tool.storage.airtable.schema import AS_JSON, COLUMNS, OPTIONAL_COLUMNS, complete
from mpt_tool.storage.airtable.settings import StoreSettings
from mpt_tool.storage.lease import (
    RENEWALS_A_LEASE,
    Claim,
    Lease,
    Pace,
    acquire,
    arrivals,
    first_of,
    renewed,
    unlock,
)
from mpt_tool.storage.repository import Holder, Snapshot

type _Found = Mapping[str, Sequence[tuple[RecordDict, MigrationRecord]]]
"""Rows and their records by migration id, those first that count."""

log = get_log(__name__)


def open_airtable(root: Path) -> "AirtableRepository":
    """Return the repository in the base and the tables that the settings name.

    Raises:
        SettingsError: the key or the base is not set, or a setting is wrong.
    """
    settings = load_settings(StoreSettings, root)
    pace = Pace(settings.lease_seconds, _clock, time.sleep, random.random)
    return AirtableRepository(settings, partial(open_api, settings), pace)


class AirtableRepository:
    """A `StateRepository` in an Airtable table, whose row ids it remembers from `load`.

    Loading N records takes ⌈N/100⌉ requests, saving one takes one; so does adding an attempt to
    the history, which is a second table. The lock takes five, and two more a renewal.

    Args:
        settings: the base, its table of the records and of the lock, that of the attempts, which
            may be missing.
        connect: returns a client, given what may refuse a request, the time-outs, and whether its
            requests are urgent.
        pace: how the lease of the lock measures time, while the machine sleeps too.
    """

    is_remote = True

    def __init__(
        self,
        settings: StoreSettings,
        connect: Callable[[BeforeSend, TimeOut, bool], Api],
        pace: Pace,
    ) -> None:
        self._settings = settings
        self._missing: set[str] = set()
        self._pace = pace
        self._lease: Lease | None = None
        base_id, table_name = settings.base_id, settings.table_name
        # A request is refused, when it is sent again too, once the lock is lost.
        connect_held = partial(
            connect, lambda _method, _url: self.require_lock(), _time_out(pace.lease_seconds)
        )
        self._table = connect_held(False).table(base_id, table_name)
        self._answered_at = datetime.now(UTC)
        # Nothing refuses it: that the lock was lost goes on record, too.
        self._history_table = connect(allow_all, TIME_OUT, False).table(
            base_id, settings.history_table_name
        )
        self._history = AirtableHistory(self._history_table)
        self._claims = AirtableClaims(self._table)
        # What keeps the lock waits for nothing else.
        self._urgent_claims = AirtableClaims(connect_held(True).table(base_id, table_name))
        self._table.api.session.hooks["response"].append(self._note_time)
        self._rows: dict[str, RecordDict] = {}
        # A run says itself, before its first item, that it has no place for checkpoints.
        self._told = set(AS_JSON)

    def load(self) -> Snapshot:
        """Return what the table holds; of several rows with one id, the one that counts.

        That is one that is applied before one that is not, so that nothing runs twice, and then
        the oldest.
        """
        rows = self._read_rows()
        found = self._found(rows)
        self._rows = {migration_id: row for migration_id, [(row, _), *_] in found.items()}
        return self._snapshot(found, rows)

    def looks(self, wait_seconds: float) -> Iterator[Snapshot]:
        """Yield what the table holds of what is applied, until there is no claim of the lock.

        Raises:
            StorageError: Airtable cannot be reached or refuses, or a row is no record.
        """
        self._leave_room(wait_seconds)
        for look, _ in enumerate(arrivals(wait_seconds, self._pace)):
            # Which columns are missing is learned by a request each: just what is needed is named.
            rows = self._read_rows(without=OPTIONAL_COLUMNS - {"targets"})
            snapshot = self._snapshot(self._found(rows), rows)
            yield snapshot
            if not snapshot.holder:
                return
            if look == 0:
                log.info("Waiting for the lock, held by %s", snapshot.holder)

    def _found(self, rows: Sequence[RecordDict]) -> _Found:
        found = defaultdict(list)
        for row in filter(_holds_record, rows):
            record = self._record(row)
            found[record.migration_id].append((row, record))
        return {migration_id: sorted(each, key=_precedence) for migration_id, each in found.items()}

    def _snapshot(self, found: _Found, rows: Sequence[RecordDict]) -> Snapshot:
        records = {migration_id: record for migration_id, [(_, record), *_] in found.items()}
        notes = {
            migration_id: f"{len(candidates)} rows in the table"
            for migration_id, candidates in found.items()
            if len(candidates) > 1
        }
        holder = self._first_of([claim_of(row) for row in rows if is_claim(row)])
        return Snapshot(records, notes, frozenset(self._missing), holder)

    def save(self, record: MigrationRecord) -> None:
        """Write the record's row: the one it has, or a new one.

        A new row is written in a way that may be repeated when the reply was lost.
        """
        document = record.document()
        document |= {each: json_cell(each, document[each]) for each in AS_JSON if each in document}
        # An optional column is named only where there is something to write or to clear.
        row = self._rows.get(record.migration_id)
        named = {*document, *(row["fields"] if row else ())}
        fields = {column: document.get(column) for column in COLUMNS if column in named}
        with explaining_errors(self._table):
            try:
                self._write(record.migration_id, self._without_missing(fields))
            except HTTPError as error:
                self._note_missing(error)
                self._write(record.migration_id, self._without_missing(fields))

    def initialize(self) -> Sequence[str]:
        """Create both tables, or the columns that they lack; return what was created."""
        base = self._table.base
        created = [
            *complete(base, self._table.name, COLUMNS),
            *complete(base, self._history_table.name, HISTORY_COLUMNS),
        ]
        if not created:
            raise StorageError(
                f"Cannot initialize - Airtable tables {self._table.name} and"
                f" {self._history_table.name} exist and lack no column"
            )
        return created

    @contextmanager
    def lock(self, origin: Origin, wait_seconds: float, lost: Callable[[], None]) -> Iterator[None]:
        """Hold the lock, by a lease that is renewed in the background; see `storage.lease`."""
        name = f"{origin.host}:{origin.process}:{os.urandom(4).hex()}"
        lease = self._lease = acquire(self._claims, name, wait_seconds, self._pace)
        if wait_seconds:
            self._leave_room(wait_seconds)
        try:
            age = self._pace.lease_seconds / RENEWALS_A_LEASE
            with renewed(lease, age, lost, partial(lease.renew, self._urgent_claims)):
                yield
        finally:
            self._lease = None
            try:
                lease.release()
            except StorageError as error:
                log.warning("The lock could not be given back, it will run out: %s", error)

    def require_lock(self) -> None:
        """Return if the lease was renewed in time and the claim not found gone."""
        if self._lease:
            self._lease.require()

    def unlock(self, name: str) -> None:
        """Delete the claim of this name, if it holds the lock."""
        unlock(self._claims, name.removeprefix(PREFIX))

    def holder(self) -> Holder | None:
        """Return who holds the lock, or is to have it next, by one request."""
        return self._first_of(self._claims.read())

    def ask_to_stop(self, holder: Holder) -> None:
        """Write it to the row of its claim, which the holder reads with each renewal."""
        for claim in self._claims.read():
            if claim.name == holder.name:
                self._claims.ask_to_stop(claim)

    def is_asked_to_stop(self) -> bool:
        """Whether a renewal found that in the row of the own claim."""
        return self._lease is not None and self._lease.is_asked_to_stop

    def _first_of(self, claims: Sequence[Claim]) -> Holder | None:
        if not claims:
            return None
        return first_of(claims).holder(self._answered_at, self._pace.lease_seconds)

    def _leave_room(self, seconds: float) -> None:
        """Leave requests to others that wait with this one, for so many seconds."""
        leave_room(self._table.urls.records, self._settings.requests_per_second, seconds)

    def _note_time(self, response: Response, *_: object, **__: object) -> None:
        """Note what the clock of Airtable shows: ours may be wrong."""
        with suppress(LookupError, ValueError):
            # Of HTTP, always in UTC.
            date = parsedate_to_datetime(response.headers["Date"])
            self._answered_at = date.replace(tzinfo=UTC)

    def append(self, entry: Attempt | FailedItems) -> None:
        """Add an entry to the table of the history."""
        self._history.append(entry)

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first."""
        return self._history.attempts()

    def last_failure(self) -> Attempt | None:
        """Return the newest attempt that failed, by one request."""
        return self._history.last_failure()

    def newest_attempts(self, count: int) -> list[Attempt]:
        """Return so many attempts that have ended, the newest first."""
        return self._history.newest_attempts(count)

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        """Return the failed items of a migration, those added last first."""
        return self._history.failed_items(migration_id)

    def checks(self) -> Iterator[Check]:
        """Yield what is right and what is wrong with the key, the base and its tables."""
        from mpt_tool.storage.airtable.examination import checks_of_base

        return checks_of_base(self._settings, self.load)

    def _without_missing(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that the table has columns for, and warn once of each other."""
        for column in fields.keys() & self._missing - self._told:
            log.warning(
                "Airtable table %s has no column %s, so that is not recorded;"
                " `mpt-tool migrate --init` adds it",
                self._table.name,
                column,
            )
            self._told.add(column)
        return {column: value for column, value in fields.items() if column not in self._missing}

    def _note_missing(self, error: HTTPError) -> None:
        """Remember the optional column that a request failed for; raise any other error."""
        column = unknown_column(error)
        if column not in OPTIONAL_COLUMNS:
            raise error
        self._missing.add(column)

    def _read_rows(self, without: Collection[str] = ()) -> list[RecordDict]:
        """Return all rows, without some columns, and note which of the others are missing."""
        with explaining_errors(self._table):
            while True:
                try:
                    return self._read_columns(without={*without, *self._missing})
                except HTTPError as error:
                    self._note_missing(error)

    def _read_columns(self, without: Collection[str]) -> list[RecordDict]:
        """Return all rows, in columns that are named, so that one that is missing is refused.

        Not `Table.all()`, which takes a reply without rows, of a proxy say, for an empty table:
        everything would run again.
        """
        columns = [column for column in COLUMNS if column not in without]
        pages = self._table.api.iterate_requests(
            "get", self._table.urls.records, params={"fields[]": columns}
        )
        return [row for page in pages for row in page["records"]]

    def _record(self, row: RecordDict) -> MigrationRecord:
        where = f"Airtable table {self._table.name}: row {row['id']}"
        fields = {column: row["fields"].get(column) for column in COLUMNS}
        # JSON has one kind of number: a column with decimals shows a whole one as a float.
        if isinstance(fields["order_id"], float) and fields["order_id"].is_integer():
            fields["order_id"] = int(fields["order_id"])
        try:
            fields |= {each: json.loads(str(fields[each])) for each in AS_JSON if fields[each]}
            return MigrationRecord.model_validate(fields)
        except json.JSONDecodeError as error:
            columns = " or ".join(AS_JSON)
            raise StorageError(f"{where}: its {columns} is no JSON: mend or empty it") from error
        except ValidationError as error:
            raise StorageError(
                f"{where} is no record: {describe(error)}. Mend or delete the row; if the column"
                " is missing, `mpt-tool migrate --init` adds it"
            ) from error

    def _write(self, migration_id: str, fields: dict[str, Any]) -> None:
        if row := self._rows.get(migration_id):
            try:
                self._rows[migration_id] = self._table.update(row["id"], fields)
            except HTTPError as error:
                if not is_gone(error):
                    raise
                # Somebody may have deleted the row meanwhile: what it said is written anew.
                del self._rows[migration_id]
            else:
                return
        # Not a create: one of those whose reply is lost, sent again, would leave two rows.
        result = self._table.batch_upsert([{"fields": fields}], key_fields=["migration_id"])
        self._rows[migration_id] = result["records"][0]


def _clock() -> float:
    """Return seconds that go on while the machine sleeps, where the system can count them."""
    on_linux = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if on_linux is None else time.clock_gettime(on_linux)


def _time_out(lease_seconds: float) -> TimeOut:
    """Return the time for a request, so short that a renewal that hangs is tried again in time."""
    connecting, answering = TIME_OUT
    between_renewals = lease_seconds / RENEWALS_A_LEASE
    return min(connecting, between_renewals / 3), min(answering, between_renewals * 2 / 3)


def _holds_record(row: RecordDict) -> bool:
    """Whether the row is neither empty nor a claim of the lock."""
    return bool(row["fields"]) and not is_claim(row)


def _precedence(candidate: tuple[RecordDict, MigrationRecord]) -> tuple[bool, bool, str, str]:
    row, record = candidate
    return record.applied_at is None, record.started_at is None, row["createdTime"], row["id"]
