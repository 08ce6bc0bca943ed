"""Loads what a run is to run, and says where each of it begins."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import ExitCode, ScriptError, SelectionError, StoppedError
from mpt_tool.migration import BaseMigration, BatchMigration
from mpt_tool.process.signals import Interrupted
from mpt_tool.records import Checkpoint, MigrationRecord, RunRecord
from mpt_tool.runner.work import BatchWork, ScriptWork, Work
from mpt_tool.scripts import plan
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.load import load, load_elsewhere, make
from mpt_tool.scripts.plan import Entry
from mpt_tool.scripts.syntax import checksum
from mpt_tool.scripts.targets import require_targets
from mpt_tool.wording import in_items


@dataclass(frozen=True, slots=True)
class Selection:
    """What a run is to run, and how.

    Args:
        migration_type: all pending ones of this type run; None for the one of whichever type,
        migration_id: or just this one.
        resume: what becomes of its checkpoint.
        target: the only one of its targets that it runs for, if not all.
        overrides: attributes of the migration that have another value in this run.
        is_batch: whether the one has to be a batch migration.
    """

    migration_type: MigrationTypeEnum | None
    migration_id: str | None = None
    resume: ResumeEnum = ResumeEnum.IF_UNCHANGED
    target: str = ""
    overrides: Mapping[str, float] = field(default_factory=dict)
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """A migration that is loaded and ready to run, and the record that it begins with.

    `works` is what there is to do for each target; without targets, for the empty name. `targets`
    are all that it has, those that are done too. `requires` are the ids of what has to be applied
    before. `checksum` is of the syntax tree of the script at `path`. `begun` are the targets for
    which it was run before.
    """

    record: MigrationRecord
    targets: Sequence[str]
    requires: Sequence[str]
    works: Mapping[str, Work]
    path: Path
    checksum: str | None
    begun: Collection[str] = ()

    @property
    def has_progress(self) -> bool:
        """Whether there is any to keep before its end."""
        return bool(self.targets) or isinstance(self.works.get(""), BatchWork)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a run is to run, and the ids of the applied migrations that it passes over."""

    steps: Sequence[Step]
    skipped: Sequence[str]


def prepare(
    entries: Sequence[Entry], selection: Selection, root: Path, environment: Mapping[str, str]
) -> Prepared:
    """Load what a run is to run: all pending migrations of the type, or the one that is named.

    Args:
        entries: the plan.
        selection: what of it is to run.
        root: of the project.
        environment: the variables that may list targets.

    Raises:
        SelectionError: the named one is unknown, applied already or of the other type; or what one
            requires is not applied.
        SettingsError: what a migration is made for is not set.
        ScriptError: a script that may have to run holds no migration, or one of another type than
            recorded, or what it is made for or requires cannot be told without running it.
        ScriptFailedError: a script that may have to run cannot be loaded.
        StoppedError: a stop came while one was loaded.
    """
    migration_type, migration_id = selection.migration_type, selection.migration_id
    if migration_id is not None:
        chosen, skipped = [plan.pending_one(entries, migration_id, migration_type)], []
    else:
        assert migration_type
        chosen = plan.pending(entries, migration_type)
        skipped = [entry.migration_id for entry in plan.applied(entries, migration_type)]
    loaded = _loaded(chosen, root)
    # Of one whose type could not be told before it may be known now that it is the other.
    ours = [each for each in loaded if each[0].type or migration_type in (None, each[1].type)]
    if migration_id is not None and migration_type and not ours:
        raise plan.wrong_type(migration_id, migration_type)
    steps = [_step(entry, migration, selection, root, environment) for entry, migration in ours]
    _require_required(entries, steps)
    return Prepared(steps, skipped)


def _loaded(chosen: Sequence[Entry], root: Path) -> list[tuple[Entry, BaseMigration]]:
    """Return what was chosen with its migrations.

    Raises:
        StoppedError: a stop came meanwhile.
    """
    try:
        return [(entry, load(entry.script, root)) for entry in chosen if entry.script]
    except Interrupted as stop:
        is_kept = any(each.handled for entry in chosen for each in entry.checkpoints)
        kept = ": the progress of earlier runs is kept, run it again to go on" if is_kept else ""
        code = ExitCode.TRY_LATER if is_kept else stop.exit_code
        raise StoppedError(f"Nothing was begun: {stop}{kept}", code) from None


def _step(
    entry: Entry,
    migration: BaseMigration,
    selection: Selection,
    root: Path,
    environment: Mapping[str, str],
) -> Step:
    assert entry.script is not None
    _require_as_written(migration, entry)
    record, path = record_of(entry, migration.type), root / entry.script.path
    targets = require_targets(migration.targets, environment, entry.migration_id)
    source = checksum(path)
    works: dict[str, Work] = {}
    for target in targets_left(record, targets, selection.target):
        own = make(type(migration), entry.script, root, target) if target else migration
        run = record.run_of(target) if target else record
        elsewhere = partial(
            load_elsewhere, entry.script, root.absolute(), target, selection.overrides, source
        )
        works[target] = _work(own, run, entry.script, source, selection, elsewhere)
    if selection.resume is ResumeEnum.RETRY_FAILED and not any(
        isinstance(work, BatchWork) and work.retries_failed for work in works.values()
    ):
        raise SelectionError(f"Migration {record.migration_id} has no failed items")
    begun = [target for target in works if entry.record and _is_begun(entry.record, target)]
    return Step(record, targets, migration.requires, works, path, source, begun)


