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
        root: the project's root; by default it is found as the command finds it.

    Raises:
        ValueError: there is no such type.
        mpt_tool.errors.MptToolError: the settings, a folder, a name in it or the store is wrong.
    """
    # Here, so that nobody who imports a part of the package pays for all of it.
    from mpt_tool.enums import MigrationTypeEnum
    from mpt_tool.project import find_root, open_project
    from mpt_tool.scripts import plan
    from mpt_tool.settings import working_folder

    wanted = MigrationTypeEnum(migration_type) if migration_type is not None else None
    root = Path(root) if root else find_root()
    project = open_project(root if root.is_absolute() else working_folder() / root)
    return plan.pending(project.plan(project.scripts(), project.repository.load()), wanted)
