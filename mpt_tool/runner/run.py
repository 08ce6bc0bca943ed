"""Walks a plan: the only module that moves a record from one status to the next."""

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.batch.drive import (
    ItemError,
)
from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import (
    ItemsFailedError,
    MptToolError,
    ScriptError,
    ScriptFailedError,
    StoppedError,
    StorageError,
    UnbegunError,
)
from mpt_tool.migration import BatchDataMigration
from mpt_tool.process.isolation import isolated
from mpt_tool.process.signals import Stop
from mpt_tool.runner.attempts import History, was_applied_by_a_dead_run
from mpt_tool.runner.context import Context
from mpt_tool.runner.prepare import Prepared, Step, record_of
from mpt_tool.runner.work import Kept, call_script, drive_batch
from mpt_tool.scripts import plan
from mpt_tool.scripts.load import load
from mpt_tool.scripts.plan import Entry, Outcome
from mpt_tool.scripts.syntax import checksum
from mpt_tool.storage.repository import StateRepository

log = logging.getLogger(__name__)


def run(prepared: Prepared, repository: StateRepository, context: Context) -> Outcome:
    """Run the steps in order, each recorded before it begins and after it ends.

    The first error, of a script or of the store, ends the run, and so does a signal. It is not
    raised but returned, with what was and what was not reached.
    """
    for migration_id in prepared.skipped:
        log.debug("Skipping applied migration: %s", migration_id)
    began = time.monotonic()
    ids = [step.record.migration_id for step in prepared.steps]
    with context.stop.deferred():
        for number, step in enumerate(prepared.steps):
            try:
                _run_reported(step, number + 1, len(ids), repository, context)
            except MptToolError as error:
                log.error("%s", error)
                seconds = time.monotonic() - began
                return Outcome(
                    ids[:number], prepared.skipped, ids[number + 1 :], seconds, ids[number], error
                )
    return Outcome(ids, prepared.skipped, [], time.monotonic() - began)


def fake(
    entries: Sequence[Entry],
    migration_id: str,
    repository: StateRepository,
    context: Context,
    root: Path,
) -> None:
    """Record a migration as applied without running it.

    It is imported only if neither its record nor its syntax tree tells its type.

    Raises:
        SelectionError: the migration is unknown or applied already.
        ScriptFailedError: its type cannot be told, as the script cannot be loaded.
        StorageError: it could not be recorded.
    """
    entry = plan.pending_one(entries, migration_id)
    assert entry.script is not None
    record = record_of(entry, entry.type or load(entry.script, root).type)
    now = context.clock()
    repository.save(record.fake(now, context.origin.version))
    faked_as = checksum(root / entry.script.path)
    history = History(repository, context.origin, context.redact)
    history.append(record, faked_as, OutcomeEnum.FAKED, ended_at=now)


def _run_reported(
    step: Step, number: int, total: int, repository: StateRepository, context: Context
) -> None:
    migration_id = step.record.migration_id
    if cause := context.stop.cause:
        raise StoppedError(f"Migration {migration_id} was not begun: {cause}", cause.exit_code)
    log.info("Running migration: %s", migration_id)
    began = time.monotonic()
    is_batch = isinstance(step.migration, BatchDataMigration)
    tally = Tally.since(step.record.checkpoint) if is_batch else None
    with context.reporter.running(migration_id, number, total, tally):
        _run_step(step, tally, repository, context)
    log.info("Applied migration: %s in %.1f s", migration_id, time.monotonic() - began)


def _run_step(
    step: Step, tally: Tally | None, repository: StateRepository, context: Context
) -> None:
    """Run one migration and record how it went.

    Raises:
        ScriptFailedError: the author's code failed.
        ItemsFailedError: items of a batch migration failed.
        StoppedError: a batch migration was stopped; its progress is kept.
        StorageError: the record could not be saved, before or after the author's code ran.
    """
    history = History(repository, context.origin, context.redact)
    append = partial(history.append, step.record, step.checksum)
    if was_applied_by_a_dead_run(step.record, repository, append):
        return
    running = step.record.start(context.clock(), context.origin.version)
    migration_id = running.migration_id
    counts = tally.counts if tally else dict
    kept = Kept(repository, running)
    try:
        kept.save(running)
    except StorageError as error:
        unbegun = UnbegunError(f"Migration {migration_id} was not begun: {error}")
        if context.stop.cause:
            unbegun.exit_code = context.stop.cause.exit_code
        raise unbegun from error
    append = partial(append, started_at=running.started_at)
    try:
        with isolated():
            if isinstance(step.migration, BatchDataMigration) and tally:
                drive_batch(step, step.migration, tally, kept, context)
            else:
                call_script(step, context)
    except BaseException as error:  # noqa: BLE001 - raised as ours, once it is recorded
        try:
            kept.fail()
        except StorageError as unsaved:
            log.error("The failure of %s could not be recorded: %s", migration_id, unsaved)
        failure = _failure(error, migration_id, context.stop)
        outcome = OutcomeEnum.INTERRUPTED if context.stop.cause else OutcomeEnum.FAILED
        cause = failure.__cause__ or failure
        append(
            outcome,
            ended_at=context.clock(),
            counts=counts() or None,
            error=history.report(cause, step.path),
        )
        raise failure from failure.__cause__
    finished = running.finish(context.clock())
    try:
        repository.save(finished)
    except StorageError as error:
        raise StorageError(
            f"Migration {migration_id} was applied, but that could not be recorded: {error}."
            f" Do not run it again; once it can be recorded: mpt-tool migrate --fake {migration_id}"
        ) from error
    finally:
        append(OutcomeEnum.APPLIED, ended_at=finished.applied_at, counts=counts() or None)


def _failure(error: BaseException, migration_id: str, stop: Stop) -> MptToolError:
    """Return the error to end the run with, for whatever ended a migration."""
    if isinstance(error, ItemsFailedError | StoppedError | StorageError):
        return error
    if isinstance(error, ScriptError):
        return ScriptError(f"Migration {migration_id} failed: {error}")
    if isinstance(error, ItemError) and error.__cause__:
        return ScriptFailedError(f"Migration {migration_id} failed: {error}", error.__cause__)
    failure = ScriptFailedError(f"Migration {migration_id} failed", error)
    if stop.cause:
        failure.exit_code = stop.cause.exit_code
    return failure
