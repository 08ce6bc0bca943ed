"""Walks a plan: the only module that moves a record from one status to the next."""

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mpt_tool import plan, scripts
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import (
    INTERRUPTED,
    MigrationFailedError,
    MptToolError,
    SelectionError,
    StorageError,
)
from mpt_tool.inspection import inspect
from mpt_tool.migration import BaseMigration
from mpt_tool.plan import Entry, Outcome, Script
from mpt_tool.records import MigrationRecord
from mpt_tool.storage import StateRepository

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class Reporter(Protocol):
    """Shows how a run goes on."""

    def running(self, migration_id: str, number: int, total: int) -> AbstractContextManager[None]:
        """Return a context in which the migration runs, as this number of the total."""


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that is loaded and ready to run, and the record that it leaves."""

    record: MigrationRecord
    migration: BaseMigration


def sound_plan(folder: Path, repository: StateRepository) -> list[Entry]:
    """Return the plan of a folder whose names leave no doubt about what is to run.

    Raises:
        ScriptError: the folder is missing, a name is malformed or an id is there twice.
        StorageError: the store cannot be read.
    """
    found = scripts.find(folder)
    scripts.require_sound(found)
    return read_plan(found, repository)


def read_plan(found: Sequence[Script], repository: StateRepository | None) -> list[Entry]:
    """Return the plan of the scripts that were found; reads the store once, imports no script.

    Args:
        found: the scripts.
        repository: the store, or None to take all scripts for not applied.

    Raises:
        StorageError: the store cannot be read.
    """
    records = repository.load() if repository else {}
    declared = {
        script.migration_id: inspect(script.path).type
        for script in found
        if script.migration_id not in records
    }
    return plan.build(found, records, declared, repository.notes if repository else {})


def prepare(
    entries: Sequence[Entry],
    migration_type: MigrationTypeEnum,
    migration_id: str | None,
    root: Path,
) -> list[Step]:
    """Load what a run is to run: all pending migrations of the type, or the one that is named.

    Raises:
        SelectionError: the named one is unknown, applied already or of the other type.
        ScriptError: a script that may have to run cannot be loaded.
    """
    if migration_id is None:
        steps = [_step(entry, root) for entry in plan.pending(entries, migration_type)]
        return [step for step in steps if step.record.type is migration_type]
    step = _step(plan.pending_one(entries, migration_id, migration_type), root)
    if step.record.type is not migration_type:
        raise SelectionError(f"Migration {migration_id} is not a {migration_type} migration")
    return [step]


def run(
    steps: Sequence[Step],
    skipped: Sequence[str],
    repository: StateRepository,
    clock: Clock,
    version: str | None,
    reporter: Reporter,
) -> Outcome:
    """Run the steps in order, each recorded before it begins and after it ends.

    The first failure ends the run; it is returned, not raised, with what was and was not reached.
    """
    for migration_id in skipped:
        log.debug("Skipping applied migration: %s", migration_id)
    began = time.monotonic()
    ids = [step.record.migration_id for step in steps]
    for number, step in enumerate(steps):
        migration_id = ids[number]
        log.info("Running migration: %s", migration_id)
        step_began = time.monotonic()
        with reporter.running(migration_id, number + 1, len(steps)):
            failure = _run_step(step, repository, clock, version)
        seconds = time.monotonic() - step_began
        if failure:
            log.error("%s", failure)
            seconds = time.monotonic() - began
            return Outcome(ids[:number], skipped, ids[number + 1 :], seconds, migration_id, failure)
        log.info("Applied migration: %s in %.1f s", migration_id, seconds)
    return Outcome(ids, skipped, [], time.monotonic() - began)


def fake(
    entries: Sequence[Entry],
    migration_id: str,
    repository: StateRepository,
    clock: Clock,
    version: str | None,
    root: Path,
) -> None:
    """Record a migration as applied without running it.

    It is imported only if neither its record nor its syntax tree tells its type.

    Raises:
        SelectionError: the migration is unknown or applied already.
        ScriptError: its type cannot be told, as the script cannot be loaded.
        StorageError: it could not be recorded.
    """
    entry = plan.pending_one(entries, migration_id)
    assert entry.script is not None
    record = _record(entry, entry.type or scripts.load(entry.script, root).type)
    repository.save(record.fake(clock(), version))


def _step(entry: Entry, root: Path) -> Step:
    assert entry.script is not None
    migration = scripts.load(entry.script, root)
    return Step(_record(entry, migration.type), migration)


def _record(entry: Entry, migration_type: MigrationTypeEnum) -> MigrationRecord:
    return entry.record or MigrationRecord.new(entry.migration_id, entry.order_id, migration_type)


def _run_step(
    step: Step, repository: StateRepository, clock: Clock, version: str | None
) -> MptToolError | None:
    """Run one migration and record how it went; return why it failed, if it did."""
    running = step.record.start(clock(), version)
    try:
        repository.save(running)
    except StorageError as error:
        return error
    failure = _call(step.migration, running.migration_id)
    try:
        repository.save(running.fail() if failure else running.finish(clock()))
    except StorageError as error:
        if failure:
            log.error("The failure could not be recorded: %s", error)
            return failure
        return StorageError(
            f"Migration {running.migration_id} was applied, but that could not be recorded:"
            f" {error}. Once it can, run: mpt-tool migrate --fake {running.migration_id}"
        )
    return failure


def _call(migration: BaseMigration, migration_id: str) -> MigrationFailedError | None:
    """Call the author's code; return what went wrong in it, whatever it raised."""
    try:
        outcome = migration.run()
        if isinstance(outcome, Generator | AsyncGenerator):
            raise TypeError("run() holds a yield, so nothing of it was run: remove the yield")
        if isinstance(outcome, Awaitable):
            import asyncio

            asyncio.run(_wait(outcome))
    except BaseException as error:  # noqa: BLE001 - nothing that a script raises may leave its record as running
        if isinstance(error, SystemExit) and error.code in (None, 0):
            return None
        failure = MigrationFailedError(migration_id, _reason(error), _exit_code(error))
        failure.__cause__ = error
        return failure
    return None


async def _wait(outcome: Awaitable[None]) -> None:
    await outcome


def _reason(error: BaseException) -> str:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an exception of a script may fail to describe itself
        message = ""
    if isinstance(error, SystemExit):
        return f"it exited with {message}"
    return message or type(error).__name__


def _exit_code(error: BaseException) -> int:
    """Return what the process exits with: the script's own code, unless the system cuts it to 0."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code % 256 or 1
    return 1