def _is_begun(record: MigrationRecord, target: str) -> bool:
    run = record.run_of(target) if target else record
    return run is not None and run.status is not MigrationStatusEnum.NOT_APPLIED


def _require_as_written(migration: BaseMigration, entry: Entry) -> None:
    """Return if the syntax tree tells what a migration is made for and requires, as listing needs.

    Raises:
        ScriptError: it does not, so that nobody would know what is pending.
    """
    for name in ("targets", "requires"):
        found: object = getattr(migration, name)
        if (tuple(found) if isinstance(found, list) else found) != getattr(entry.syntax, name):
            raise ScriptError(
                f"{entry.script and entry.script.path}: {name} is {found!r}, which cannot be read"
                f" without running the script: write {name} in its class Migration, as it is"
            )


def targets_left(record: MigrationRecord, targets: Sequence[str], wanted: str) -> Sequence[str]:
    """Return the targets for which a migration is not applied, or just the one that is wanted.

    Of a migration that has none, that is the empty name.

    Raises:
        SelectionError: the one that is wanted is none of them, or applied already.
    """
    if wanted and wanted not in targets:
        known = f"use one of {', '.join(targets)}" if targets else "it has none"
        raise SelectionError(f"{wanted} is no target of {record.migration_id}: {known}")
    if not targets:
        return [""]
    left = [each for each in targets if not ((run := record.run_of(each)) and run.applied_at)]
    if not wanted:
        return left
    if wanted not in left:
        raise SelectionError(f"Migration {record.migration_id} already applied for {wanted}")
    return [wanted]


def _work(
    migration: BaseMigration,
    run: RunRecord | None,
    script: Script,
    source: str | None,
    selection: Selection,
    load: Callable[[], Any],
) -> Work:
    """Return what is to be done: from the checkpoint of the run on, or anew.

    Raises:
        SelectionError: it is not said what to do with the checkpoint of another script, or the
            migration is not of a kind for which it could be said.
    """
    checkpoint = run.checkpoint if run else None
    if selection.resume is ResumeEnum.RESTART:
        checkpoint = begin_anew(checkpoint)
    if not isinstance(migration, BatchMigration):
        if selection.is_batch:
            raise SelectionError(
                f"Migration {script.migration_id} is no batch migration: it has no items"
            )
        return ScriptWork(migration, checkpoint, source)
    for name, value in selection.overrides.items():
        vars(migration)[name] = value
    retries_failed = selection.resume is ResumeEnum.RETRY_FAILED and bool(
        checkpoint and checkpoint.failed
    )
    if checkpoint and selection.resume is not ResumeEnum.ANYWAY and not retries_failed:
        _require_unchanged(checkpoint, script, source)
    tally = Tally.since(checkpoint)
    return BatchWork(migration, checkpoint, source, tally, retries_failed, load)


def begin_anew(checkpoint: Checkpoint | None) -> Checkpoint | None:
    """Return the checkpoint of a run that begins anew.

    What was made once is not made again, but for items that were passed.
    """
    if checkpoint is None or not (checkpoint.steps or checkpoint.next_failure):
        return None
    return Checkpoint(
        cursor=None,
        processed=0,
        since=checkpoint.since,
        retried=checkpoint.next_failure,
        steps=checkpoint.steps,
        unpassed=checkpoint.not_passed,
    )


def _require_unchanged(checkpoint: Checkpoint, script: Script, source: str | None) -> None:
    """Return if a checkpoint is one of this script.

    Raises:
        SelectionError: it is of another, and it is not said what to do with it.
    """
    if not checkpoint.is_of_another(source):
        return
    batch = f"mpt-tool batch {script.migration_id}"
    changed = f"{script.path.name} was changed since it came to"
    if checkpoint.is_of_failed_items:
        failed = in_items(checkpoint.failed)
        raise SelectionError(
            f"{changed} its end, where {failed} had failed. Handle those: {batch} --retry-failed;"
            f" or begin anew: {batch} --restart"
        )
    raise SelectionError(
        f"{changed} {checkpoint.in_items}. Begin anew: {batch} --restart; or go on from there with"
        f" the changed script: {batch} --resume-anyway"
    )


def _require_required(entries: Sequence[Entry], steps: Sequence[Step]) -> None:
    """Return if all that the steps require is applied, or runs before them.

    Raises:
        SelectionError: it is not; the message names all that is to run first.
    """
    known = {entry.migration_id: entry for entry in entries}
    done = {migration_id for migration_id, entry in known.items() if entry.is_applied}
    missing = []
    for step in steps:
        left = [_told(each, known.get(each)) for each in step.requires if each not in done]
        if left:
            missing.append(f"{step.record.migration_id} requires {', '.join(left)}")
        done.add(step.record.migration_id)
    if missing:
        raise SelectionError(f"Nothing was run: {'; '.join(missing)}: run what is required first")


def _told(migration_id: str, entry: Entry | None) -> str:
    """Return what a message tells of a migration that is required and not applied."""
    told = f"{entry.type or 'unknown type'}, {entry.status}" if entry else "unknown"
    return f"{migration_id} ({told})"


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
