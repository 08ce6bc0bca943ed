"""Keeps the state in tables of a SQL database, a row a migration."""

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from sqlalchemy import ColumnElement, Select, Table, bindparam, select, true
from sqlalchemy.dialects import postgresql, sqlite

from mpt_tool.checks import Check
from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import StorageError
from mpt_tool.process.log import get_log
from mpt_tool.records import COLUMNS, Attempt, FailedItems, MigrationRecord, describe
from mpt_tool.settings import load_settings
from mpt_tool.storage.file_lock import FileLock
from mpt_tool.storage.locked import Locked
from mpt_tool.storage.outlasting import StateFile, is_ephemeral
from mpt_tool.storage.repository import Snapshot
from mpt_tool.storage.sql.connecting import address, make_engine
from mpt_tool.storage.sql.database import Change, Database
from mpt_tool.storage.sql.errors import where
from mpt_tool.storage.sql.lock import Pace, PostgresqlLock
from mpt_tool.storage.sql.settings import DatabaseSettings
from mpt_tool.storage.sql.tables import Tables, require_version

# How many rows of the history are read at once.
_ROWS = 500
_OPTIONAL = ("version", "checkpoint", "targets")

log = get_log(__name__)


def open_sql(root: Path) -> "SqlRepository":
    """Return the repository in the database that the settings name.

    Raises:
        SettingsError: the address of the database is not set, or a setting is wrong.
    """
    return repository_of(load_settings(DatabaseSettings, root), root)


def repository_of(settings: DatabaseSettings, root: Path) -> "SqlRepository":
    """Return the repository in the database of these settings; raises as `open_sql` does."""
    url = address(settings, root)
    database = Database(make_engine(url, settings))
    tables = Tables.named(settings.schema_name, settings.table_prefix)
    if database.is_postgresql:
        pace = Pace(settings.lease_seconds)
        return SqlRepository(database, tables, PostgresqlLock(database, tables, pace))
    path = Path(os.path.realpath(str(url.database)))
    file = StateFile(path, is_ephemeral(root))
    return SqlRepository(database, tables, FileLock(path, path.name), file)


