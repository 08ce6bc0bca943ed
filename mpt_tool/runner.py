"""Walks a plan: the only module that moves a record from one status to the next."""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from mpt_tool import batches, plan, scripts
from mpt_tool.batches import ItemError, World
from mpt_tool.checkpoints import Tally
from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum, OutcomeEnum, ResumeEnum
from mpt_tool.errors import (
    ItemsFailedError,
    MptToolError,
    ScriptError,
    ScriptFailedError,
    SelectionError,
    StoppedError,
    StorageError,
    UnbegunError,
)
from mpt_tool.history import History
from mpt_tool.inspection import inspect, tree_checksum
from mpt_tool.isolation import isolated
from mpt_tool.migration import BaseMigration, BatchDataMigration
from mpt_tool.plan import Entry, Outcome, Script
from mpt_tool.records import Attempt, Checkpoint, MigrationRecord, Origin
from mpt_tool.redaction import Redact
from mpt_tool.signals import WARNED_AT, Stop, time_limit
from mpt_tool.storage import StateRepository
from mpt_tool.terminal import in_items, timestamp

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class Reporter(Protocol):
    """Shows how a run goes on."""

    def running(
        self, migration_id: str, number: int, total: int, tally: Tally | None
    ) -> AbstractContextManager[None]:
        """Return a context in which the migration runs, as this number of the total.

        The tally of a batch migration goes on meanwhile.
        """


@dataclass(frozen=True, slots=True)
class Context:
    """What a run needs of the world around it.

    `time_limits` are in seconds, 0 for none.
    """

    origin: Origin
    clock: Clock
    redact: Redact
    stop: Stop
    time_limits: Mapping[MigrationTypeEnum, float]
    reporter: Reporter


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that is loaded and ready to run, and the record that it leaves.

    `checksum` is of the syntax tree of the script at `path`. `retries_failed` tells that just the
    failed items of the checkpoint are to be handled.
    """

    record: MigrationRecord
    migration: BaseMigration
    path: Path
    checksum: str | None
    retries_failed: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run is to run, and the ids of the applied migrations that it passes over."""

    steps: Sequence[Step]
    skipped: Sequence[str]


def read_plan(
    found: Sequence[Script],
    repository: StateRepository | None,
    read_attempts: Callable[[], Sequence[Attempt]] = tuple,
) -> list[Entry]:
    """Return the plan of the scripts that were found; reads the store once, imports no script.

    Args:
        found: the scripts.
        repository: the store, or None to take all scripts for not applied.
        read_attempts: returns the history, if what was changed since it was applied is to be noted.

    Raises:
        StorageError: the store cannot be read.
    """
    records = repository.load() if repository else {}
    declared = {
        script.migration_id: inspect(script.path).type
        for script in found
        if script.migration_id not in records
    }
    applied_as = {
        attempt.migration_id: attempt.checksum
        for attempt in read_attempts()
        if attempt.outcome in (OutcomeEnum.APPLIED, OutcomeEnum.FAKED)
    }
    changed = {
        script.migration_id
        for script in found
        if (known := applied_as.get(script.migration_id))
        and script.migration_id in records
        and records[script.migration_id].applied_at
        and known != _checksum(script.path)
    }
    notes = repository.notes if repository else {}
    return plan.build(found, records, declared, notes, changed)


def prepare(
    entries: Sequence[Entry],
    migration_type: MigrationTypeEnum,
    migration_id: str | None,
    root: Path,
    resume: ResumeEnum = ResumeEnum.IF_UNCHANGED,
) -> Prepared:
    """Load what a run is to run: all pending migrations of the type, or the one that is named.

    Raises:
        SelectionError: the named one is unknown, applied already or of the other type.
        ScriptError: a script that may have to run holds no migration, or one of another type than
            recorded.
        ScriptFailedError: a script that may have to run cannot be loaded.
    """
    if migration_id is not None:
        step = _step(plan.pending_one(entries, migration_id, migration_type), root)
        if step.record.type is not migration_type:
            raise plan.wrong_type(migration_id, migration_type)
        return Prepared([_resumed(step, resume)], [])
    steps = [_step(entry, root) for entry in plan.pending(entries, migration_type)]
    skipped = [entry.migration_id for entry in plan.applied(entries, migration_type)]
    of_type = [_resumed(step, resume) for step in steps if step.record.type is migration_type]
    return Prepared(of_type, skipped)


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
    record = _record(entry, entry.type or scripts.load(entry.script, root).type)
    now = context.clock()
    repository.save(record.fake(now, context.origin.version))
    faked_as = _checksum(root / entry.script.path)
    history = History(repository, context.origin, context.redact)
    history.append(record, faked_as, OutcomeEnum.FAKED, ended_at=now)


