"""Walks a plan: the only module that moves a record from one status to the next."""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from mpt_tool import plan, scripts
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import MptToolError, ScriptError, ScriptFailedError, StorageError
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run is to run, and the ids of the applied migrations that it passes over."""

    steps: Sequence[Step]
    skipped: Sequence[str]


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
        return Prepared([step], [])
    steps = [_step(entry, root) for entry in plan.pending(entries, migration_type)]
    skipped = [entry.migration_id for entry in plan.applied(entries, migration_type)]
    return Prepared([step for step in steps if step.record.type is migration_type], skipped)


def run(
    prepared: Prepared,
    repository: StateRepository,
    clock: Clock,
    version: str | None,
    reporter: Reporter,
) -> Outcome:
    """Run the steps in order, each recorded before it begins and after it ends.

    The first error, of a script or of the store, ends the run. It is not raised but returned, with
    what was and what was not reached.
    """
    for migration_id in prepared.skipped:
        log.debug("Skipping applied migration: %s", migration_id)
    began = time.monotonic()
    ids = [step.record.migration_id for step in prepared.steps]
    for number, step in enumerate(prepared.steps):
        log.info("Running migration: %s", ids[number])
        step_began = time.monotonic()
        try:
            with reporter.running(ids[number], number + 1, len(ids)):
                _run_step(step, repository, clock, version)
        except MptToolError as error:
            log.error("%s", error)
            seconds = time.monotonic() - began
            return Outcome(
                ids[:number], prepared.skipped, ids[number + 1 :], seconds, ids[number], error
            )
        log.info("Applied migration: %s in %.1f s", ids[number], time.monotonic() - step_began)
    return Outcome(ids, prepared.skipped, [], time.monotonic() - began)


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
        ScriptFailedError: its type cannot be told, as the script cannot be loaded.
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
    if entry.record is None:
        return MigrationRecord.new(entry.migration_id, entry.order_id, migration_type)
    if entry.record.type != migration_type:
        raise ScriptError(
            f"{entry.migration_id} is a {migration_type} migration, but its record says"
            f" {entry.record.type}: give the script a new id, or delete the record"
        )
    # The file may have been renamed since.
    return entry.record.model_copy(update={"order_id": entry.order_id})


def _run_step(step: Step, repository: StateRepository, clock: Clock, version: str | None) -> None:
    """Run one migration and record how it went.

    Raises:
        ScriptFailedError: the author's code failed.
        StorageError: the record could not be saved, before or after the author's code ran.
    """
    running = step.record.start(clock(), version)
    migration_id = running.migration_id
    repository.save(running)
    try:
        _call(step.migration)
    except BaseException as error:
        try:
            repository.save(running.fail())
        except StorageError as unsaved:
            log.error("The failure of %s could not be recorded: %s", migration_id, unsaved)
        raise ScriptFailedError(f"Migration {migration_id} failed", error) from error
    try:
        repository.save(running.finish(clock()))
    except StorageError as error:
        raise StorageError(
            f"Migration {migration_id} was applied, but that could not be recorded: {error}."
            f" Do not run it again; once it can be recorded: mpt-tool migrate --fake {migration_id}"
        ) from error


def _call(migration: BaseMigration) -> None:
    """Call the author's code; `sys.exit()` without an error in it is a normal return."""
    try:
        result = migration.run()
        if isinstance(result, Generator | AsyncGenerator):
            raise TypeError("run() holds a yield, so nothing of it was run: remove the yield")
        if isinstance(result, Coroutine):
            import asyncio

            asyncio.run(result)
    except SystemExit as error:
        if error.code is not None and not (isinstance(error.code, int) and error.code == 0):
            raise
