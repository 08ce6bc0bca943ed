"""Scripts held against records: what is pending, what is odd, what was run. Does no I/O."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum, OutcomeEnum
from mpt_tool.errors import MptToolError, SelectionError
from mpt_tool.records import Checkpoint, MigrationRecord, RunRecord
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.syntax import Syntax
from mpt_tool.storage.repository import UNTOLD, Holder
from mpt_tool.wording import did_you_mean, in_items, in_outcomes, in_targets, name_of

MALFORMED_NAME, DUPLICATE_ID = NAME_NOTES = ("malformed name", "duplicate id")
LEFT_RUNNING = "left running by a dead run"
# By how much the clocks of a run and of the store may differ.
_CLOCKS_DIFFER = timedelta(minutes=1)

_UNREAD = Syntax()


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a plan: a script, its record, or both.

    `type` is the recorded one, or else the one that the script declares; None if neither tells.
    `syntax` is what the script tells if it is pending. `targets` are what the migration is made for
    now, for which its record stands; None if the variable is not set that lists them. `target` is
    the one of them that the line is for, if it is for one. `outcomes` are those of its items if it
    is applied, as far as the history tells, and of its targets that are under way. `is_left` tells
    that the run is over that it is running in. `stopped` are the targets, or the empty
    name, whose last attempt was stopped from outside.
    """

    order_id: int
    migration_id: str
    script: Script | None
    record: MigrationRecord | None
    type: MigrationTypeEnum | None
    notes: tuple[str, ...] = ()
    syntax: Syntax = _UNREAD
    targets: tuple[str, ...] | None = ()
    target: str = ""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    is_left: bool = False
    stopped: Collection[str] = ()

    @property
    def status(self) -> MigrationStatusEnum:
        """Where the migration stands; failed is one that has targets only if one of those is."""
        if self.record is None:
            return MigrationStatusEnum.NOT_APPLIED
        status, runs = self.record.status, self._runs()
        if runs and status is MigrationStatusEnum.FAILED:
            is_failed = any(run and run.status is status for run in runs)
            return status if is_failed else MigrationStatusEnum.NOT_APPLIED
        return status

    @property
    def is_applied(self) -> bool:
        """Whether the migration counts as done: applied or faked, for all of its targets."""
        return self.status in (MigrationStatusEnum.APPLIED, MigrationStatusEnum.FAKED)

    @property
    def is_stopped(self) -> bool:
        """Whether it is failed for it was stopped from outside, as far as the history tells."""
        if self.status is not MigrationStatusEnum.FAILED:
            return False
        runs = zip(self.targets or (), self._runs(), strict=False)
        failed = [target for target, run in runs if run and run.status is self.status]
        if failed or self.target:
            return all(target in self.stopped for target in failed or [self.target])
        return bool(self.stopped)

    @property
    def state(self) -> str:
        """Where the migration stands, for people: a stop is no failure."""
        return OutcomeEnum.STOPPED if self.is_stopped else self.status

    @property
    def name(self) -> str:
        """What messages call the migration, or what it is made for."""
        return name_of(self.migration_id, self.target)

    @property
    def in_targets(self) -> str:
        """For how many of its targets it is applied, if it has some and is not for all of them."""
        runs = self._runs()
        if not runs or self.is_applied:
            return ""
        return in_targets(sum(1 for run in runs if run and run.applied_at), len(runs))

    @property
    def seconds(self) -> float | None:
        """How long the run took that applied it; None if none did.

        Of one that has targets that is the sum of theirs: they may be of runs far apart.
        """
        if not (self.record and self.record.applied_at):
            return None
        runs = self._runs() or [*(self.record.targets or {}).values()] or [self.record]
        known = [run.seconds for run in runs if run and run.seconds is not None]
        return sum(known) if known else None

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """How far the migration is, or each of its targets that is not at its end."""
        runs = self._runs() or [self.record]
        return [run.checkpoint for run in runs if run and run.checkpoint]

    @property
    def changed_since(self) -> list[Checkpoint]:
        """The checkpoints from which no run goes on by itself, as the script was changed since."""
        # Without a checksum it was not asked for, or the script is broken, which is said.
        checksum = self.syntax.checksum
        return [each for each in self.checkpoints if checksum and each.is_of_another(checksum)]

    def _runs(self) -> list[RunRecord | None]:
        """Return the records of its targets; none if it has no target, or they are not kept."""
        if not (self.targets and self.record and self.record.targets):
            return []
        return [self.record.targets.get(target) for target in self.targets]


