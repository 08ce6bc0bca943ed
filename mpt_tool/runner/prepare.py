"""Loads what a run is to run, and says where each of it begins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import (
    ScriptError,
    SelectionError,
)
from mpt_tool.migration import BaseMigration, BatchDataMigration
from mpt_tool.records import MigrationRecord
from mpt_tool.scripts import plan
from mpt_tool.scripts.load import load
from mpt_tool.scripts.plan import Entry
from mpt_tool.scripts.syntax import checksum


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


def _step(entry: Entry, root: Path) -> Step:
    assert entry.script is not None
    migration = load(entry.script, root)
    path = root / entry.script.path
    return Step(record_of(entry, migration.type), migration, path, checksum(path))


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
            f" mpt-tool batch {migration_id} --restart; or go on from there with the"
            f" changed script: mpt-tool batch {migration_id} --resume-anyway"
        )
    if resume is ResumeEnum.RETRY_FAILED and not checkpoint.failures:
        raise SelectionError(f"Migration {migration_id} has no failed items")
    return replace(step, retries_failed=resume is ResumeEnum.RETRY_FAILED)


def record_of(entry: Entry, migration_type: MigrationTypeEnum) -> MigrationRecord:
    """Return the record that a run of the entry begins with."""
    if entry.record is None:
        return MigrationRecord.new(entry.migration_id, entry.order_id, migration_type)
    if entry.record.type != migration_type:
        raise ScriptError(
            f"{entry.migration_id} is a {migration_type} migration, but its record says"
            f" {entry.record.type}: give the script a new id, or delete the record"
        )
    # The file may have been renamed since.
    return entry.record.model_copy(update={"order_id": entry.order_id})
