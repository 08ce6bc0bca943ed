"""The lock of a state on PostgreSQL: a row that names its holder, kept by a session or a lease.

The row has the **token** of its holder, another one each time. It changes hands by one statement,
and only as it was seen: of two that find it free one gets it. And a save asks for the token in the
statement that writes: nothing is written by one that has no lock.

How a dead holder is noticed:

- **By its session**, where it has one of its own: it takes a lock of the server's, too, which that
  frees when the session ends, however it ends (`pg_advisory_lock`). A holder whose session was lost
  opens another one and goes on, if the token is still its own: then nobody had the lock meanwhile.
  Whoever finds the server's lock free, but the token of another, leaves that one the time to come
  back.
- **By its lease**, behind a pooler, which gives each statement whichever session is free: such a
  session would keep the server's lock whatever becomes of the holder. So that is not taken. The
  holder writes to the row that it lives, again and again, and has lost it once it did not for a
  whole lease, and another took it. All of that by the server's clock, which all contenders share.

A pooler is found out by the number of the session that the client was told when it connected: one
that shares sessions makes that up, as it has to bring each request to cancel to the right one.

Both ask for both. So a lock of either kind keeps out contenders of either kind. The claims of
`storage.lease`, for stores where no row can be taken by one statement, are not needed here.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)

from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.records import Origin
from mpt_tool.storage.lease import RENEWALS_A_LEASE, renewed
from mpt_tool.storage.repository import Holder
from mpt_tool.storage.sql.database import Database
from mpt_tool.storage.sql.lock_row import (
    LOCKS,
    LockRow,
    granted_for,
    is_not_leased,
    key_of,
    row_of,
)
from mpt_tool.storage.sql.tables import Tables
from mpt_tool.wording import printable

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the lock spends time.

    Args:
        lease_seconds: how long a holder behind a pooler has the lock after its last sign of life.
        look_seconds: between two looks at the lock, of its holder and of those that wait.
        return_seconds: how long a holder whose session is over has to come back.
        sleep: waits for so many seconds.
    """

    lease_seconds: float
    look_seconds: float = 0.5
    return_seconds: float = 5.0
    sleep: Callable[[float], None] = time.sleep