@dataclass(frozen=True, slots=True)
class RunResult:
    """How far a run got through its plan, by migration ids; `seconds` is for the whole run.

    `failed` is the migration that stopped the run and `failure` why, if anything did. `outcomes`
    are those of the items of each batch migration, or of each of its targets, by its name.
    `records` are those of what began, as the run left them.
    """

    applied: Sequence[str]
    skipped: Sequence[str]
    not_reached: Sequence[str]
    seconds: float
    failed: str | None = None
    failure: MptToolError | None = None
    outcomes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    records: Mapping[str, MigrationRecord] = field(default_factory=dict)


def build(
    scripts: Sequence[Script],
    records: Mapping[str, MigrationRecord],
    read: Mapping[str, Syntax],
    targets: Mapping[str, tuple[str, ...] | None],
    notes: Mapping[str, Sequence[str]],
    outcomes: Mapping[str, Mapping[str, int]],
    stopped: Mapping[str, Collection[str]],
    holder: Holder | None = UNTOLD,
) -> list[Entry]:
    """Return an entry for every script and for every record whose file is gone, in order of runs.

    Args:
        scripts: what is in the folder.
        records: what is in the store, as it stands for these targets, by migration id.
        read: what those scripts tell that may be pending, by migration id.
        targets: what those are made for that have targets, as in an entry, by migration id.
        notes: what else is odd, by migration id.
        outcomes: those of the items of what is applied, by migration id.
        stopped: the targets, as in an entry, whose last attempt was stopped, by migration id.
        holder: who holds the lock; None if nobody does.
    """
    times = Counter(script.migration_id for script in scripts)
    in_order = sorted(records.values(), key=lambda record: record.order_id)
    newest: dict[MigrationTypeEnum | None, MigrationRecord] = {
        record.type: record for record in in_order if record.applied_at
    }
    entries = []
    for script in scripts:
        migration_id = script.migration_id
        record, syntax = records.get(migration_id), read.get(migration_id, _UNREAD)
        type_ = record.type if record else syntax.type
        own_notes = [*_notes_on_script(script, times), *notes.get(migration_id, ())]
        entry = Entry(
            order_id=script.order_id,
            migration_id=migration_id,
            script=script,
            record=record,
            type=type_,
            syntax=syntax,
            targets=targets.get(migration_id, ()),
            outcomes=_outcomes(record, outcomes.get(migration_id, {})),
            is_left=_is_left(record, holder),
            stopped=stopped.get(migration_id, ()),
        )
        all_notes = (*_notes_on_record(entry, newest.get(type_)), *own_notes)
        entries.append(replace(entry, notes=all_notes) if all_notes else entry)
    gone = (record for migration_id, record in records.items() if migration_id not in times)
    entries += [_gone(record, notes.get(record.migration_id, ()), holder) for record in gone]
    return sorted(entries, key=lambda entry: (entry.order_id, entry.migration_id))


def _notes_on_script(script: Script, times: Counter[str]) -> Iterator[str]:
    if script.name_problem:
        yield MALFORMED_NAME
    if times[script.migration_id] > 1:
        yield DUPLICATE_ID


def _gone(record: MigrationRecord, notes: Sequence[str], holder: Holder | None) -> Entry:
    """Return the entry of a record whose file is gone."""
    in_all = ("file gone", *notes)
    entry = Entry(record.order_id, record.migration_id, None, record, record.type, in_all)
    return replace(entry, is_left=_is_left(record, holder))


def _outcomes(record: MigrationRecord | None, applied: Mapping[str, int]) -> Mapping[str, int]:
    """Return the outcomes of what is applied, and of the targets that are on their way."""
    if not (record and record.targets):
        return applied
    runs = record.targets.values()
    under_way = (Counter(run.checkpoint.outcomes) for run in runs if run.checkpoint)
    return sum(under_way, Counter(applied))


