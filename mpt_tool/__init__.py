"""Scaffold, run and audit migrations for extensions of the SoftwareOne Marketplace Platform."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mpt_tool.enums import MigrationTypeEnum
    from mpt_tool.scripts.plan import Entry


def pending(
    migration_type: "MigrationTypeEnum | str | None" = None, root: Path | str | None = None
) -> "list[Entry]":
    """Return what is pending, in order of runs, for a readiness check; writes nothing.

    Args:
        migration_type: `data` or `schema`; None for both.
        root: the project's root; by default the working folder.

    Raises:
        ValueError: there is no such type.
        mpt_tool.errors.MptToolError: the settings, a folder, a name in it or the store is wrong.
    """
    # Here, so that nobody who imports a part of the package pays for all of it.
    from mpt_tool.enums import MigrationTypeEnum
    from mpt_tool.project import read_plan
    from mpt_tool.scripts import folder, plan
    from mpt_tool.settings import Settings, load_settings, working_folder
    from mpt_tool.storage import open_repository

    wanted = MigrationTypeEnum(migration_type) if migration_type is not None else None
    root = Path(root or "")
    if not root.is_absolute():
        root = working_folder() / root
    settings = load_settings(Settings, root)
    found = folder.find_sound(root / settings.folder)
    entries = read_plan(found, open_repository(settings.storage_type, root).load())
    return plan.all_pending(entries, wanted)