class PostgresqlLock:
    """The lock, as one process sees it.

    Args:
        database: whose session takes it, if it has one of its own.
        tables: those of the state; the lock is known to the server by the number of one of them.
        pace: how it spends time.
    """

    def __init__(self, database: Database, tables: Tables, pace: Pace) -> None:
        self._database = database
        database.connected = self._resume
        self._table = tables.lock
        name = database.name_of(self._table)
        self._key, self._granted = key_of(name), granted_for(name)
        self._pace = pace
        self._looked_at = self._renewed_at = 0.0
        self._session: int | None = None
        self._is_pooled = False
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
        self._is_pooled = self._finds_pooler()
        self._take(origin, wait_seconds)
        try:
            with renewed(self, self._pace.look_seconds, lost):
                yield
        finally:
            self._give_back()

    def kind(self) -> str:
        """Return what keeps the lock for its holder; `StorageError` if the database fails."""
        if self._finds_pooler():
            return f"a lease of {self._pace.lease_seconds:g} seconds: behind a pooler"
        return "the server's own"

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
        mine = self._table.c.token == self.token
        is_due = self._looked_at - self._renewed_at >= self._pace.lease_seconds / RENEWALS_A_LEASE
        if self._is_pooled and is_due:
            row = update(self._table).where(mine).values(renewed_at=func.clock_timestamp())
            rows = self._database.rows(row.returning(self._table.c.is_asked_to_stop))
            self._renewed_at = self._looked_at
        else:
            rows = self._database.rows(select(self._table.c.is_asked_to_stop).where(mine))
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
        """Take the lock from the holder of this name, and end the session that it has.

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
        if row.session is not None:
            self._database.rows(self._end_of(row.session))

    def holder(self) -> Holder | None:
        """Return who holds the lock, or died while it did; None if that is nobody."""
        return self._read().holder

    def ask_to_stop(self, holder: Holder) -> None:
        """Write to the row that this holder is to stop, unless another holds the lock."""
        token = holder.name.rpartition(":")[2]
        row = update(self._table).where(self._table.c.token == token)
        self._database.change(row.values(is_asked_to_stop=True))

    def is_asked_to_stop(self) -> bool:
        """Whether the last look found that in the row."""
        return bool(self.token) and self._is_asked_to_stop

    def _finds_pooler(self) -> bool:
        """Whether the server tells another session than the client was told when it connected."""

        def is_another(connection: Connection) -> bool:
            told = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
            return bool(connection.execute(select(func.pg_backend_pid())).scalar_one() != told)

        return self._database.use(is_another)

    def _take(self, origin: Origin, wait_seconds: float) -> None:
        # Whoever tries to take it may have it for an instant.
        gives_up_at = time.monotonic() + max(wait_seconds, self._pace.look_seconds)
        left: tuple[LockRow | None, float] = (None, 0.0)
        is_told = False
        while True:
            row, now = self._read(), time.monotonic()
            # A lease was time enough to come back.
            is_left = bool(row.token) and row.session is not None
            if row.is_held:
                left = None, now
                if now >= gives_up_at:
                    raise _locked_by(row)
            elif not is_left:
                if self._is_taken(row, origin):
                    return
            elif left[0] != row:
                left = row, now
            elif now - left[1] >= self._pace.return_seconds and self._is_taken(row, origin):
                return
            if not is_told and (wait_seconds if row.is_held else is_left):
                _tell_who_is_before(row, self._pace.return_seconds)
                is_told = True
            self._pace.sleep(self._pace.look_seconds)

    def _is_taken(self, seen: LockRow, origin: Origin) -> bool:
        """Take the lock, if it is free, and nobody had it since the row was seen."""
        session = None
        if not self._is_pooled:
            is_free, session = self._database.rows(self._try())[0]
            if not is_free:
                return False
        token = secrets.token_hex(8)
        try:
            is_taken = self._write(token, session, seen, origin)
        except BaseException:
            with suppress(StorageError):
                self._clear(token)
            raise
        if not is_taken:
            self._free_session()
            return False
        self._session, self._lost, self._is_asked_to_stop = session, "", False
        self._looked_at = self._renewed_at = time.monotonic()
        self.token = token
        return True

    def _write(self, token: str, session: int | None, seen: LockRow, origin: Origin) -> bool:
        """Write the holder to the row, and return whether nobody had the lock since it was seen."""
        now, row = func.clock_timestamp(), self._table.c
        as_seen = (
            row.token.is_not_distinct_from(seen.token),
            row.session.is_not_distinct_from(seen.session),
            is_not_leased(self._table),
        )
        # Or it was written, and the answer lost.
        in_time = [or_(row.token == token, and_(*as_seen))]
        held = {"token": token, "holder": origin.model_dump(mode="json"), "session": session}
        leased = {"renewed_at": now, "lease_seconds": self._pace.lease_seconds}
        if session is not None:
            leased = dict.fromkeys(leased)
            # The session that took it may be over by now.
            in_time.append(func.pg_backend_pid() == session)
        values = {**held, **leased, "since": now, "is_asked_to_stop": False}
        return bool(self._database.change(update(self._table).where(*in_time).values(values)))

    def _resume(self, connection: Connection) -> None:
        """Take the lock for another session, in place of one that was lost, if it is still ours.

        Raises:
            LockLostError: another had it meanwhile.
        """
        if not self.token or self._lost or self._session is None:
            return
        mine = self._table.c.token == self.token
        gives_up_at = time.monotonic() + 2 * self._pace.return_seconds
        while time.monotonic() < gives_up_at:
            # The server may not have noticed that the session is over: nobody else ends it.
            connection.execute(self._end_of(self._session))
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
            self._free_session()
        except StorageError as error:
            log.warning("The lock could not be given back, it is freed without that: %s", error)

    def _free_session(self) -> None:
        # Behind a pooler the session is anybody's, and has no lock of ours.
        if not self._is_pooled:
            self._database.rows(select(func.pg_advisory_unlock_all()))

    def _clear(self, token: str) -> None:
        told = ("token", "holder", "session", "since", "renewed_at", "lease_seconds")
        row = update(self._table).where(self._table.c.token == token)
        self._database.change(row.values({**dict.fromkeys(told), "is_asked_to_stop": False}))

    def _end_of(self, session: int) -> Executable:
        """Return what ends a session, if it is one that has the lock."""
        ended = select(func.pg_terminate_backend(LOCKS.c.pid))
        return ended.where(*self._granted, LOCKS.c.pid == session)

    def _try(self) -> Executable:
        """Return what takes the lock, if it is free, and tells whether it did, and the session."""
        return select(func.pg_try_advisory_lock(*self._key), func.pg_backend_pid())

    def _read(self) -> LockRow:
        found = self._database.rows(row_of(self._table, self._granted))
        if not found:
            raise StorageError("The table of the lock has no row: mpt-tool migrate --init")
        return LockRow(*found[0])


def _tell_who_is_before(row: LockRow, return_seconds: float) -> None:
    if row.is_held:
        log.info("Waiting for the lock, held by %s", row.holder)
    else:
        log.warning(
            "%s held the lock when its connection was lost: it has %g seconds to come back",
            row.holder or "Another process",
            return_seconds,
        )


def _locked_by(row: LockRow) -> LockedError:
    who = row.holder or Holder("")
    freed = (
        f"Behind a pooler the lock is free {row.lease_seconds:g} seconds after that process has"
        " died."
        if row.is_leased
        else "The server frees the lock when that process ends."
    )
    unlock = f" If it cannot be alive: mpt-tool unlock {printable(who.name)}" if who.name else ""
    return LockedError(
        f"Locked by {who}. Try again later, or wait for it with --wait SECONDS. {freed}{unlock}"
    )