def by_target(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries, followed by one for each of its targets where an entry has some."""
    return [each for entry in entries for each in (entry, *of_targets(entry))]


def running(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield the entries that are running; in place of one that has targets, those of them."""
    for entry in entries:
        if entry.status is MigrationStatusEnum.RUNNING:
            targets = [each for each in of_targets(entry) if each.status is entry.status]
            yield from targets or [entry]


def of_targets(entry: Entry) -> Iterator[Entry]:
    """Yield an entry for each target that this one has, and for each that it had."""
    known = entry.record.targets if entry.record else None
    for target in dict.fromkeys([*(entry.targets or ()), *(known or ())]):
        run = entry.record.run_of(target) if entry.record else None
        record = entry.record.narrowed(run) if entry.record and run else None
        gone = ("target gone",) if entry.targets and target not in entry.targets else ()
        own = replace(entry, target=target, record=record, targets=(), outcomes={})
        yield replace(own, notes=(*_end(own), *_progress(own), *gone))


def _notes_on_record(entry: Entry, later: MigrationRecord | None) -> Iterator[str]:
    """Yield what is odd about an entry beside the newest applied one of its type."""
    # One that has targets began in its turn, and may be pending for a new one.
    has_begun = entry.record and entry.record.targets
    if not (entry.is_applied or has_begun) and later and entry.order_id < later.order_id:
        yield f"older than {later.migration_id}, which is applied"
    yield from _end(entry)
    yield from _progress(entry)
    if entry.record and entry.record.targets and entry.record.failed:
        yield f"{in_items(entry.record.failed)} failed"


def _is_left(record: RunRecord | None, holder: Holder | None) -> bool:
    """Whether a record is running in a run that is over, as far as the lock tells."""
    if record is None or record.status is not MigrationStatusEnum.RUNNING or holder is UNTOLD:
        return False
    if holder is None or holder.is_alive is False:
        return True
    # Who holds the lock now took it after that one had lost it.
    since, began = holder.since, record.started_at
    return since is not None and began is not None and began < since - _CLOCKS_DIFFER


def _end(entry: Entry) -> Iterator[str]:
    """Yield that the run is over that an entry is running in, if it is."""
    if entry.is_left and entry.status is MigrationStatusEnum.RUNNING:
        yield LEFT_RUNNING


def _progress(entry: Entry) -> Iterator[str]:
    """Yield how far a batch migration is that is not at its end."""
    if not entry.record or not (checkpoint := entry.record.checkpoint):
        return
    if checkpoint.is_to_be_verified:
        yield "to be verified"
    elif checkpoint.handled:
        outcomes = in_outcomes(checkpoint.outcomes)
        is_at_work = entry.status is MigrationStatusEnum.RUNNING and not entry.is_left
        how = "has come to" if is_at_work else "resumes after"
        yield f"{how} {checkpoint}{f' ({outcomes})' if outcomes else ''}"
        if checkpoint.failed:
            yield f"{in_items(checkpoint.failed)} failed"


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
    entries: Sequence[Entry], migration_id: str, migration_type: MigrationTypeEnum | None = None
) -> Entry:
    """Return the entry of the one migration that was asked for, of this type if one is given.

    Raises:
        SelectionError: it has no script, is known to be of the other type, or counts as done.
    """
    entry = next((e for e in entries if e.script and e.migration_id == migration_id), None)
    if entry is None:
        raise unknown(migration_id, entries)
    if migration_type and entry.type not in (None, migration_type):
        raise wrong_type(migration_id, migration_type)
    if entry.is_applied:
        raise SelectionError(f"Migration {migration_id} already applied")
    return entry


def unknown(
    migration_id: str, entries: Sequence[Entry], others: Iterable[str] = ()
) -> SelectionError:
    """Return the error for an id that nothing has, with the one that is probably meant.

    Args:
        migration_id: as it was given; it may be the number of a script.
        entries: the plan.
        others: ids that are known beside.
    """
    scripts = [each for each in entries if each.script]
    if numbered := [each.migration_id for each in scripts if str(each.order_id) == migration_id]:
        hint = did_you_mean(numbered[0], numbered)
    elif any(each.migration_id == migration_id for each in entries):
        # Of one whose script is gone no other is meant.
        hint = ""
    else:
        hint = did_you_mean(migration_id, [*(each.migration_id for each in scripts), *others])
    topic = "" if hint else "not-found"
    return SelectionError(f"Migration {migration_id} not found{hint}", topic)


def wrong_type(migration_id: str, migration_type: MigrationTypeEnum) -> SelectionError:
    """Return the error for a migration that is not of the type that is to run."""
    return SelectionError(f"Migration {migration_id} is not a {migration_type} migration")
