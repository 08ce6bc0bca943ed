"""What is right and what is wrong with the database, its tables and the user's rights."""

from collections.abc import Callable, Iterator

from sqlalchemy import Table, func, inspect, select

from mpt_tool.checks import Check, right, wrong
from mpt_tool.errors import StorageError
from mpt_tool.settings import variables
from mpt_tool.storage.file_checks import checks_of_files
from mpt_tool.storage.file_lock import FileLock
from mpt_tool.storage.outlasting import StateFile
from mpt_tool.storage.repository import Snapshot
from mpt_tool.storage.sql.database import Database
from mpt_tool.storage.sql.errors import where
from mpt_tool.storage.sql.lock import PostgresqlLock
from mpt_tool.storage.sql.settings import DatabaseSettings
from mpt_tool.storage.sql.tables import Tables
from mpt_tool.wording import so_many

_INITIALIZE = "mpt-tool migrate --init"


def checks_of_database(
    database: Database,
    tables: Tables,
    file: StateFile | None,
    lock: PostgresqlLock | FileLock,
    load: Callable[[], Snapshot],
) -> Iterator[Check]:
    """Yield what is right and what is wrong with the database, as far as it answers.

    Args:
        database: where the tables are.
        tables: those of the state.
        file: that of SQLite, if it is one.
        lock: that of PostgreSQL, or one on a file beside that of SQLite.
        load: returns what they hold.
    """
    try:
        missing = database.use(
            lambda connection: [
                table.name
                for table in tables.metadata.sorted_tables
                if not inspect(connection).has_table(table.name, schema=table.schema)
            ]
        )
    except StorageError as error:
        advice = f"Correct {variables(DatabaseSettings, 'database_url')}, or {_INITIALIZE}"
        yield wrong("database", str(error), advice)
        return
    yield right("database", where(database.url))
    if missing:
        advice = f"Create them: {_INITIALIZE}"
        yield wrong("tables", f"there are none named {', '.join(missing)}", advice)
        return
    if file and isinstance(lock, FileLock):
        yield from checks_of_files(file, lock.files)
    if isinstance(lock, PostgresqlLock):
        yield from _rights(database, tables)
        yield right("lock", lock.kind())
    yield _state(load)


def _rights(database: Database, tables: Tables) -> Iterator[Check]:
    """Yield what the user may not do that a run does, or that all may be done."""
    needed = {
        tables.records: ("SELECT", "INSERT", "UPDATE"),
        tables.attempts: ("SELECT", "INSERT"),
        tables.failed_items: ("SELECT", "INSERT"),
        tables.lock: ("SELECT", "UPDATE"),
    }
    lacking = [*_lacking(database, needed)]
    for table, names in lacking:
        rights = f"{', '.join(names)} ON {database.name_of(table)}"
        yield wrong("rights", f"the user lacks {rights}", f"GRANT {rights} to that user")
    if not lacking:
        yield right("rights", "the user may read and write all tables")


def _lacking(
    database: Database, needed: dict[Table, tuple[str, ...]]
) -> Iterator[tuple[Table, list[str]]]:
    for table, names in needed.items():
        asked = (func.has_table_privilege(database.name_of(table), name) for name in names)
        [answers] = database.rows(select(*asked))
        if names_lacking := [name for name, has in zip(names, answers, strict=True) if not has]:
            yield table, names_lacking


def _state(load: Callable[[], Snapshot]) -> Check:
    """Return whether all rows can be read as records."""
    try:
        count = len(load().records)
    except StorageError as error:
        return wrong("state", str(error), "Until then every command refuses the state")
    return right("state", so_many(count, "record"))
