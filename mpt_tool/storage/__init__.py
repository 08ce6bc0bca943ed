"""Where records are kept, and how a store is opened."""

from collections.abc import Callable, Iterator
from pathlib import Path

from mpt_tool.errors import SettingsError
from mpt_tool.settings import STORES, Section, Settings, variables
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import did_you_mean


def open_repository(name: str, root: Path) -> StateRepository:
    """Return the repository of the store of this name for the project in `root`.

    `local`, `airtable` and `sql` are built in. Others come from installed packages, as entry
    points of the group `mpt_tool.storage`. Each is opened by the project's root alone, and loads
    its own settings.

    Raises:
        SettingsError: there is no such store, or a setting that it needs is missing or wrong.
    """
    match name:
        case "local":
            from mpt_tool.storage.local import LocalRepository

            return LocalRepository(root)
        case "airtable":
            from mpt_tool.storage.airtable.repository import open_airtable

            return open_airtable(root)
        case "sql":
            return _open_sql(root)
    from importlib.metadata import entry_points

    setting = variables(Settings, "storage_type")
    installed = entry_points(group=STORES)
    if name not in installed.names:
        known = ["local", "airtable", "sql", *sorted(installed.names)]
        hint = did_you_mean(name, known)
        raise SettingsError(f"{setting} is {name!r}: use one of {', '.join(known)}{hint}")
    try:
        opener: Callable[[Path], StateRepository] = installed[name].load()
    except Exception as error:
        raise SettingsError(
            f"{setting} is {name!r}, whose package cannot be loaded: {error}"
        ) from error
    return opener(root)


def _open_sql(root: Path) -> StateRepository:
    try:
        from mpt_tool.storage.sql.repository import open_sql
    except ModuleNotFoundError as missing:
        if missing.name != "sqlalchemy":
            raise
        raise SettingsError(
            f"{variables(Settings, 'storage_type')} is 'sql', which needs a package:"
            " pip install 'mpt-tool[sql]'"
        ) from missing
    return open_sql(root)


def settings_of(name: str) -> type[Section] | None:
    """Return the settings of the store of this name; None if it has none, or is not there.

    Those of a package are the `Section` that has the store's name for its table.
    """
    match name:
        case "local":
            return None
        case "airtable":
            from mpt_tool.storage.airtable.settings import StoreSettings

            return StoreSettings
        case "sql":
            from mpt_tool.storage.sql.settings import DatabaseSettings

            return DatabaseSettings
    from importlib.metadata import entry_points

    installed = entry_points(group=STORES)
    if name in installed.names:
        try:
            installed[name].load()
        except Exception:  # noqa: BLE001 - to open the store tells it
            return None
    return next((each for each in _sections(Section) if each.table == name), None)


def _sections(above: type[Section]) -> Iterator[type[Section]]:
    """Yield all parts that derive from one, those that derive from others first."""
    for each in above.__subclasses__():
        yield from _sections(each)
        yield each