def _step(entry: Entry, root: Path) -> Step:
    assert entry.script is not None
    migration = scripts.load(entry.script, root)
    path = root / entry.script.path
    return Step(_record(entry, migration.type), migration, path, _checksum(path))


def _resumed(step: Step, resume: ResumeEnum) -> Step:
    """Return the step with the checkpoint that it is to begin at.

    Raises:
        SelectionError: it is not said what to do with the checkpoint of another script, or the
            migration has no failed items to retry.
    """
    migration_id, checkpoint = step.record.migration_id, step.record.checkpoint
    is_batch = isinstance(step.migration, BatchDataMigration)
    if resume is not ResumeEnum.IF_UNCHANGED and not is_batch:
        raise SelectionError(f"Migration {migration_id} is no batch migration: it has no progress")
    if checkpoint is None or not is_batch or resume is ResumeEnum.RESTART:
        if resume is ResumeEnum.RETRY_FAILED:
            raise SelectionError(f"Migration {migration_id} has no failed items")
        return replace(step, record=step.record.reach(None))
    if resume is ResumeEnum.IF_UNCHANGED and checkpoint.checksum not in (None, step.checksum):
        raise SelectionError(
            f"{step.path.name} was changed since it came to {checkpoint.in_items}. Begin anew:"
            f" mpt-tool migrate --data {migration_id} --restart; or go on from there with the"
            f" changed script: mpt-tool migrate --data {migration_id} --resume-anyway"
        )
    if resume is ResumeEnum.RETRY_FAILED and not checkpoint.failures:
        raise SelectionError(f"Migration {migration_id} has no failed items")
    return replace(step, retries_failed=resume is ResumeEnum.RETRY_FAILED)


def _checksum(path: Path) -> str | None:
    try:
        return tree_checksum(path.read_bytes())
    except OSError:
        return None


def _record(entry: Entry, migration_type: MigrationTypeEnum) -> MigrationRecord:
    if entry.record is None:
        return MigrationRecord.new(entry.migration_id, entry.order_id, migration_type)
    if entry.record.type != migration_type:
        raise ScriptError(
            f"{entry.migration_id} is a {migration_type} migration, but its record says"
            f" {entry.record.type}: give the script a new id, or delete the record"
        )
    # The file may have been renamed since.
    return entry.record.model_copy(update={"order_id": entry.order_id})


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
    if _was_applied_by_a_dead_run(step.record, repository, append):
        return
    running = step.record.start(context.clock(), context.origin.version)
    migration_id = running.migration_id
    counts = tally.counts if tally else dict
    kept = _Kept(repository, running)
    try:
        kept.save(running)
    except StorageError as error:
        raise UnbegunError(f"Migration {migration_id} was not begun: {error}") from error
    append = partial(append, started_at=running.started_at)
    try:
        with isolated():
            if isinstance(step.migration, BatchDataMigration) and tally:
                _drive(step, step.migration, tally, kept, context)
            else:
                _call(step, context)
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


def _was_applied_by_a_dead_run(
    record: MigrationRecord, repository: StateRepository, append: Callable[..., None]
) -> bool:
    """Say what became of a run that died in this migration, if one did, and record that.

    Raises:
        StorageError: it had applied the migration, which could not be recorded now either.
    """
    if record.status is not MigrationStatusEnum.RUNNING or record.started_at is None:
        return False
    if ended_at := _known_end(record, repository):
        log.warning(
            "Migration %s was applied by a run that could not record it: recorded now,"
            " not run again",
            record.migration_id,
        )
        repository.save(record.finish(ended_at))
        return True
    log.warning(
        "Migration %s began at %s in a run that died: it runs again",
        record.migration_id,
        timestamp(record.started_at),
    )
    append(OutcomeEnum.FOUND_DEAD, started_at=record.started_at)
    return False


