"""Tells which command to type next, of where the migrations stand and who holds the lock."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum
from mpt_tool.scripts.plan import NAME_NOTES, Entry, pending
from mpt_tool.storage.repository import UNTOLD, Holder
from mpt_tool.wording import in_items

_MIGRATE = "mpt-tool migrate"


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


def to_watch(who: object) -> NextCommand:
    """Return what to type while a run goes on."""
    return NextCommand("mpt-tool status --watch", f"{who} is at work")


def next_command(
    entries: Sequence[Entry],
    holder: Holder | None = None,
    folder: Path | None = None,
    strays: Collection[str] = (),
) -> NextCommand | None:
    """Return what to type next; None if nothing is to be done. Does no I/O.

    While a run goes on, that is to watch it. Else it is what goes on with what is pending, and is
    not refused: schema migrations first, unless one of them requires a data migration that is
    pending, too. Where a run of either type would be refused, it is one migration alone.

    Args:
        entries: the whole plan, as `Project.plan` returns it.
        holder: who holds the lock, as `Snapshot.holder` tells; None if nobody does.
        folder: that of the migrations, if it was given in place of the setting's.
        strays: files in it that may be meant for migrations.
    """
    next_ = _next(entries, holder, strays)
    if next_ is None or folder is None:
        return next_
    given = shlex.quote(str(folder))
    # The published interface has an option for it.
    has_option = next_.command.startswith(_MIGRATE)
    command = f"{next_.command} --folder {given}"
    return NextCommand(
        command if has_option else f"MPT_TOOL_FOLDER={given} {next_.command}", next_.reason
    )


def _next(
    entries: Sequence[Entry], holder: Holder | None, strays: Collection[str]
) -> NextCommand | None:
    """Return what to type next, where the settings say where the migrations are."""
    if holder and holder is not UNTOLD and holder.is_alive is not False:
        return to_watch(holder)
    if strays and not entries:
        return NextCommand(f"{_MIGRATE} --check", "no file in the folder is named as it should be")
    if not entries:
        return NextCommand(f"{_MIGRATE} --new-data NAME", "there is no migration yet")
    if any(note in NAME_NOTES for entry in entries for note in entry.notes):
        return NextCommand(f"{_MIGRATE} --check", "a file in the folder is wrongly named")
    waiting = pending(entries)
    if not waiting:
        return None
    if broken := next((entry for entry in waiting if entry.syntax.problem), None):
        return NextCommand(f"{_MIGRATE} --check", f"{broken.name}: {broken.syntax.problem}")
    if not any(entry.type for entry in waiting):
        untold = f"the text of {waiting[0].name} does not tell its type"
        return NextCommand(f"{_MIGRATE} --data --dry-run", untold)
    applied = {entry.migration_id for entry in entries if entry.is_applied}
    type_ = _type_to_run(waiting, applied)
    of_type = [entry for entry in waiting if entry.type is type_]
    # One that was changed keeps all of its type from running.
    changed = next((entry for entry in of_type if entry.changed_since), None)
    if type_ is None or (changed and _lacks(changed, applied)):
        return _one_alone(waiting, applied)
    next_ = _go_on(f"{_MIGRATE} --{type_}", of_type, applied)
    others = (entry for entry in waiting if entry.type is not type_)
    failure = next((told for told in map(_failure, others) if told), "")
    return NextCommand(next_.command, f"{next_.reason}; {failure}") if failure else next_


def _type_to_run(waiting: Sequence[Entry], applied: Collection[str]) -> MigrationTypeEnum | None:
    """Return the type that is to run first; None if a run of either would be refused."""
    for type_ in (MigrationTypeEnum.SCHEMA, MigrationTypeEnum.DATA):
        of_type = [entry for entry in waiting if entry.type is type_]
        if of_type and not _is_refused(of_type, applied):
            return type_
    return None


def _is_refused(of_type: Sequence[Entry], applied: Collection[str]) -> bool:
    """Whether one of a type requires what is not applied, and does not run before it."""
    done = set(applied)
    for entry in of_type:
        if _lacks(entry, done):
            return True
        done.add(entry.migration_id)
    return False


def _one_alone(waiting: Sequence[Entry], applied: Collection[str]) -> NextCommand:
    """Return what runs the first that lacks nothing, or what tells why there is none."""
    typed = [entry for entry in waiting if entry.type]
    if first := next((each for each in typed if not _lacks(each, applied)), None):
        run = f"{_MIGRATE} --{first.type} {first.migration_id}"
        next_ = _go_on(run, [first], applied)
        return NextCommand(next_.command, f"{next_.reason}; others require it")
    missing = ", ".join(_lacks(typed[0], applied))
    return NextCommand(f"{_MIGRATE} --check", f"{typed[0].name} requires {missing}")


def _lacks(entry: Entry, applied: Collection[str]) -> list[str]:
    """Return what an entry requires that is not applied."""
    return [each for each in entry.syntax.requires if each not in applied]


def _go_on(run: str, waiting: Sequence[Entry], applied: Collection[str]) -> NextCommand:
    """Return what goes on with what is pending, or first with what keeps all of it.

    Args:
        run: the command that runs all of it.
        waiting: what is pending, of one type.
        applied: the ids of what is applied.
    """
    if unset := next((entry for entry in waiting if entry.targets is None), None):
        return NextCommand(run, f"first set {unset.syntax.targets}, which {unset.name} needs")
    if changed := next((entry for entry in waiting if entry.changed_since), None):
        return _resume_changed(changed)
    # One that was begun tells more than those before it that wait for their turn.
    begun = (entry for entry in waiting if entry.status is not MigrationStatusEnum.NOT_APPLIED)
    telling = next(begun, waiting[0])
    is_to_retry = any(checkpoint.is_of_failed_items for checkpoint in telling.checkpoints)
    if is_to_retry and not _lacks(telling, applied):
        return _retry(telling)
    return NextCommand(run, _why(telling, len(waiting)))


def _resume_changed(entry: Entry) -> NextCommand:
    """Return what goes on with a batch migration whose script was changed since its checkpoint."""
    batch = f"mpt-tool batch {entry.migration_id}"
    reached = [each for each in entry.changed_since if not each.is_of_failed_items]
    if not reached:
        return _retry(entry)
    changed = f"{entry.name} was changed since it came to {reached[0].in_items}"
    return NextCommand(f"{batch} --resume-anyway", f"{changed}; to begin anew: {batch} --restart")


def _retry(entry: Entry) -> NextCommand:
    assert entry.record
    failed = f"{in_items(entry.record.failed)} failed: mpt-tool failures {entry.migration_id}"
    return NextCommand(f"mpt-tool batch {entry.migration_id} --retry-failed", failed)


def _why(telling: Entry, count: int) -> str:
    """Return why what is pending of a type is to run, by the one that tells most."""
    name, checkpoint = telling.name, next(iter(telling.checkpoints), None)
    if checkpoint and checkpoint.is_to_be_verified:
        return f"{name} is to be verified: mpt-tool history {telling.migration_id} says why"
    if checkpoint and checkpoint.handled:
        failed = f", {checkpoint.failed:,} failed" if checkpoint.failed else ""
        return f"{name} resumes after {checkpoint}{failed}"
    if telling.is_stopped:
        return f"{name} was stopped: it begins anew"
    if failure := _failure(telling):
        return failure
    if telling.status is MigrationStatusEnum.RUNNING:
        return f"{name} was left running: it runs again"
    return f"{count:,} {'is' if count == 1 else 'are'} pending"


def _failure(entry: Entry) -> str:
    """Return what failed of a migration, and where that is told; nothing if nothing did."""
    migration_id = entry.migration_id
    if entry.record and entry.record.failed:
        failed = f"{in_items(entry.record.failed)} of {entry.name} failed"
        return f"{failed}: mpt-tool failures {migration_id}"
    has_progress = any(checkpoint.handled for checkpoint in entry.checkpoints)
    if entry.status is MigrationStatusEnum.FAILED and not (entry.is_stopped or has_progress):
        return f"{entry.name} failed: mpt-tool history {migration_id} says why"
    return ""
