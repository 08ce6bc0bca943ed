"""Waits for the lock, and tells what somebody else has done meanwhile."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from mpt_tool.cli.session import Session
from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import StorageError
from mpt_tool.reporting import Locking, Reporter
from mpt_tool.runner.prepare import Selection
from mpt_tool.scripts import plan
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.plan import Entry
from mpt_tool.storage.repository import Snapshot, StateRepository, newest_attempts
from mpt_tool.wording import name_of, timestamp


@contextmanager
def state_to_run_on(
    session: Session,
    selection: Selection,
    scripts: Sequence[Script],
    wait: float,
    observed: Reporter,
) -> Iterator[tuple[Snapshot, bool]]:
    """Yield the state, under the lock; one that may wait takes none if nothing is pending.

    With it comes whether anything was pending when the wait began.

    Raises:
        LockedError: another run holds the lock and did not give it back in time.
        StorageError: the store failed.
    """
    gives_up_at = time.monotonic() + wait
    was_pending, last = False, None
    with ExitStack() as held:
        with observed.during(Locking()):
            for look in session.project.repository.looks(wait) if wait else ():
                if not _is_pending(session, selection, scripts, look):
                    last = look
                    break
                was_pending = True
            if last is None:
                held.enter_context(session.lock(max(0.0, gives_up_at - time.monotonic())))
        yield last or session.project.repository.load(), was_pending


def applied_meanwhile(
    session: Session, selection: Selection, scripts: Sequence[Script], snapshot: Snapshot
) -> str:
    """Return who applied the one that was to run, while it was waited; nothing if nobody did."""
    entries = session.project.plan(scripts, snapshot)
    entry = next((each for each in entries if each.migration_id == selection.migration_id), None)
    if not (entry and entry.record and _is_applied(entry, selection)):
        return ""
    run = entry.record.run_of(selection.target) if selection.target else entry.record
    when = f" at {timestamp(run.applied_at)}" if run and run.applied_at else ""
    name = name_of(entry.migration_id, selection.target)
    who = _who_applied(name, session.project.repository)
    return f"Nothing is left to do: {who} applied {name}{when}."


def _is_pending(
    session: Session, selection: Selection, scripts: Sequence[Script], snapshot: Snapshot
) -> bool:
    """Whether anything of what is to run is pending."""
    pending = plan.pending(session.project.plan(scripts, snapshot), selection.migration_type)
    return any(
        selection.migration_id in (None, each.migration_id) and not _is_applied(each, selection)
        for each in pending
    )


def _is_applied(entry: Entry, selection: Selection) -> bool:
    """Whether a migration is applied, or the one of its targets that it is to run for."""
    run = entry.record.run_of(selection.target) if entry.record and selection.target else None
    return entry.is_applied or bool(run and run.applied_at)


def _who_applied(name: str, repository: StateRepository) -> str:
    """Return who applied, or faked, the migration of this name last."""
    with suppress(StorageError):
        # That of the run that was waited for is among them.
        for each in newest_attempts(repository):
            is_of_it = name_of(each.migration_id, each.target or "") == name
            if is_of_it and each.outcome in (OutcomeEnum.APPLIED, OutcomeEnum.FAKED):
                return f"process {each.process} on {each.host}"
    return "another run"
