"""What a database's errors mean, as messages that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from mpt_tool.errors import StorageError
from mpt_tool.settings import variables
from mpt_tool.storage.sql.settings import DatabaseSettings

# PostgreSQL's codes for what is not there, and what may not be done.
_NO_TABLE, _NO_COLUMN, _NO_SCHEMA, _NOT_ALLOWED = "42P01", "42703", "3F000", "42501"
_NOT_THERE = ("no such table", "no such column")


@contextmanager
def explaining_errors(url: URL) -> Iterator[None]:
    """Raise what the database, or what connects to it, fails with as a `StorageError`."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StorageError(_explanation(error, where(url))) from error
    except UnicodeEncodeError as error:
        raise StorageError(f"The {where(url)} cannot keep {error.object!r}") from error


def where(url: URL) -> str:
    """Return what messages call a database: without its user and password."""
    host = url.host or url.query.get("host")
    at = f" on {host}" if host else ""
    return f"database {url.database or ''}{at}"


def no_tables(database: str) -> str:
    """Return what to do about a database, as `where` calls it, that was not made ready."""
    return f"The {database} has no tables for the state yet: mpt-tool migrate --init"


def _explanation(error: SQLAlchemyError, database: str) -> str:
    setting = variables(DatabaseSettings, "database_url")
    cause = error.orig if isinstance(error, DBAPIError) else error
    reason = str(cause).strip().partition("\n")[0]
    state = getattr(cause, "sqlstate", None)
    if state in (_NO_TABLE, _NO_COLUMN, _NO_SCHEMA) or reason.startswith(_NOT_THERE):
        return no_tables(database)
    if state == _NOT_ALLOWED or "readonly database" in reason:
        return f"The user of {setting} may not do that in the {database}: {reason}"
    if isinstance(error, OperationalError):
        return f"The {database} cannot be reached or does not answer: {reason}: check {setting}"
    return f"The {database} refuses a statement: {reason}"
