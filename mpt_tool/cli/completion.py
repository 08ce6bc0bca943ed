"""What shells offer at a TAB for a migration id."""

from pathlib import Path

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import MptToolError
from mpt_tool.project import read_plan
from mpt_tool.scripts import folder, plan
from mpt_tool.settings import Settings, load_settings
from mpt_tool.storage.local import LocalRepository
from mpt_tool.storage.repository import Snapshot


def pending_ids(root: Path, incomplete: str, migration_type: MigrationTypeEnum | None) -> list[str]:
    """Return the pending migrations of a type, or of both, that begin as what was typed.

    At a TAB no mistake of the project is news: nothing is offered then. Only the local store is
    asked: a keystroke cannot wait for a network, so with any other store what is applied already
    is offered too.
    """
    try:
        settings = load_settings(Settings, root)
        is_local = settings.storage_type == "local"
        snapshot = LocalRepository(root).load() if is_local else Snapshot()
        entries = read_plan(folder.find(root / settings.folder), snapshot)
    except MptToolError:
        return []
    wanted = [migration_type] if migration_type else MigrationTypeEnum
    ids = {
        entry.migration_id
        for each in wanted
        for entry in plan.pending(entries, each)
        # Never a malformed one: a shell may take what is offered for more than a word.
        if folder.id_problem(entry.migration_id) is None
    }
    return sorted(each for each in ids if each.startswith(incomplete))
