"""How the database is reached that the settings name."""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from mpt_tool.errors import SettingsError, StorageError
from mpt_tool.settings import variables
from mpt_tool.storage.sql.errors import no_tables, where
from mpt_tool.storage.sql.settings import DatabaseSettings

_POSTGRESQL, _SQLITE = "postgresql+mpt_tool", "sqlite"
registry.register("postgresql.mpt_tool", "mpt_tool.storage.sql.dialect", "BriefDialect")
_DRIVERS = {
    "postgres": _POSTGRESQL,
    "postgresql": _POSTGRESQL,
    "postgresql+psycopg": _POSTGRESQL,
    "sqlite": _SQLITE,
}
_CONNECT_SECONDS = 10
# For how long a statement waits for one of another process, of SQLite.
_BUSY_SECONDS = 30


def address(settings: DatabaseSettings, root: Path) -> URL:
    """Return the address of the database, with its driver, and the whole path of a file.

    Raises:
        SettingsError: it is none, is of another kind of database, or names no file.
    """
    setting = variables(DatabaseSettings, "database_url")
    try:
        url = make_url(settings.database_url.get_secret_value())
    except (ArgumentError, ValueError):
        # What it says may hold the password.
        raise SettingsError(
            f"{setting} is no address like postgresql://user@host/name or sqlite:///file"
        ) from None
    driver = _DRIVERS.get(url.drivername)
    if not driver:
        raise SettingsError(
            f"{setting} is an address of {url.drivername}: use one of postgresql or sqlite"
        )
    if driver == _POSTGRESQL:
        return url.set(drivername=driver)
    if url.host or url.database in (None, "", ":memory:"):
        raise SettingsError(
            f"{setting} names no file: use sqlite:///file, or sqlite:////whole/path"
        )
    if settings.schema_name:
        name = variables(DatabaseSettings, "schema_name")
        raise SettingsError(f"{name} is {settings.schema_name!r}: a file of SQLite has no schemas")
    return url.set(database=str((root / str(url.database)).resolve()))


def make_engine(url: URL, settings: DatabaseSettings) -> Engine:
    """Return what connects to a database; each statement stands for itself there.

    Raises:
        SettingsError: a package is needed for it that is not installed.
    """
    common: dict[str, Any] = {"isolation_level": "AUTOCOMMIT", "poolclass": NullPool}
    if url.drivername == _SQLITE:
        return create_engine(url, creator=lambda: _open_file(str(url.database)), **common)
    # To prepare a statement takes a question of its own, and does not go with a pooler.
    options = {"connect_timeout": _CONNECT_SECONDS, "prepare_threshold": None}
    if "connect_timeout" in url.query:
        del options["connect_timeout"]
    try:
        engine = create_engine(url, connect_args=options, use_native_hstore=False, **common)
    except ModuleNotFoundError as error:
        raise _lacking("database_url", "sql") from error
    if settings.uses_entra:
        _ask_entra(engine)
    return engine


def _open_file(path: str) -> sqlite3.Connection:
    # Not created on the way: who asks what there is leaves nothing behind.
    if not Path(path).exists():
        raise StorageError(no_tables(f"database {path}"))
    return sqlite3.connect(
        f"{Path(path).as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _ask_entra(engine: Engine) -> None:
    """Let each connection ask Microsoft Entra for its password, a token that is good for an hour.

    Who asks is found out as Azure's libraries do: by a managed identity, say.
    """
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential
        from azure_postgresql_auth.core import get_entra_conninfo
        from azure_postgresql_auth.errors import AzurePgEntraError
    except ModuleNotFoundError as error:
        raise _lacking("uses_entra", "entra") from error
    credential = DefaultAzureCredential()

    def ask(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        try:
            told = get_entra_conninfo(credential)
        except (AzureError, AzurePgEntraError) as error:
            reason = str(error).partition("\n")[0]
            raise StorageError(
                f"Microsoft Entra gives no token for the {where(engine.url)}: {reason}"
            ) from error
        parameters["password"] = told["password"]
        parameters.setdefault("user", told["user"])

    event.listen(engine, "do_connect", ask)


def _lacking(field: str, extra: str) -> SettingsError:
    setting = variables(DatabaseSettings, field)
    return SettingsError(f"{setting} needs a package: pip install 'mpt-tool[{extra}]'")
