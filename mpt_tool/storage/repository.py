"""The protocol of a state repository: what every store promises."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Protocol, runtime_checkable

from mpt_tool.enums import OutcomeEnum
from mpt_tool.records import (
    Attempt,
    Checkpoint,
    FailedItem,
    FailedItems,
    MigrationRecord,
    Origin,
)
from mpt_tool.wording import printable, timestamp


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock of a store.

    Args:
        name: what `unlock` takes; empty if the store does not tell who it is.
        host: where its process is.
        process: the number of that.
        since: when it took the lock.
        user: who runs it, if that is known.
        run_id: of which run its attempts are, if that is known.
        silent_seconds: for how long there was no sign of life, by the store's clock; None if it
            gives none, as the system tells whether it lives.
        is_alive: whether it lives; None if that cannot be told.
        is_to_stop: whether it is asked to stop.
    """

    name: str
    host: str = ""
    process: str = ""
    since: datetime | None = None
    user: str = ""
    run_id: str = ""
    silent_seconds: float | None = None
    is_alive: bool | None = None
    is_to_stop: bool = False

    def __str__(self) -> str:
        """Return whom an operator has to look for."""
        if not self.host:
            return "another process"
        since = f" since {timestamp(self.since)}" if self.since else ""
        return printable(f"process {self.process} on {self.host}{since}")


# Of attempts: in one request, where each hundred takes one.
_NEWEST = 100

UNTOLD = Holder("")
"""Stands for whoever may hold the lock of a store that does not tell."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a store holds at one moment.

    `records` are all there are, and `notes` what is odd about some, both by migration id. `missing`
    are the optional keys of records that the store cannot keep. `holder` has the lock, None if
    nobody has.
    """

    records: Mapping[str, MigrationRecord] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    missing: Collection[str] = ()
    holder: Holder | None = UNTOLD


