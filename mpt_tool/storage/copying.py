"""Copies what one store holds into another: what that lacks, and nothing that would run twice."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, runtime_checkable

from mpt_tool.errors import NoHistoryError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.records import Attempt, FailedItems, MigrationRecord
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import so_many

log = get_log(__name__)

# A store may keep a time to the millisecond, and of an error that is long only a part.
_SAME_MOMENT = timedelta(milliseconds=1)
_KEPT_OF_ERROR = 1000
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds, the entries of the history in the order in which they were added.

    Args:
        name: of the store.
        records: all there are, by migration id.
        attempts: all that its history has.
        failed: all failed items that it has.
        missing: the optional keys of records that it cannot keep.
        has_history: whether it keeps one.
    """

    name: str
    records: Mapping[str, MigrationRecord] = field(default_factory=dict)
    attempts: Sequence[Attempt] = ()
    failed: Sequence[FailedItems] = ()
    missing: Collection[str] = ()
    has_history: bool = True


@dataclass(frozen=True, slots=True)
class Copy:
    """What is to be copied: what the target lacks, or has in another form that does not count."""

    records: Sequence[MigrationRecord]
    attempts: Sequence[Attempt]
    failed: Sequence[FailedItems]

    def is_all_of(self, source: Contents) -> bool:
        """Whether it is all that the source holds, so that the target has nothing of it."""
        return (len(self.records), len(self.attempts), len(self.failed)) == (
            len(source.records),
            len(source.attempts),
            len(source.failed),
        )

    def __str__(self) -> str:
        """Return how much it is."""
        failed = sum(len(each.failed) for each in self.failed)
        return (
            f"{so_many(len(self.records), 'record')}, {so_many(len(self.attempts), 'attempt')}"
            f" and {so_many(failed, 'failed item')}"
        )


@runtime_checkable
class KeepsAll(Protocol):
    """What a repository may do beside: keep much at once."""

    def keep_all(
        self, entries: Sequence[Attempt | FailedItems], records: Sequence[MigrationRecord]
    ) -> None:
        """Add entries to the history, in their order, and then keep the records, durably.

        Best so that all of the records are kept or none, whatever becomes of the process.

        Raises:
            StorageError: they could not be kept.
        """


def read(name: str, repository: StateRepository, source: Contents | None = None) -> Contents:
    """Return all that a store holds.

    Args:
        name: of the store.
        repository: that of the store.
        source: what is copied to it: a copy that was interrupted may have left failed items of
            migrations there that have nothing else yet.

    Raises:
        StorageError: it cannot be read.
    """
    snapshot = repository.load()
    try:
        attempts = [*repository.attempts()][::-1]
        ids = {*_with_failures(snapshot.records.values(), attempts)}
        ids |= {each.migration_id for each in (source.failed if source else ())}
        failed = [each for key in sorted(ids) for each in [*repository.failed_items(key)][::-1]]
    except NoHistoryError:
        return Contents(name, snapshot.records, missing=snapshot.missing, has_history=False)
    return Contents(name, snapshot.records, attempts, failed, snapshot.missing)


def _with_failures(
    records: Iterable[MigrationRecord], attempts: Iterable[Attempt]
) -> Iterator[str]:
    """Yield the ids of migrations of which items failed, as each may be a request."""
    for record in records:
        if any(checkpoint.next_failure for checkpoint in record.checkpoints):
            yield record.migration_id
    yield from (each.migration_id for each in attempts if (each.counts or {}).get("failed"))


def plan_copy(source: Contents, target: Contents, *, merges: bool) -> Copy:
    """Return what is to be copied.

    Args:
        source: what is copied.
        target: what is there already.
        merges: whether the target may have records. Of two that differ the one that is applied
            counts, so that nothing runs twice, and of two that are applied that of the target.

    Raises:
        StorageError: the target has records and may not, or has no place for what is to be copied;
            or nobody can tell which of two records counts.
    """
    if target.records and not merges:
        raise StorageError(_refusal(source, target))
    differing = [
        (record, found)
        for key, record in source.records.items()
        if (found := target.records.get(key)) and not _is_same(record, found)
    ]
    doubtful = [
        record.migration_id for record, found in differing if not _one_counts(record, found)
    ]
    if doubtful:
        raise StorageError(
            f"Nothing was copied: {source.name} and {target.name} differ in {_listed(doubtful)},"
            " and neither is applied, or they have targets. Delete the record that does not count"
        )
    records = [record for key, record in source.records.items() if key not in target.records]
    records += [record for record, found in differing if not found.applied_at]
    records.sort(key=lambda record: (record.order_id, record.migration_id))
    copy = Copy(records, _lacking_attempts(source, target), _lacking_items(source, target))
    _require_place(copy, target)
    return copy


def _refusal(source: Contents, target: Contents) -> str:
    """Return why a target that has records is refused, and what they are."""
    alike = [
        key
        for key, found in target.records.items()
        if (record := source.records.get(key)) and _is_same(record, found)
    ]
    has = f"{target.name} has {so_many(len(target.records), 'record')} already"
    if len(alike) < len(target.records):
        other = so_many(len(target.records) - len(alike), "record")
        return (
            f"Nothing was copied: {has}, {other} of which {source.name} has otherwise or not at"
            " all. With --merge what it lacks is added"
        )
    if len(alike) < len(source.records):
        return (
            f"Nothing was copied: {has}, of {len(source.records):,} in {source.name}, as a copy"
            " leaves them that was interrupted. Go on with --merge"
        )
    return f"Nothing was copied: {has}, all as in {source.name}. Verify them with --merge"


