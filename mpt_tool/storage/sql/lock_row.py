"""What a PostgreSQL tells of the lock of a state: the row of it, and the session that has it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Table,
    cast,
    column,
    extract,
    func,
    literal,
    or_,
    select,
    table,
)
from sqlalchemy.dialects import postgresql

from mpt_tool.storage.repository import Holder

# How the server knows our locks; the second number is that of the table, whatever its schema.
_CLASS = 0x6D7074
LOCKS = table(
    "pg_locks",
    *map(column, ("locktype", "database", "classid", "objid", "objsubid", "pid", "granted")),
    schema="pg_catalog",
)
_DATABASES = table("pg_database", column("oid"), column("datname"), schema="pg_catalog")


@dataclass(frozen=True, slots=True)
class LockRow:
    """The row of the lock, and the session that has that of the server: None if none has.

    Of a lease there is no `session`, and `silent_seconds` tells how long ago it was renewed, by the
    server's clock.
    """

    token: str | None
    told: dict[str, Any] | None
    session: int | None
    since: datetime | None
    is_asked_to_stop: bool
    lease_seconds: float | None
    silent_seconds: float | None
    held_by: int | None

    @property
    def is_leased(self) -> bool:
        """Whether a lease has the lock that has not run out."""
        if self.silent_seconds is None or self.lease_seconds is None:
            return False
        return self.silent_seconds < self.lease_seconds

    @property
    def is_held(self) -> bool:
        """Whether a session or a lease has the lock."""
        return self.held_by is not None or self.is_leased

    @property
    def holder(self) -> Holder | None:
        """Who holds the lock, or did when its session ended or its lease ran out."""
        is_told = self.is_leased or self.held_by in (None, self.session)
        if not is_told or not self.token or not self.told:
            # Taken a moment ago, and not told yet.
            return Holder("", is_alive=True) if self.is_held else None
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
            silent_seconds=self.silent_seconds,
            is_alive=self.is_held,
            is_to_stop=self.is_asked_to_stop,
        )


def row_of(lock: Table, granted: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Return what reads the `LockRow` of a table, given what is true of its lock in `LOCKS`."""
    held_by = select(LOCKS.c.pid).where(*granted).limit(1).scalar_subquery()
    of_row = lock.c.token, lock.c.holder, lock.c.session, lock.c.since, lock.c.is_asked_to_stop
    return select(*of_row, lock.c.lease_seconds, _silent_seconds(lock), held_by.label("held_by"))


def is_not_leased(lock: Table) -> ColumnElement[bool]:
    """Return what is true in the database if no lease has the lock, or one that has run out."""
    return or_(lock.c.renewed_at.is_(None), _silent_seconds(lock) >= lock.c.lease_seconds)


def _silent_seconds(lock: Table) -> ColumnElement[Any]:
    seconds = extract("epoch", func.clock_timestamp() - lock.c.renewed_at)
    return cast(seconds, postgresql.DOUBLE_PRECISION)


def key_of(name: str) -> tuple[int, ColumnElement[int]]:
    """Return by which numbers the server knows the lock of a table."""
    return _CLASS, cast(_number_of(name), Integer)


def granted_for(name: str) -> Sequence[ColumnElement[bool]]:
    """Return what is true in `LOCKS` of the one that the lock of a table is, while it is held."""
    here = select(_DATABASES.c.oid).where(_DATABASES.c.datname == func.current_database())
    return (
        LOCKS.c.locktype == "advisory",
        LOCKS.c.database == here.scalar_subquery(),
        LOCKS.c.classid == cast(_CLASS, postgresql.OID),
        LOCKS.c.objid == cast(_number_of(name), postgresql.OID),
        LOCKS.c.objsubid == 2,
        LOCKS.c.granted,
    )


def _number_of(name: str) -> ColumnElement[Any]:
    return cast(literal(name), postgresql.REGCLASS)