class StateRepository(Protocol):
    """Keeps one record a migration, the lock, and the history of all attempts."""

    @property
    def is_remote(self) -> bool:
        """Whether a save is a request over a network, so that few are better."""

    def load(self) -> Snapshot:
        """Return what the store holds now, read in one pass.

        Raises:
            StorageError: the store cannot be reached, or holds what is no record.
        """

    def looks(self, wait_seconds: float) -> Iterator[Snapshot]:
        """Yield what the store holds, for one that may wait for the lock for so long.

        Its records are as `load` returns them, but may lack all optional keys. It is yielded again,
        after a while and a few times, if somebody has the lock, who may do meanwhile what the lock
        is wanted for.

        Raises:
            StorageError: the store cannot be reached, or holds what is no record.
        """

    def save(self, record: MigrationRecord) -> None:
        """Keep the record, durably on return; everything else in the store stays as it is.

        Raises:
            StorageError: it could not be kept.
        """

    def initialize(self) -> Sequence[str]:
        """Create what the store lacks, and return the names of what was created.

        Raises:
            StorageError: nothing was lacking, or it cannot be created.
        """

    def lock(
        self, origin: Origin, wait_seconds: float, lost: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Return a context in which one process anywhere holds the lock: this one.

        It is freed when the process dies, too. While it is held, `save` writes only if it still is.

        Args:
            origin: who holds it.
            wait_seconds: how long to wait for another to give it back.
            lost: called, from any thread, if the lock is found to be lost.

        Raises:
            LockedError: another holds it; the message names that one.
            StorageError: the store cannot be reached, or has no place for a lock yet.
        """

    def require_lock(self) -> None:
        """Return if the lock that this repository took is still held; asks no network.

        To be called before anything that only its holder may do.

        Raises:
            LockLostError: it was lost, while the process was paused say.
        """

    def unlock(self, name: str) -> None:
        """Take the lock away from the holder of this name, as `LockedError` told it.

        Raises:
            StorageError: this one does not hold it, or it cannot be taken away.
        """

    def append(self, entry: Attempt | FailedItems) -> None:
        """Add an attempt, or failed items, to the history, which nothing is ever removed from.

        Raises:
            StorageError: it could not be added; `NoHistoryError` if the store keeps no history.
        """

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first; what is no attempt is passed over.

        Who needs the last ones alone reads no further.

        Raises:
            StorageError: they cannot be read; `NoHistoryError` if the store keeps no history.
        """

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        """Return the failed items of a migration, those added last first.

        Raises:
            StorageError: they cannot be read; `NoHistoryError` if the store keeps no history.
        """


@runtime_checkable
class Stoppable(Protocol):
    """What a repository may do beside: tell who holds the lock, and hand on that it is to stop.

    One that does not keeps runs from nothing: `status` does not tell who holds the lock then, and
    `stop` refuses.
    """

    def holder(self) -> Holder | None:
        """Return who holds the lock; None if nobody does. One that is dead may be told, too.

        Raises:
            StorageError: the store cannot be reached.
        """

    def ask_to_stop(self, holder: Holder) -> None:
        """Leave word for this holder that it is to stop; no later one may take it for itself.

        Raises:
            StorageError: that cannot be written.
        """

    def is_asked_to_stop(self) -> bool:
        """Whether word was left for the holder that this repository is; asks no network."""


@runtime_checkable
class _Warns(Protocol):
    def warnings(self) -> Sequence[str]: ...


def warnings_of(repository: StateRepository) -> Sequence[str]:
    """Return what whoever writes to this store has to know first, as that it does not last.

    A repository that may have something to say has a method `warnings`.

    Raises:
        StorageError: this store cannot be written to.
    """
    return repository.warnings() if isinstance(repository, _Warns) else ()


@runtime_checkable
class _FindsFailure(Protocol):
    def last_failure(self) -> Attempt | None: ...


def last_failure(repository: StateRepository) -> Attempt | None:
    """Return the newest attempt that failed; None if none did.

    A repository that need not read its whole history for it has a method of this name.

    Raises:
        StorageError: the history cannot be read; `NoHistoryError` if the store keeps none.
    """
    if isinstance(repository, _FindsFailure):
        return repository.last_failure()
    attempts = repository.attempts()
    return next((each for each in attempts if each.outcome is OutcomeEnum.FAILED), None)


@runtime_checkable
class _FindsNewest(Protocol):
    def newest_attempts(self, count: int) -> Sequence[Attempt]: ...


def newest_attempts(repository: StateRepository, count: int = _NEWEST) -> Sequence[Attempt]:
    """Return so many attempts that have ended, or fewer if there are no more, the newest first.

    A repository that need not read its whole history for it has a method of this name.

    Raises:
        StorageError: the history cannot be read; `NoHistoryError` if the store keeps none.
    """
    if isinstance(repository, _FindsNewest):
        return repository.newest_attempts(count)
    return list(islice(repository.attempts(), count))


def failures_of(
    repository: StateRepository, migration_id: str, target: str, checkpoint: Checkpoint
) -> list[FailedItem]:
    """Return the failed items that a checkpoint counts, as far as they were kept, in their order.

    What was kept under a number last is what holds: a run that died may have kept some that its
    checkpoint does not count.

    Raises:
        StorageError: they cannot be read.
    """
    numbers = range(checkpoint.retried, checkpoint.next_failure)
    return [*_failed_under(numbers, repository, migration_id, target, checkpoint).values()]


def not_passed(
    repository: StateRepository, migration_id: str, target: str, checkpoint: Checkpoint
) -> dict[int, FailedItem]:
    """Return the failed items with durable steps that still hold at a checkpoint, by their numbers.

    Not passed are those that it counts, and those that failed before the migration was begun anew
    and were not handled since.

    Raises:
        StorageError: they cannot be read.
    """
    numbers = {number for first, last in checkpoint.not_passed for number in range(first, last + 1)}
    failed = _failed_under(numbers, repository, migration_id, target, checkpoint)
    return {number: item for number, item in failed.items() if item.steps}


def _failed_under(
    numbers: Collection[int],
    repository: StateRepository,
    migration_id: str,
    target: str,
    checkpoint: Checkpoint,
) -> dict[int, FailedItem]:
    """Return the items that failed under these numbers, in their order."""
    found: dict[int, FailedItem] = {}
    if not numbers:
        return {}
    for items in repository.failed_items(migration_id):
        if (items.target or "", items.since) == (target, checkpoint.since):
            for number, item in enumerate(items.failed, items.first):
                if number in numbers:
                    found.setdefault(number, item)
        if len(found) == len(numbers):
            break
    return dict(sorted(found.items()))
