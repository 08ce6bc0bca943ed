"""Scripts held against records: what is pending, what is odd, what was run. Does no I/O."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum
from mpt_tool.errors import MptToolError, SelectionError
from mpt_tool.records import MigrationRecord
from mpt_tool.scripts.folder import Script
from mpt_tool.wording import in_items

MALFORMED_NAME, DUPLICATE_ID = NAME_NOTES = ("malformed name", "duplicate id")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a plan: a script, its record, or both.

    `type` is the recorded one, or else the one that the script declares; None if neither tells.
    """

    order_id: int
    migration_id: str
    script: Script | None
    record: MigrationRecord | None
    type: MigrationTypeEnum | None
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> MigrationStatusEnum:
        """Where the migration stands."""
        return self.record.status if self.record else MigrationStatusEnum.NOT_APPLIED

    @property
    def is_applied(self) -> bool:
        """Whether the migration counts as done: applied or faked."""
        return self.record is not None and self.record.applied_at is not None


@dataclass(frozen=True, slots=True)
class RunResult:
    """How far a run got through its plan, by migration ids; `seconds` is for the whole run.

    `failed` is the migration that stopped the run and `failure` why, if anything did.
    """

    applied: Sequence[str]
    skipped: Sequence[str]
    not_reached: Sequence[str]
    seconds: float
    failed: str | None = None
    failure: MptToolError | None = None


def build(
    scripts: Sequence[Script],
    records: Mapping[str, MigrationRecord],
    declared: Mapping[str, MigrationTypeEnum | None],
    store_notes: Mapping[str, str],
    changed: Collection[str] = (),
) -> list[Entry]:
    """Return an entry for every script and for every record whose file is gone, in order of runs.

    Args:
        scripts: what is in the folder.
        records: what is in the store, by migration id.
        declared: the types that scripts without a record declare, by migration id.
        store_notes: what the store found odd, by migration id.
        changed: the ids of scripts that were changed since they were applied.
    """
    times = Counter(script.migration_id for script in scripts)
    of_store = {migration_id: (note,) for migration_id, note in store_notes.items()}
    in_order = sorted(records.values(), key=lambda record: record.order_id)
    newest: dict[MigrationTypeEnum | None, MigrationRecord] = {
        record.type: record for record in in_order if record.applied_at
    }
    entries = []
    for script in scripts:
        migration_id = script.migration_id
        record = records.get(migration_id)
        type_ = record.type if record else declared.get(migration_id)
        notes = [
            *_notes_on_record(script, record, newest.get(type_)),
            *(["changed since it was applied"] if migration_id in changed else []),
            *([MALFORMED_NAME] if script.name_problem else []),
            *([DUPLICATE_ID] if times[migration_id] > 1 else []),
            *of_store.get(migration_id, ()),
        ]
        entries.append(Entry(script.order_id, migration_id, script, record, type_, tuple(notes)))
    for migration_id, record in records.items():
        if migration_id not in times:
            gone = ("file gone", *of_store.get(migration_id, ()))
            entries.append(Entry(record.order_id, migration_id, None, record, record.type, gone))
    return sorted(entries, key=lambda entry: (entry.order_id, entry.migration_id))


def _notes_on_record(
    script: Script, record: MigrationRecord | None, later: MigrationRecord | None
) -> Iterator[str]:
    """Yield what is odd about a script beside its record and the newest applied one of its type."""
    is_pending = record is None or record.applied_at is None
    if is_pending and later and script.order_id < later.order_id:
        yield f"older than {later.migration_id}, which is applied"
    if record and record.checkpoint:
        yield f"resumes after {record.checkpoint}"
        if record.checkpoint.failed:
            yield f"{in_items(record.checkpoint.failed)} failed"


def pending(
    entries: Iterable[Entry], migration_type: MigrationTypeEnum | None = None
) -> list[Entry]:
    """Return the entries that a run of this type, or of either, may have to run, in order.

    Those whose type cannot be told are among them: only loading the script tells.
    """
    wanted = (None, migration_type) if migration_type else (None, *MigrationTypeEnum)
    return [e for e in entries if e.script and not e.is_applied and e.type in wanted]


def applied(entries: Iterable[Entry], migration_type: MigrationTypeEnum) -> list[Entry]:
    """Return the entries that a run of this type skips because they count as done, in order."""
    return [e for e in entries if e.script and e.is_applied and e.type is migration_type]


def pending_one(
    entries: Iterable[Entry], migration_id: str, migration_type: MigrationTypeEnum | None = None
) -> Entry:
    """Return the entry of the one migration that was asked for, of this type if one is given.

    Raises:
        SelectionError: it has no script, is known to be of the other type, or counts as done.
    """
    entry = next((e for e in entries if e.script and e.migration_id == migration_id), None)
    if entry is None:
        raise SelectionError(f"Migration {migration_id} not found")
    if migration_type and entry.type not in (None, migration_type):
        raise wrong_type(migration_id, migration_type)
    if entry.is_applied:
        raise SelectionError(f"Migration {migration_id} already applied")
    return entry


def wrong_type(migration_id: str, migration_type: MigrationTypeEnum) -> SelectionError:
    """Return the error for a migration that is not of the type that is to run."""
    return SelectionError(f"Migration {migration_id} is not a {migration_type} migration")
