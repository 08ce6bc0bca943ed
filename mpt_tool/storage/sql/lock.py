"""The lock of a state on PostgreSQL: one of the session's own, and a row that names its holder.

The server frees a lock of a session (`pg_advisory_lock`) when the session ends, however it ends. To
that the row adds who holds it, by a token that is another one each time. A holder whose session was
lost opens another one and goes on, if the token is still its own: then nobody had the lock
meanwhile. Whoever finds the lock free, but the token of another, leaves that one the time to come
back. And a save asks for the token in the statement that writes: nothing is written by one that has
no lock.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Integer,
    bindparam,
    cast,
    column,
    exists,
    func,
    literal,
    select,
    table,
    update,
)
from sqlalchemy.dialects import postgresql

from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.records import Origin
from mpt_tool.storage.lease import renewed
from mpt_tool.storage.repository import Holder
from mpt_tool.storage.sql.database import Database
from mpt_tool.storage.sql.errors import where
from mpt_tool.storage.sql.tables import Tables
from mpt_tool.wording import printable

# How the server knows our locks; the second number is that of the table, whatever its schema.
_CLASS = 0x6D7074
_LOCKS = table(
    "pg_locks",
    *map(column, ("locktype", "database", "classid", "objid", "objsubid", "pid", "granted")),
    schema="pg_catalog",
)
_DATABASES = table("pg_database", column("oid"), column("datname"), schema="pg_catalog")

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the lock spends time.

    Args:
        look_seconds: between two looks at the lock, of its holder and of those that wait.
        return_seconds: how long a holder whose session is over has to come back.
        sleep: waits for so many seconds.
    """

    look_seconds: float = 0.5
    return_seconds: float = 5.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class _Row:
    """The row of the lock, and the session that has the lock: None if none has."""

    token: str | None
    told: dict[str, Any] | None
    session: int | None
    since: datetime | None
    is_asked_to_stop: bool
    held_by: int | None

    @property
    def holder(self) -> Holder | None:
        """Who holds the lock, or did when its session ended."""
        if self.held_by is not None and self.held_by != self.session:
            # Taken a moment ago, and not told yet.
            return Holder("", is_alive=True)
        if not self.token or not self.told:
            return None if self.held_by is None else Holder("", is_alive=True)
        host, process, user, run_id = (
            str(self.told.get(each, "")) for each in ("host", "process", "user", "run_id")
        )
        return Holder(
            f"{host}:{process}:{self.token}",
            host,
            process,
            self.since.astimezone(UTC) if self.since else None,
            user,
            run_id,
            is_alive=self.held_by is not None,
            is_to_stop=self.is_asked_to_stop,
        )


