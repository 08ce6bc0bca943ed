"""Tells which command to type next, of where the migrations stand and who holds the lock."""

from collections.abc import Sequence
from dataclasses import dataclass

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum
from mpt_tool.records import Checkpoint
from mpt_tool.scripts.plan import NAME_NOTES, Entry, pending
from mpt_tool.storage.repository import UNTOLD, Holder
from mpt_tool.wording import in_items


@dataclass(frozen=True, slots=True)
class NextCommand:
    """What to type next.

    Args:
        command: as it is typed, `mpt-tool migrate --data` say.
        reason: why, as a part of a sentence.
    """

    command: str
    reason: str

    def __str__(self) -> str:
        """Return both in one line."""
        return f"{self.command} ({self.reason})"


def next_command(
    entries: Sequence[Entry], holder: Holder | None = None, strays: Sequence[str] = ()
) -> NextCommand | None:
    """Return what to type next; None if nothing is to be done. Does no I/O.

    While a run goes on, that is to watch it. Else it is what goes on with what is pending: schema
    migrations first, unless one of them requires a data migration that is pending, too.

    Args:
        entries: the whole plan, as `Project.plan` returns it.
        holder: who holds the lock, as `Snapshot.holder` tells; None if nobody does.
        strays: files that may be meant for migrations, as `Project.strays` tells.
    """
    if holder and holder is not UNTOLD and holder.is_alive is not False:
        return NextCommand("mpt-tool status --watch", f"{holder} is at work")
    if strays and not entries:
        return NextCommand(
            "mpt-tool migrate --check", "no file in the folder is named as it should"
        )
    if not entries:
        return NextCommand("mpt-tool migrate --new-data NAME", "there is no migration yet")
    if any(note in NAME_NOTES for entry in entries for note in entry.notes):
        return NextCommand("mpt-tool migrate --check", "a file in the folder is wrongly named")
    waiting = pending(entries)
    if not waiting:
        return None
    type_ = _type_to_run(waiting)
    if type_ is None:
        untold = f"the text of {waiting[0].name} does not tell its type"
        return NextCommand("mpt-tool migrate --data --dry-run", untold)
    of_type = [entry for entry in waiting if entry.type is type_]
    # One that was begun tells more than those before it that wait for their turn.
    telling = next((entry for entry in of_type if entry.record), of_type[0])
    if (end := _checkpoint(telling)) and end.done and end.failed:
        assert telling.record
        failed = (
            f"{in_items(telling.record.failed)} failed: mpt-tool failures {telling.migration_id}"
        )
        return NextCommand(f"mpt-tool batch {telling.migration_id} --retry-failed", failed)
    return NextCommand(f"mpt-tool migrate --{type_}", _why(telling, len(of_type)))


def _type_to_run(waiting: Sequence[Entry]) -> MigrationTypeEnum | None:
    """Return the type that is to run first; None if that of no entry is known."""
    schema, data = (
        [entry for entry in waiting if entry.type is each]
        for each in (MigrationTypeEnum.SCHEMA, MigrationTypeEnum.DATA)
    )
    ids = {entry.migration_id for entry in data}
    if schema and not any(ids.intersection(entry.syntax.requires) for entry in schema):
        return MigrationTypeEnum.SCHEMA
    return MigrationTypeEnum.DATA if data else None


def _why(telling: Entry, count: int) -> str:
    """Return why what is pending of a type is to run, by the one that tells most."""
    name, checkpoint = telling.name, _checkpoint(telling)
    if telling.targets is None:
        return f"first set {telling.syntax.targets}, which {name} needs"
    if checkpoint and checkpoint.is_to_be_verified:
        return f"{name} is to be verified: mpt-tool history {telling.migration_id} says why"
    if checkpoint and checkpoint.handled:
        return f"{name} resumes after {checkpoint}"
    if telling.status is MigrationStatusEnum.FAILED:
        return f"{name} failed: mpt-tool history {telling.migration_id} says why"
    if telling.status is MigrationStatusEnum.RUNNING:
        return f"{name} was left running: it runs again"
    return f"{count:,} {'is' if count == 1 else 'are'} pending"


def _checkpoint(entry: Entry) -> Checkpoint | None:
    """Return how far a migration is, or the first of its targets that has not come to its end."""
    if entry.record is None:
        return None
    runs = (entry.record, *(entry.record.targets or {}).values())
    return next((run.checkpoint for run in runs if run.checkpoint), None)