class SqlRepository(Locked):
    """A `StateRepository` in a SQL database.

    Saving takes one statement, as an entry of the history does, and loading two. On PostgreSQL the
    lock takes four, and two to give it back.

    Args:
        database: where the tables are.
        tables: those of the state.
        lock: that of PostgreSQL, or one on a file beside that of SQLite.
        file: that of SQLite.
    """

    is_remote = False
    _lock: PostgresqlLock | FileLock

    def __init__(
        self,
        database: Database,
        tables: Tables,
        lock: PostgresqlLock | FileLock,
        file: StateFile | None = None,
    ) -> None:
        self._database = database
        self._file = file
        self._tables = tables
        self._lock = lock
        # A lock of the system cannot be lost while its holder lives.
        self._guard = lock if isinstance(lock, PostgresqlLock) else None
        # Made once: to make one takes longer than to run it.
        self._save = self._upsert(true())
        self._save_held = self._upsert(self._guard.is_held() if self._guard else true())
        self._appends = {
            Attempt: self._insertion(tables.attempts),
            FailedItems: self._insertion(tables.failed_items),
        }

    def warnings(self) -> Sequence[str]:
        """Return what becomes of a file of SQLite; `StorageError` if it is a mount of its own."""
        return self._file.warnings() if self._file else ()

    def load(self) -> Snapshot:
        """Return what the table of records holds.

        Raises:
            StorageError: the database cannot be reached, has no tables yet or those of another
                release, or a row is no record.
        """
        records, lock = self._tables.records, self._tables.lock
        # The version comes with the rows, or with none.
        both = select(lock.c.version.label("of_tables"), *records.c)
        rows = self._database.rows(both.select_from(lock.outerjoin(records, true())))
        found = [dict(row._mapping) for row in rows]  # noqa: SLF001 - its documented name
        require_version(found[0]["of_tables"] if found else 0)
        kept = [self._record(row) for row in found if row["migration_id"] is not None]
        return Snapshot({each.migration_id: each for each in kept}, holder=self.holder())

    def looks(self, wait_seconds: float) -> Iterator[Snapshot]:
        """Yield what the tables hold, once: here the lock costs little."""
        yield self.load()

    def save(self, record: MigrationRecord) -> None:
        """Write the row of the record, in one statement that only the holder of a lock can make."""
        self._lock.require()
        if not self._database.change(*self._saving(record)):
            assert self._guard
            self._guard.lose()

    def keep_all(
        self, entries: Sequence[Attempt | FailedItems], records: Sequence[MigrationRecord]
    ) -> None:
        """Add the entries and write the rows of all records, all of it or nothing."""
        self._lock.require()
        changes = [*map(self._saving, records), *map(self._adding, entries)]
        changed = self._database.change_all(changes)
        if not all(changed[: len(records)]):
            assert self._guard
            self._guard.lose()

    def _saving(self, record: MigrationRecord) -> Change:
        """Return what writes the row of a record."""
        document = record.document()
        known = {name: document.pop(name, None) for name in (*COLUMNS, *_OPTIONAL)}
        moments = {"started_at": record.started_at, "applied_at": record.applied_at}
        values = {**known, **moments, "further": document or None}
        token = self._guard.token if self._guard else ""
        statement = self._save_held if token else self._save
        new = {f"new_{name}": value for name, value in values.items()}
        return statement, {**new, **({"token": token} if token else {})}

    def initialize(self) -> Sequence[str]:
        """Create what is missing, and bring the tables up to date; `StorageError` if they are."""
        self._database.create_file()
        done = self._database.use(self._tables.complete)
        if not done:
            place = where(self._database.url)
            raise StorageError(f"Cannot initialize - the {place} has all tables of the state")
        return done

    def append(self, entry: Attempt | FailedItems) -> None:
        """Add a row to the history, once, also if it is sent again."""
        self._database.add(*self._adding(entry))

    def _adding(self, entry: Attempt | FailedItems) -> Change:
        """Return what adds a row to the history."""
        table = self._tables.attempts if isinstance(entry, Attempt) else self._tables.failed_items
        told = {each.name: getattr(entry, each.name, None) for each in table.columns}
        del told["id"]
        told |= {"key": secrets.token_hex(12), "document": entry.document()}
        return self._appends[type(entry)], told

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first; what is none is left out."""
        table = self._tables.attempts
        return self._entries(Attempt, select(table.c.id, table.c.document))

    def last_failure(self) -> Attempt | None:
        """Return the newest attempt that failed, by one statement."""
        table = self._tables.attempts
        failed = table.c.outcome == str(OutcomeEnum.FAILED)
        return next(
            self._entries(Attempt, select(table.c.id, table.c.document).where(failed), 1), None
        )

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        """Return the failed items of a migration, those added last first."""
        table = self._tables.failed_items
        of_migration = table.c.migration_id == migration_id
        return self._entries(FailedItems, select(table.c.id, table.c.document).where(of_migration))

    def checks(self) -> Iterator[Check]:
        """Yield what is right and what is wrong with the database, its tables and the rights."""
        from mpt_tool.storage.sql.examination import checks_of_database

        return checks_of_database(self._database, self._tables, self._file, self._lock, self.load)

    def _entries[Entry: BaseModel](
        self, kind: type[Entry], query: Select[Any], at_once: int = _ROWS
    ) -> Iterator[Entry]:
        """Return the entries of a kind, the newest first, some at a time: a history may be long."""
        number = query.selected_columns["id"]
        page = query.order_by(number.desc()).limit(at_once)
        # Read before the first is asked for, so that what fails does so here.
        return self._following(kind, page, number, self._database.rows(page))

    def _following[Entry: BaseModel](
        self, kind: type[Entry], page: Select[Any], number: ColumnElement[int], rows: Sequence[Any]
    ) -> Iterator[Entry]:
        while rows:
            for row in rows:
                try:
                    yield kind.model_validate(row.document)
                except ValidationError:
                    log.debug("Entry %s of the history is none: left out", row.id)
            rows = self._database.rows(page.where(number < rows[-1].id))

    def _upsert(self, condition: ColumnElement[bool]) -> Any:
        """Return what writes a record if that is so, over the one that there may be."""
        table = self._tables.records
        row = select(*(bindparam(f"new_{each.name}", type_=each.type) for each in table.columns))
        # SQLite would take what follows for the condition of a join without a WHERE.
        written = self._insert(table).from_select(list(table.columns), row.where(condition))
        key = table.c.migration_id
        replaced = {each.name: written.excluded[each.name] for each in table.columns}
        del replaced[key.name]
        return written.on_conflict_do_update(index_elements=[key], set_=replaced)

    def _insertion(self, table: Table) -> Any:
        """Return what adds a row to a table of the history, unless it is there."""
        return self._insert(table).on_conflict_do_nothing(index_elements=[table.c.key])

    def _insert(self, table: Table) -> Any:
        """Return an INSERT that may meet a row that is there, in the database's own form."""
        return postgresql.insert(table) if self._database.is_postgresql else sqlite.insert(table)

    def _record(self, row: dict[str, Any]) -> MigrationRecord:
        document = {**(row["further"] or {}), **{name: row[name] for name in COLUMNS}}
        document |= {name: row[name] for name in _OPTIONAL if row[name] is not None}
        try:
            return MigrationRecord.model_validate(document)
        except ValidationError as error:
            raise StorageError(
                f"The {where(self._database.url)} has a row {row['migration_id']} of"
                f" {self._tables.records.fullname} that is no record: {describe(error)}."
                " Mend or delete the row"
            ) from error
