"""One connection to a database, opened when it is needed, and again where it was lost."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Executable, Row, Table
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mpt_tool.errors import StorageError
from mpt_tool.process.log import get_log
from mpt_tool.storage.sql.errors import explaining_errors, where

# Before each attempt to go on over another connection, in seconds.
_PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
# What a server says that takes connections again in a moment.
_COMES_BACK = ("terminating connection", "is starting up", "is shutting down")

type Rows = Sequence[Row[*tuple[Any, ...]]]
type Change = tuple[Executable, Mapping[str, Any]]
"""A statement that changes rows, and its values by name."""

log = get_log(__name__)


class Database:
    """The one connection of a repository, which threads use in turn.

    Each statement stands for itself, and does no harm if it is run twice: it is, where the
    connection was lost.

    Args:
        engine: makes connections.
        sleep: waits for so many seconds.
    """

    def __init__(self, engine: Engine, sleep: Callable[[float], None] = time.sleep) -> None:
        self._engine = engine
        self._sleep = sleep
        self._connection: Connection | None = None
        self._was_connected = False
        self._turn = threading.RLock()
        self.connected: Callable[[Connection], None] = lambda _connection: None
        """Called with each new connection, before it is used."""

    @property
    def url(self) -> URL:
        """The address, with what is secret of it."""
        return self._engine.url

    @property
    def is_postgresql(self) -> bool:
        """Whether it is PostgreSQL, and not a file of SQLite."""
        return self._engine.dialect.name == "postgresql"

    def name_of(self, table: Table) -> str:
        """Return the whole name of a table, as the database reads it."""
        return self._engine.dialect.identifier_preparer.format_table(table)

    def rows(self, statement: Executable) -> Rows:
        """Return all rows of a SELECT.

        Raises:
            StorageError: the database cannot be reached, or refuses the statement.
        """
        return self._run(lambda connection: connection.execute(statement).all())

    def change(self, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
        """Run what changes rows, with values by name, and return how many it did.

        It raises as `rows` does.
        """
        return self._run(lambda connection: connection.execute(statement, values).rowcount)

    def change_all(self, changes: Sequence[Change]) -> Sequence[int]:
        """Run what changes rows, all of it or nothing, and return how many each statement did.

        It raises as `rows` does.
        """

        def work(connection: Connection) -> Sequence[int]:
            connection.exec_driver_sql("BEGIN" if self.is_postgresql else "BEGIN IMMEDIATE")
            try:
                changed = [connection.execute(*each).rowcount for each in changes]
            except BaseException:
                # A connection that is lost has nothing to take back.
                with suppress(SQLAlchemyError):
                    connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
            return changed

        return self._run(work)

    def add(self, statement: Executable, values: Mapping[str, Any]) -> None:
        """Run what adds a row to a history, which need be durable only with the next change.

        It raises as `rows` does.
        """
        if self.is_postgresql:
            self.change(statement, values)
            return
        # What is in the file's log is flushed in its order: this with what follows.
        self._run(lambda connection: connection.exec_driver_sql("PRAGMA synchronous=NORMAL"))
        try:
            self.change(statement, values)
        finally:
            self._run(lambda connection: connection.exec_driver_sql("PRAGMA synchronous=FULL"))

    def use[Value](self, work: Callable[[Connection], Value]) -> Value:
        """Return what is made with the connection, in one go; raises as `rows` does."""
        return self._run(work)

    @contextmanager
    def another(self) -> Iterator[Connection]:
        """Return a second connection, for as long as it is needed.

        Raises:
            StorageError: the database cannot be reached.
        """
        with explaining_errors(self.url), self._engine.connect() as connection:
            yield connection

    def create_file(self) -> None:
        """Create the file of SQLite, if it is not there; a database of a server has to be.

        Raises:
            StorageError: it cannot be created.
        """
        if not self.is_postgresql:
            path = Path(str(self.url.database))
            try:
                path.touch()
            except OSError as error:
                raise StorageError(f"{path} cannot be created: {error.strerror}") from error
            # Kept in the file: then a save flushes one file once, and not three times several.
            self._run(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode=WAL"))

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._turn:
            if self._connection is not None:
                with suppress(SQLAlchemyError):
                    self._connection.close()
                self._connection = None

    def _run[Value](self, work: Callable[[Connection], Value]) -> Value:
        with self._turn, explaining_errors(self.url):
            for pause in _PAUSES:
                try:
                    return work(self._open())
                except DBAPIError as error:
                    if not self._is_lost(error):
                        raise
                    log.warning("The connection to the %s was lost: trying anew", where(self.url))
                self.close()
                self._sleep(pause)
            return work(self._open())

    def _open(self) -> Connection:
        # A signal that comes while a statement is under way costs its connection.
        if self._connection is not None and self._connection.invalidated:
            self.close()
        connection = self._connection
        if connection is None:
            connection = self._engine.connect()
            self._was_connected, self._connection = True, connection
            self.connected(connection)
        return connection

    def _is_lost(self, error: DBAPIError) -> bool:
        """Whether another connection may help: where none ever was, only if a server answered."""
        if error.connection_invalidated or self._connection is not None:
            return error.connection_invalidated
        return self._was_connected or any(said in str(error.orig) for said in _COMES_BACK)
