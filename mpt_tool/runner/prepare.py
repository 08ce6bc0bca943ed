"""Loads what a run is to run, and says where each of it begins."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import (
    ScriptError,
    SelectionError,
)
from mpt_tool.migration import BatchDataMigration
from mpt_tool.records import MigrationRecord
from mpt_tool.runner.work import BatchWork, ScriptWork, Work
from mpt_tool.scripts import plan
from mpt_tool.scripts.load import load
from mpt_tool.scripts.plan import Entry
from mpt_tool.scripts.syntax import checksum


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that is loaded and ready to run, and the record that it leaves.

    `checksum` is of the syntax tree of the script at `path`.
    """

    record: MigrationRecord
    work: Work
    path: Path
    checksum: str | None

    @property
    def counts(self) -> dict[str, int] | None:
        """How many items of a batch migration were handled so far."""
        return self.work.tally.counts() if self.work.tally else None


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
        step = _step(plan.pending_one(entries, migration_id, migration_type), root, resume)
        if step.record.type is not migration_type:
            raise plan.wrong_type(migration_id, migration_type)
        return Prepared([step], [])
    steps = [_step(entry, root, resume) for entry in plan.pending(entries, migration_type)]
    skipped = [entry.migration_id for entry in plan.applied(entries, migration_type)]
    return Prepared([step for step in steps if step.record.type is migration_type], skipped)


def _step(entry: Entry, root: Path, resume: ResumeEnum) -> Step:
    assert entry.script is not None
    migration = load(entry.script, root)
    path = root / entry.script.path
    record = record_of(entry, migration.type)
    if isinstance(migration, BatchDataMigration):
        return _batch_step(record, migration, path, resume)
    if resume is not ResumeEnum.IF_UNCHANGED:
        raise SelectionError(
            f"Migration {record.migration_id} is no batch migration: it has no progress"
        )
    return Step(record.reach(None), ScriptWork(migration), path, checksum(path))


def _batch_step(
    record: MigrationRecord, migration: BatchDataMigration[Any], path: Path, resume: ResumeEnum
) -> Step:
    """Return the step that goes on from the record's checkpoint, or begins anew.

    Raises:
        SelectionError: it is not said what to do with the checkpoint of another script, or the
            migration has no failed items to retry.
    """
    migration_id, source = record.migration_id, checksum(path)
    checkpoint = None if resume is ResumeEnum.RESTART else record.checkpoint
    retries_failed = resume is ResumeEnum.RETRY_FAILED
    if retries_failed and not (checkpoint and checkpoint.failures):
        raise SelectionError(f"Migration {migration_id} has no failed items")
    is_changed = checkpoint is not None and checkpoint.checksum not in (None, source)
    if checkpoint and is_changed and resume is ResumeEnum.IF_UNCHANGED:
        raise SelectionError(
            f"{path.name} was changed since it came to {checkpoint.in_items}. Begin anew:"
            f" mpt-tool batch {migration_id} --restart; or go on from there with the changed"
            f" script: mpt-tool batch {migration_id} --resume-anyway"
        )
    tally = Tally.since(checkpoint)
    work = BatchWork(migration, checkpoint, source, tally, retries_failed=retries_failed)
    return Step(record.reach(checkpoint), work, path, source)


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
