"""Where records are kept, and how a store is opened."""

from pathlib import Path

from mpt_tool.errors import SettingsError
from mpt_tool.settings import Settings, variables
from mpt_tool.storage.repository import StateRepository

ENTRY_POINTS = "mpt_tool.storage"


def open_repository(settings: Settings, root: Path) -> StateRepository:
    """Return the repository that STORAGE_TYPE names.

    `local` and `airtable` are built in; others come from installed packages, as entry points of the
    group `mpt_tool.storage` that take the settings and the project's root.

    Raises:
        SettingsError: there is no such storage, or a setting that it needs is missing or wrong.
    """
    match settings.storage_type:
        case "local":
            from mpt_tool.storage.local import LocalRepository

            return LocalRepository(root)
        case "airtable":
            from mpt_tool.storage.airtable.repository import open_airtable

            return open_airtable(settings)
        case name:
            return _open_installed(name, settings, root)


def _open_installed(name: str, settings: Settings, root: Path) -> StateRepository:
    from importlib.metadata import entry_points

    installed = entry_points(group=ENTRY_POINTS)
    if name not in installed.names:
        accepted = ", ".join(["local", "airtable", *sorted(installed.names)])
        raise SettingsError(f"{variables('storage_type')} is {name!r}: use one of {accepted}")
    try:
        make = installed[name].load()
    except Exception as error:
        raise SettingsError(
            f"{variables('storage_type')} is {name!r}, whose package cannot be loaded: {error}"
        ) from error
    repository: StateRepository = make(settings, root)
    return repository