def _one_counts(record: MigrationRecord, found: MigrationRecord) -> bool:
    """Whether one of two records that differ counts: not, if each may have what the other lacks."""
    is_of_targets = record.targets or found.targets
    return not is_of_targets and bool(record.applied_at or found.applied_at)


def _lacking_attempts(source: Contents, target: Contents) -> list[Attempt]:
    """Return the attempts that the target does not have."""
    there = Counter(map(_key, target.attempts))
    lacking = []
    for attempt in source.attempts:
        key = _key(attempt)
        if there[key]:
            there[key] -= 1
        else:
            lacking.append(attempt)
    return lacking


def _lacking_items(source: Contents, target: Contents) -> list[FailedItems]:
    """Return the failed items that the target does not have."""
    there = Counter(each for items in target.failed for each in _single(items))
    lacking = []
    for items in source.failed:
        single = Counter(_single(items))
        if single <= there:
            there -= single
        else:
            lacking.append(items)
    return lacking


def _require_place(copy: Copy, target: Contents) -> None:
    """Return if the target has a place for all that is to be copied.

    Raises:
        StorageError: it has not.
    """
    creates = f"STORAGE_TYPE={target.name} mpt-tool migrate --init creates it"
    used = {key for record in copy.records for key in record.document()}
    if lacking := sorted(used.intersection(target.missing)):
        raise StorageError(f"Nothing was copied: {target.name} has no {lacking[0]}: {creates}")
    if not target.has_history and (copy.attempts or copy.failed):
        raise StorageError(f"Nothing was copied: {target.name} has no history: {creates}")


def keep(copy: Copy, repository: StateRepository) -> None:
    """Write what is to be copied to the target, whose lock is held: the records last.

    Whatever ends it leaves a target that another copy completes.

    Raises:
        StorageError: it could not be kept, as the lock was lost say.
    """
    entries: list[Attempt | FailedItems] = [*copy.attempts, *copy.failed]
    if not (entries or copy.records):
        return
    if isinstance(repository, KeepsAll):
        repository.keep_all(entries, copy.records)
        return
    for entry in entries:
        repository.require_lock()
        repository.append(entry)
    for record in copy.records:
        repository.save(record)


def require_copied(source: Contents, copy: Copy, found: Contents) -> None:
    """Return if all that the source holds is in the target, and what was copied is as it was.

    Args:
        source: what it holds.
        copy: what of it was copied.
        found: what was read back from the target.

    Raises:
        StorageError: something is not.
    """
    unlike = [key for key in source.records if key not in found.records]
    unlike += [
        record.migration_id
        for record in copy.records
        if (kept := found.records.get(record.migration_id)) and not _is_same(record, kept)
    ]
    attempts = defaultdict(list)
    for attempt in found.attempts:
        attempts[_key(attempt)].append(attempt)
    unlike += [
        f"an attempt at {attempt.migration_id}"
        for attempt in source.attempts
        if not any(_is_same(attempt, each) for each in attempts[_key(attempt)])
    ]
    there = {each for items in found.failed for each in _single(items)}
    unlike += [
        f"a failed item of {items.migration_id}"
        for items in source.failed
        if not there.issuperset(_single(items))
    ]
    if unlike:
        raise StorageError(
            f"What was copied to {found.name} does not read back as it was: {_listed(unlike)}."
            f" Do not use {found.name} before that is understood"
        )


def _key(attempt: Attempt) -> tuple[str, ...]:
    """Return what tells an attempt from others; those of one key keep their order."""
    return attempt.run_id, attempt.migration_id, attempt.target or "", attempt.outcome


def _single(items: FailedItems) -> Iterator[str]:
    """Yield each of the failed items alone, as JSON: a store may divide those added together."""
    for number, item in enumerate(items.failed, items.first):
        yield items.model_copy(update={"first": number, "failed": (item,)}).model_dump_json()


def _is_same(one: MigrationRecord | Attempt, other: MigrationRecord | Attempt) -> bool:
    """Whether two are the same, as far as any store keeps them."""
    return _is_alike(_essence(one), _essence(other))


def _essence(kept: MigrationRecord | Attempt) -> dict[str, Any]:
    document = kept.document()
    if isinstance(kept, Attempt) and kept.error:
        document["error"] = kept.error.kind, kept.error.message[:_KEPT_OF_ERROR]
    # As times: a store may keep fewer digits of those of its own columns.
    times = ("started_at", "applied_at", "ended_at")
    return document | {name: getattr(kept, name) for name in times if hasattr(kept, name)}


def _is_alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(_is_equal(one[name], other[name]) for name in one)


def _is_equal(one: object, other: object) -> bool:
    if isinstance(one, datetime) and isinstance(other, datetime):
        return abs(one - other) < _SAME_MOMENT
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) < _SAME_MOMENT.total_seconds()
    return one == other


def _listed(names: Sequence[str]) -> str:
    """Return the first names, and how many there are besides."""
    unique = list(dict.fromkeys(names))
    further = f" and {len(unique) - _NAMED:,} more" if unique[_NAMED:] else ""
    return f"{', '.join(unique[:_NAMED])}{further}"