class SessionLock:
    """The lock, as one process sees it.

    Args:
        database: whose session takes it.
        tables: those of the state; the lock is known to the server by the number of one of them.
        pace: how it spends time.
    """

    def __init__(self, database: Database, tables: Tables, pace: Pace) -> None:
        self._database = database
        database.connected = self._resume
        self._table = tables.lock
        name = database.name_of(self._table)
        regclass = cast(literal(name), postgresql.REGCLASS)
        self._key = _CLASS, cast(regclass, Integer)
        here = select(_DATABASES.c.oid).where(_DATABASES.c.datname == func.current_database())
        self._granted = (
            _LOCKS.c.locktype == "advisory",
            _LOCKS.c.database == here.scalar_subquery(),
            _LOCKS.c.classid == cast(_CLASS, postgresql.OID),
            _LOCKS.c.objid == cast(regclass, postgresql.OID),
            _LOCKS.c.objsubid == 2,
            _LOCKS.c.granted,
        )
        self._pace = pace
        self._looked_at = 0.0
        self._session = 0
        self.token = ""
        """What says in the row that the lock is this process's; empty if it is not."""
        self._lost = ""
        self._is_asked_to_stop = False

    @contextmanager
    def hold(self, origin: Origin, wait_seconds: float, lost: Callable[[], None]) -> Iterator[None]:
        """Hold the lock meanwhile, and look now and then whether it is still held.

        Raises:
            LockedError: another holds it, and does not give it back in so many seconds.
            StorageError: the database cannot be reached, or has no tables yet.
        """
        self._take(origin, wait_seconds)
        try:
            self._require_session()
            with renewed(self, self._pace.look_seconds, lost):
                yield
        finally:
            self._give_back()

    def age(self) -> float:
        """Return how many seconds ago it was last looked at."""
        return time.monotonic() - self._looked_at

    def renew(self) -> None:
        """Look whether the lock is still held, and whether its holder is asked to stop.

        Raises:
            LockLostError: somebody took it away.
            StorageError: the database failed.
        """
        self._looked_at = time.monotonic()
        rows = self._database.rows(
            select(self._table.c.is_asked_to_stop).where(self._table.c.token == self.token)
        )
        if not rows:
            self.lose()
        self._is_asked_to_stop = rows[0].is_asked_to_stop

    def require(self) -> None:
        """Return unless the lock is known to be lost.

        Raises:
            LockLostError: it is.
        """
        if self._lost:
            raise LockLostError(
                f"The lock was lost: {self._lost}; this run changes no record any more"
            )

    def lose(self) -> None:
        """Note that the lock is another's, and raise `LockLostError`."""
        self._lost = self._lost or "somebody took it away, or had it while no connection was there"
        self.require()

    def is_held(self) -> ColumnElement[bool]:
        """Return what is true in the database as long as `token` says that it is held.

        As long as a statement goes on that asks for it, no other can take the lock.
        """
        mine = self._table.c.token == bindparam("token")
        return exists(select(literal(1)).where(mine).with_for_update(read=True).scalar_subquery())

    def unlock(self, name: str) -> None:
        """Take the lock from the holder of this name, and end its session.

        Raises:
            StorageError: another holds it, or nobody; or that may not be done.
        """
        row = self._read()
        holder = row.holder
        if not holder:
            raise StorageError("Nothing to unlock: nobody holds the lock")
        if name != holder.name:
            known_as = f" ({printable(holder.name)})" if holder.name else ""
            raise StorageError(f"{name!r} does not hold the lock: {holder} does{known_as}")
        self._clear(str(row.token))
        ended = select(func.pg_terminate_backend(_LOCKS.c.pid))
        self._database.rows(ended.where(*self._granted, _LOCKS.c.pid == row.session))

    def holder(self) -> Holder | None:
        """Return who holds the lock, or did when its session ended; None if that is nobody."""
        return self._read().holder

    def ask_to_stop(self, holder: Holder) -> None:
        """Write to the row that this holder is to stop, unless another holds the lock."""
        token = holder.name.rpartition(":")[2]
        row = update(self._table).where(self._table.c.token == token)
        self._database.change(row.values(is_asked_to_stop=True))

    def is_asked_to_stop(self) -> bool:
        """Whether the last look found that in the row."""
        return bool(self.token) and self._is_asked_to_stop

    def _take(self, origin: Origin, wait_seconds: float) -> None:
        # Whoever tries to take it may have it for an instant.
        gives_up_at = time.monotonic() + max(wait_seconds, self._pace.look_seconds)
        left: tuple[_Row | None, float] = (None, 0.0)
        is_told = False
        while True:
            row, now = self._read(), time.monotonic()
            if row.held_by is not None:
                left = None, now
                if now >= gives_up_at:
                    raise _locked_by(row.holder)
            elif not row.token:
                if self._is_taken(row, origin):
                    return
            elif left[0] != row:
                left = row, now
            elif now - left[1] >= self._pace.return_seconds and self._is_taken(row, origin):
                return
            is_over = row.held_by is None and bool(row.token)
            if not is_told and (is_over or (wait_seconds and row.held_by is not None)):
                _tell_who_is_before(row, self._pace.return_seconds)
                is_told = True
            self._pace.sleep(self._pace.look_seconds)

    def _is_taken(self, seen: _Row, origin: Origin) -> bool:
        """Take the lock, if it is free, and nobody had it since the row was seen."""
        is_free, session = self._database.rows(self._try())[0]
        if not is_free:
            return False
        token = secrets.token_hex(8)
        held = {
            "token": token,
            "holder": origin.model_dump(mode="json"),
            "session": session,
            "since": datetime.now(UTC),
            "is_asked_to_stop": False,
        }
        # The session that took it may be over by now.
        in_time = (
            self._table.c.token.is_not_distinct_from(seen.token),
            func.pg_backend_pid() == session,
        )
        if not self._database.change(update(self._table).where(*in_time).values(held)):
            self._database.rows(select(func.pg_advisory_unlock_all()))
            return False
        self._session, self._lost, self._is_asked_to_stop = session, "", False
        self._looked_at = time.monotonic()
        self.token = token
        return True

    def _require_session(self) -> None:
        """Refuse a pooler that gives each statement another session, which would have the lock.

        A second connection, in a transaction, keeps the session that the pooler would give next.
        """
        try:
            session = self._session_beside_another()
        except StorageError:
            # The server may have ended the other one.
            session = self._session_beside_another()
        if session == self._session:
            return
        ended = select(func.pg_terminate_backend(_LOCKS.c.pid))
        self._database.rows(ended.where(*self._granted, _LOCKS.c.pid == self._session))
        raise StorageError(
            f"The {where(self._database.url)} is behind a pooler in transaction mode, where no lock"
            " holds: connect to the server itself, or to a pooler in session mode"
        )

    def _session_beside_another(self) -> int:
        with self._database.another() as connection:
            connection.exec_driver_sql("BEGIN")
            return int(self._database.rows(select(func.pg_backend_pid()))[0][0])

    def _resume(self, connection: Connection) -> None:
        """Take the lock for another session, in place of one that was lost, if it is still ours.

        Raises:
            LockLostError: another had it meanwhile.
        """
        if not self.token or self._lost:
            return
        mine = self._table.c.token == self.token
        over = _LOCKS.c.pid == self._session
        gives_up_at = time.monotonic() + 2 * self._pace.return_seconds
        while time.monotonic() < gives_up_at:
            # The server may not have noticed that the session is over: nobody else ends it.
            connection.execute(
                select(func.pg_terminate_backend(_LOCKS.c.pid)).where(*self._granted, over)
            )
            is_free, session = connection.execute(self._try()).one()
            if is_free:
                row = update(self._table).where(mine).values(session=session)
                if connection.execute(row).rowcount:
                    self._session = session
                    return
                connection.execute(select(func.pg_advisory_unlock_all()))
                break
            if not connection.execute(select(self._table.c.token).where(mine)).first():
                break
            self._pace.sleep(self._pace.look_seconds / 4)
        self.lose()

    def _give_back(self) -> None:
        # Emptied first: a connection that is lost now need not take it again.
        token, self.token = self.token, ""
        try:
            if not self._lost:
                self._clear(token)
            self._database.rows(select(func.pg_advisory_unlock_all()))
        except StorageError as error:
            log.warning("The lock could not be given back, the server frees it: %s", error)

    def _clear(self, token: str) -> None:
        nobody = {"token": None, "holder": None, "session": None, "since": None}
        row = update(self._table).where(self._table.c.token == token)
        self._database.change(row.values({**nobody, "is_asked_to_stop": False}))

    def _try(self) -> Executable:
        """Return what takes the lock, if it is free, and tells whether it did, and the session."""
        return select(func.pg_try_advisory_lock(*self._key), func.pg_backend_pid())

    def _read(self) -> _Row:
        held_by = select(_LOCKS.c.pid).where(*self._granted).limit(1).scalar_subquery()
        row = self._table.c
        names = (row.token, row.holder, row.session, row.since, row.is_asked_to_stop)
        found = self._database.rows(select(*names, held_by.label("held_by")))
        if not found:
            raise StorageError("The table of the lock has no row: mpt-tool migrate --init")
        return _Row(*found[0])


def _tell_who_is_before(row: _Row, return_seconds: float) -> None:
    if row.held_by is None:
        who = row.holder or "Another process"
        log.warning(
            "%s held the lock when its connection was lost: it has %g seconds to come back",
            who,
            return_seconds,
        )
    else:
        log.info("Waiting for the lock, held by %s", row.holder)


def _locked_by(holder: Holder | None) -> LockedError:
    who = holder or Holder("")
    unlock = f" If it cannot be alive: mpt-tool unlock {printable(who.name)}" if who.name else ""
    return LockedError(
        f"Locked by {who}. Try again later, or wait for it with --wait SECONDS. The server frees"
        f" the lock when that process ends.{unlock}"
    )
