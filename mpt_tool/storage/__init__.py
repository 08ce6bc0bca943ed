"""Where records are kept, and how a store is opened."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mpt_tool.errors import SettingsError
from mpt_tool.settings import STORES, Section, Settings, variables
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints


OURS = ("local", "airtable", "sql")
"""The names of the stores that are built in."""


def installed() -> "EntryPoints":
    """Return the stores that installed packages bring, by name: a group of entry points."""
    from importlib.metadata import entry_points

    return entry_points(group=STORES)


def open_repository(name: str, root: Path, named_by: str = "") -> StateRepository:
    """Return the repository of the store of this name for the project in `root`.

    Each, ours and those of installed packages, is opened by the project's root alone, and loads its
    own settings.

    Args:
        name: one of `OURS` or of `installed`.
        root: of the project.
        named_by: what names the store, for messages; by default the setting.

    Raises:
        SettingsError: there is no such store, or a setting that it needs is missing or wrong.
    """
    setting = named_by or variables(Settings, "storage_type")
    match name:
        case "local":
            from mpt_tool.storage.local import open_local

            return open_local(root)
        case "airtable":
            from mpt_tool.storage.airtable.repository import open_airtable

            return open_airtable(root)
        case "sql":
            return _open_sql(root, setting)
    others = installed()
    if name not in others.names:
        known = [*OURS, *sorted(others.names)]
        hint = did_you_mean(name, known)
        raise SettingsError(f"{setting} is {name!r}: use one of {', '.join(known)}{hint}")
    try:
        opener: Callable[[Path], StateRepository] = others[name].load()
    except Exception as error:
        raise SettingsError(
            f"{setting} is {name!r}, whose package cannot be loaded: {error}"
        ) from error
    return opener(root)


def _open_sql(root: Path, setting: str) -> StateRepository:
    try:
        from mpt_tool.storage.sql.repository import open_sql
    except ModuleNotFoundError as missing:
        if missing.name != "sqlalchemy":
            raise
        raise SettingsError(
            f"{setting} is 'sql', which needs a package: pip install 'mpt-tool[sql]'"
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
    others = installed()
    if name in others.names:
        try:
            others[name].load()
        except Exception:  # noqa: BLE001 - to open the store tells it
            return None
    return next((each for each in _sections(Section) if each.table == name), None)


def _sections(above: type[Section]) -> Iterator[type[Section]]:
    """Yield all parts that derive from one, those that derive from others first."""
    for each in above.__subclasses__():
        yield from _sections(each)
        yield each