def _known_end(record: MigrationRecord, repository: StateRepository) -> datetime | None:
    """Return when the run that began as the record says ended well, if the history tells."""
    try:
        attempts = repository.attempts()
    except StorageError:
        return None
    for attempt in reversed(attempts):
        if attempt.migration_id == record.migration_id and attempt.outcome is OutcomeEnum.APPLIED:
            is_that = _is_same_moment(attempt.started_at, record.started_at)
            return attempt.ended_at if is_that else None
    return None


def _is_same_moment(one: datetime | None, other: datetime | None) -> bool:
    """Whether two timestamps are one, although a store may keep only milliseconds."""
    if one is None or other is None:
        return False
    return abs(one - other) < timedelta(milliseconds=1)


class _Kept:
    """The record of the migration that runs: as it was saved last, and as far as it came."""

    def __init__(self, repository: StateRepository, record: MigrationRecord) -> None:
        self.repository = repository
        self.record = self.reached = record

    def save(self, record: MigrationRecord) -> None:
        """Save the record."""
        self.repository.save(record)
        self.record = self.reached = record

    def fail(self) -> None:
        """Record the failure; if what it reached cannot be kept, with what was saved last.

        Raises:
            StorageError: that cannot be saved either.
        """
        try:
            self.repository.save(self.reached.fail())
        except StorageError as error:
            if self.reached is self.record:
                raise
            log.error("What was done since the last checkpoint could not be saved: %s", error)
            self.repository.save(self.record.fail())

    def reach(self, checkpoint: Checkpoint) -> None:
        """Save how far the migration came."""
        self.save(self.record.reach(checkpoint))


def _drive(
    step: Step,
    migration: BatchDataMigration[Any],
    tally: Tally,
    kept: _Kept,
    context: Context,
) -> None:
    """Drive a batch migration to its end.

    Raises:
        StoppedError: it was stopped on the way; its progress is kept.
        ItemsFailedError: it came to its end, but items failed.
        ItemError: an item failed, and that ended it.
    """
    migration_id, checkpoint = step.record.migration_id, step.record.checkpoint
    stop, limit = context.stop, context.time_limits[migration.type]
    if "checkpoint" in kept.repository.missing:
        log.warning(
            "The store has no column checkpoint: the progress of %s will not survive its end;"
            " mpt-tool migrate --init adds the column",
            migration_id,
        )
    if checkpoint and step.retries_failed:
        log.info("Retrying %s of %s", in_items(checkpoint.failed), migration_id)
    elif checkpoint:
        log.info("Resuming %s after %s", migration_id, checkpoint.in_items)
    world = World(
        save=kept.reach,
        is_stopped=lambda: stop.cause is not None,
        clock=context.clock,
        redact=context.redact,
        saves_by_time_alone=kept.repository.is_remote,
    )
    with time_limit(limit, partial(_warn_of_limit, migration_id, limit), stop):
        tally.total = batches.total_of(migration)
        if step.retries_failed and checkpoint:
            reached = batches.retry_failed(migration, checkpoint, tally, world)
        else:
            reached = batches.drive(migration, checkpoint, step.checksum, tally, world)
        kept.reached = kept.record.reach(reached if reached.handled else None)
    batches.require_end(migration_id, reached, stop.cause)


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


def _warn_of_limit(name: str, seconds: float) -> None:
    log.warning("%s has taken %.0f %% of its %g seconds", name, 100 * WARNED_AT, seconds)


def _call(step: Step, context: Context) -> None:
    """Call the author's code; `sys.exit()` without an error in it is a normal return."""
    limit = context.time_limits[step.record.type]
    warn = partial(_warn_of_limit, step.record.migration_id, limit)
    with context.stop.allowed(), time_limit(limit, warn, context.stop):
        try:
            result = step.migration.run()
            if isinstance(result, Generator | AsyncGenerator):
                raise TypeError("run() holds a yield, so nothing of it was run: remove the yield")
            if isinstance(result, Coroutine):
                import asyncio

                asyncio.run(result)
        except SystemExit as error:
            if error.code is not None and not (isinstance(error.code, int) and error.code == 0):
                raise
