"""Calls the author's code: a script's run, or the items of a batch migration."""

from collections.abc import AsyncGenerator, Coroutine, Generator
from functools import partial
from typing import Any

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.batch.drive import World, drive, require_end, retry_failed, total_of
from mpt_tool.errors import (
    StorageError,
)
from mpt_tool.migration import BatchDataMigration
from mpt_tool.process.limits import WARNED_AT, time_limit
from mpt_tool.process.log import get_log
from mpt_tool.records import Checkpoint, MigrationRecord
from mpt_tool.runner.context import Context
from mpt_tool.runner.prepare import Step
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import in_items

log = get_log(__name__)


class Kept:
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


def drive_batch(
    step: Step,
    migration: BatchDataMigration[Any],
    tally: Tally,
    kept: Kept,
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
        tally.total = total_of(migration)
        if step.retries_failed and checkpoint:
            reached = retry_failed(migration, checkpoint, tally, world)
        else:
            reached = drive(migration, checkpoint, step.checksum, tally, world)
        kept.reached = kept.record.reach(reached if reached.handled else None)
    require_end(migration_id, reached, stop.cause)


def _warn_of_limit(name: str, seconds: float) -> None:
    log.warning("%s has taken %.0f %% of its %g seconds", name, 100 * WARNED_AT, seconds)


def call_script(step: Step, context: Context) -> None:
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
