"""For authors of storage backends: the tests that a backend has to pass, and a backend in memory.

A backend is tested by a class like this one:

    class TestMyRepository(StateRepositoryContract):
        @pytest.fixture
        def open_repository(self, tmp_path):
            return lambda: MyRepository(tmp_path)

`pytest.register_assert_rewrite("mpt_tool.testing")` in `conftest.py` makes pytest show the values
that a failing test compared.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from mpt_tool.enums import MigrationTypeEnum, OutcomeEnum
from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.records import (
    Attempt,
    Checkpoint,
    ErrorReport,
    FailedItem,
    FailedItems,
    KeptStep,
    MigrationRecord,
    Origin,
    RunRecord,
)
from mpt_tool.storage.repository import (
    Holder,
    Snapshot,
    StateRepository,
    Stoppable,
    failures_of,
    last_failure,
)

type OpenRepository = Callable[[], StateRepository]

MILLISECOND = timedelta(milliseconds=1)
# A holder may look for word to stop as seldom as it renews its lock.
_HANGS_SECONDS, _LOOK_SECONDS = 120, 0.05
# Whole milliseconds: a store may keep no more.
STARTED = datetime(2026, 1, 13, 18, 5, 20, 123_000, UTC)
APPLIED = datetime(2026, 1, 13, 18, 5, 23, 456_000, UTC)
NEW = MigrationRecord.new("sync_users", 20260113180013, MigrationTypeEnum.DATA)
OTHER = MigrationRecord.new("add_column", 20260214121033, MigrationTypeEnum.SCHEMA)
RUNNING = NEW.start(STARTED, "1.2.3")
ORIGIN = Origin(
    run_id="run-1", user="ana", host="host-1", process=4711, version="1.2.3", tool_version="7.0.0"
)
CHECKPOINT = Checkpoint(
    cursor={"page": 3, "id": "AGR-7"},
    processed=1199,
    failed=1,
    total=5000,
    since=STARTED,
    checksum="c0ffee",
    retried=2,
    outcomes={"changed": 800, "right already": 399},
    steps=(KeptStep(key="parameter", value="PAR-1", is_made=True),),
)
FAILED = FailedItems(
    run_id=ORIGIN.run_id,
    migration_id=NEW.migration_id,
    target="PRD-1",
    since=STARTED,
    first=2,
    failed=(
        FailedItem(cursor="AGR-3", error="no such user"),
        FailedItem(
            cursor="AGR-4",
            error="no such user",
            steps=(
                KeptStep(key="webhook", cursor="AGR-4", value={"id": None}, is_made=True),
                KeptStep(key="parameter", cursor="AGR-4"),
            ),
        ),
    ),
)
ATTEMPT = Attempt(
    **dict(ORIGIN),
    migration_id=NEW.migration_id,
    order_id=NEW.order_id,
    type=NEW.type,
    outcome=OutcomeEnum.FAILED,
    started_at=STARTED,
    ended_at=APPLIED,
    seconds=3.333,
    checksum="c0ffee",
    counts={"processed": 3},
    error=ErrorReport(kind="ValueError", message="no such user", frames=("line 7",)),
)


@cache
def open_memory(root: Path) -> "MemoryRepository":
    """Return the repository in memory of the project in `root`, always the same one."""
    return MemoryRepository()


class MemoryRepository:
    """A `StateRepository` that keeps records for as long as it lives."""

    is_remote = False

    def __init__(self) -> None:
        self._records: dict[str, MigrationRecord] | None = None
        self._history: list[Attempt | FailedItems] = []
        self._holder: Origin | None = None
        self._to_stop = ""
        self._is_unlocked = False

    def load(self) -> Snapshot:
        return Snapshot(self._records or {}, holder=self.holder())

    def looks(self, wait_seconds: float) -> Iterator[Snapshot]:
        """Yield what the store holds, once."""
        yield self.load()

    def save(self, record: MigrationRecord) -> None:
        self._records = {**(self._records or {}), record.migration_id: record}

    def initialize(self) -> Sequence[str]:
        if self._records is not None:
            raise StorageError("Cannot initialize - the store in memory exists")
        self._records = {}
        return ["store in memory"]

    @contextmanager
    def lock(self, origin: Origin, wait_seconds: float, lost: Callable[[], None]) -> Iterator[None]:
        """Hold the lock; another holder is in this process, so waiting for it would be in vain."""
        if self._holder:
            raise LockedError(f"Locked by process {self._holder.process} on {self._holder.host}")
        self._holder = origin
        try:
            yield
        finally:
            self._holder, self._is_unlocked = None, False

    def require_lock(self) -> None:
        """Return always, but after an `unlock`."""
        if self._is_unlocked:
            raise LockLostError("The lock was lost: this run changes no record any more")

    def unlock(self, name: str) -> None:
        if self._holder is None or self._holder.host != name:
            raise StorageError(f"{name!r} does not hold the lock")
        self._holder, self._is_unlocked = None, True

    def holder(self) -> Holder | None:
        if self._holder is None:
            return None
        origin, is_to_stop = self._holder, self.is_asked_to_stop()
        return Holder(
            origin.host,
            origin.host,
            str(origin.process),
            user=origin.user,
            run_id=origin.run_id,
            is_alive=True,
            is_to_stop=is_to_stop,
        )

    def ask_to_stop(self, holder: Holder) -> None:
        self._to_stop = holder.run_id

    def is_asked_to_stop(self) -> bool:
        return self._holder is not None and self._holder.run_id == self._to_stop

    def append(self, entry: Attempt | FailedItems) -> None:
        self._history.append(entry)

    def attempts(self) -> Iterator[Attempt]:
        return (each for each in reversed(self._history) if isinstance(each, Attempt))

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        for each in reversed(self._history):
            if isinstance(each, FailedItems) and each.migration_id == migration_id:
                yield each


class StateRepositoryContract:
    """The promises of `StateRepository`, each a test; a subclass says how its store is opened."""

    @pytest.fixture
    def open_repository(self) -> OpenRepository:
        """Return a function that opens one and the same store, anew with each call.

        To be overridden. Each test needs a store of its own that was never initialized.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `open_repository`")

    @pytest.fixture
    def repository(self, open_repository: OpenRepository) -> StateRepository:
        """An open repository whose store was initialized just now."""
        repository = open_repository()
        repository.initialize()
        return repository

    def test_initialize_names_what_it_created(self, open_repository: OpenRepository) -> None:
        created = open_repository().initialize()

        assert created
        assert all(created)

    def test_initialize_refuses_a_store_that_lacks_nothing(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """A second `initialize` raises `StorageError`, and the records stay."""
        repository.save(RUNNING)

        with pytest.raises(StorageError):
            open_repository().initialize()

        assert open_repository().load().records == {RUNNING.migration_id: RUNNING}

    def test_a_new_store_holds_nothing(self, repository: StateRepository) -> None:
        snapshot = repository.load()

        assert snapshot.records == {}
        assert snapshot.notes == {}

    @pytest.mark.parametrize(
        "record",
        [
            pytest.param(RUNNING, id="running"),
            pytest.param(RUNNING.finish(APPLIED), id="applied"),
            pytest.param(RUNNING.fail(), id="failed"),
            pytest.param(OTHER.fake(APPLIED, None), id="faked"),
            pytest.param(RUNNING.reach(CHECKPOINT), id="with a checkpoint"),
            pytest.param(
                NEW.with_run(
                    "PRD-1", RunRecord().start(STARTED, "1.2.3").reach(CHECKPOINT), ["PRD-1"]
                ),
                id="with targets",
            ),
            pytest.param(NEW.model_copy(update={"order_id": 0}), id="order id 0"),
            pytest.param(NEW.model_copy(update={"migration_id": "x" * 124}), id="longest id"),
            pytest.param(NEW.model_copy(update={"migration_id": "größe_数"}), id="id in Unicode"),
        ],
    )
    def test_a_saved_record_is_there_when_the_store_is_opened_again(
        self, repository: StateRepository, open_repository: OpenRepository, record: MigrationRecord
    ) -> None:
        repository.save(record)

        assert open_repository().load().records == {record.migration_id: record}

    def test_timestamps_are_kept_to_the_millisecond(self, repository: StateRepository) -> None:
        started = STARTED + 0.456 * MILLISECOND
        repository.save(NEW.start(started, None))

        kept = repository.load().records[NEW.migration_id].started_at

        assert kept is not None
        assert abs(kept - started) < MILLISECOND

    def test_saving_again_replaces_the_record(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """Of a record that is saved again nothing earlier stays: `None` empties a timestamp."""
        for record in (RUNNING, RUNNING.finish(APPLIED), RUNNING.fail()):
            repository.save(record)

            assert open_repository().load().records == {record.migration_id: record}

    def test_the_end_of_a_run_clears_its_checkpoint(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`save` removes an optional key that the record no longer has."""
        repository.save(RUNNING.reach(CHECKPOINT))

        repository.save(RUNNING.reach(CHECKPOINT).finish(APPLIED))

        assert open_repository().load().records == {RUNNING.migration_id: RUNNING.finish(APPLIED)}

    def test_saving_needs_no_loading(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        repository.save(RUNNING)

        open_repository().save(RUNNING.fail())

        assert repository.load().records == {RUNNING.migration_id: RUNNING.fail()}

    def test_saving_leaves_other_records_alone(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`save` changes one record, not another one with the same order id either."""
        faked = OTHER.model_copy(update={"order_id": NEW.order_id}).fake(APPLIED, None)
        repository.save(faked)
        repository.save(RUNNING)

        repository.save(RUNNING.finish(APPLIED))

        assert open_repository().load().records == {
            faked.migration_id: faked,
            RUNNING.migration_id: RUNNING.finish(APPLIED),
        }

    def test_loading_again_tells_what_others_saved(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        repository.load()

        open_repository().save(RUNNING)

        assert repository.load().records == {RUNNING.migration_id: RUNNING}

    def test_a_snapshot_stays_as_it_was_loaded(self, repository: StateRepository) -> None:
        before = repository.load()

        repository.save(RUNNING)

        assert before.records == {}

    def test_one_that_may_wait_sees_what_is_applied(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`looks` yields what the store holds, of the records at least the status."""
        for record in (RUNNING, RUNNING.finish(APPLIED)):
            repository.save(record)

            [seen] = next(open_repository().looks(0.1)).records.values()

            assert (seen.migration_id, seen.status) == (record.migration_id, record.status)

    def test_one_holds_the_lock_and_is_named_to_the_others(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """While one holds the lock, `lock` raises `LockedError` that names host and process."""
        other = open_repository()

        with repository.lock(ORIGIN, 0, _ignore):
            with pytest.raises(LockedError, match=rf"4711.*{ORIGIN.host}"):
                other.lock(ORIGIN, 0, _ignore).__enter__()
            repository.save(RUNNING)

        with other.lock(ORIGIN, 0, _ignore):
            assert other.load().records == {RUNNING.migration_id: RUNNING}

    def test_the_lock_is_there_while_it_is_held(self, repository: StateRepository) -> None:
        """`require_lock` returns, also after a `save`."""
        with repository.lock(ORIGIN, 0, _ignore):
            repository.require_lock()
            repository.save(RUNNING)
            repository.require_lock()

    def test_an_error_gives_the_lock_back(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        with pytest.raises(ZeroDivisionError), repository.lock(ORIGIN, 0, _ignore):
            _ = 1 / 0

        with open_repository().lock(ORIGIN, 0, _ignore):
            pass

    def test_unlocking_refuses_one_that_does_not_hold_the_lock(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`unlock` raises `StorageError` unless the one that is named holds the lock."""
        with pytest.raises(StorageError):
            repository.unlock("nobody")

        with repository.lock(ORIGIN, 0, _ignore):
            with pytest.raises(StorageError):
                open_repository().unlock("nobody")
            repository.save(RUNNING)

    def test_who_holds_the_lock_is_told(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`holder` and `load` tell who holds the lock and lives, and nobody once it is free.

        For a backend that tells it: see `Stoppable`.
        """
        other = _stoppable(open_repository())
        assert other.holder() is None

        with repository.lock(ORIGIN, 0, _ignore):
            holder = other.holder()
            assert holder
            assert (holder.host, holder.process) == (ORIGIN.host, str(ORIGIN.process))
            assert holder.is_alive
            assert not holder.is_to_stop
            loaded = open_repository().load().holder
            assert loaded
            assert (loaded.name, loaded.is_alive) == (holder.name, True)

        assert other.holder() is None
        assert open_repository().load().holder is None

    def test_who_is_asked_to_stop_learns_it_and_who_comes_after_does_not(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`is_asked_to_stop` tells the holder that was asked, in the end; never a later one.

        For a backend that can: see `Stoppable`.
        """
        asked, other = _stoppable(repository), _stoppable(open_repository())
        assert not asked.is_asked_to_stop()

        with repository.lock(ORIGIN, 0, _ignore):
            holder = other.holder()
            assert holder
            other.ask_to_stop(holder)
            _wait_until(asked.is_asked_to_stop)
            again = other.holder()
            assert again
            assert (again.name, again.is_to_stop) == (holder.name, True)
        other.ask_to_stop(holder)

        later = ORIGIN.model_copy(update={"run_id": "run-2"})
        with repository.lock(later, 0, _ignore):
            assert not asked.is_asked_to_stop()
            following = other.holder()
            assert following
            assert not following.is_to_stop

    def test_the_last_failure_is_found(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`last_failure` returns the newest attempt that failed, whatever came after it."""
        assert last_failure(repository) is None
        later = {"run_id": "run-2", "ended_at": APPLIED + MILLISECOND}
        newest = ATTEMPT.model_copy(update=later)
        for attempt in (ATTEMPT, newest):
            repository.append(attempt)
        repository.append(newest.model_copy(update={"outcome": OutcomeEnum.APPLIED}))

        assert last_failure(open_repository()) == newest

    def test_attempts_are_kept_in_their_order(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`attempts` returns what was appended, as it was, the newest first."""
        unknown = dict.fromkeys(("ended_at", "seconds", "counts", "error"))
        found_dead = ATTEMPT.model_copy(update={**unknown, "outcome": OutcomeEnum.FOUND_DEAD})
        assert list(repository.attempts()) == []

        repository.append(ATTEMPT)
        open_repository().append(found_dead)

        assert list(open_repository().attempts()) == [found_dead, ATTEMPT]
        assert repository.load().records == {}

    def test_failed_items_are_kept_in_their_order(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """`failed_items` returns what was appended of a migration, as it was, the newest first."""
        of_all = FAILED.model_copy(update={"target": None, "since": STARTED + MILLISECOND})
        update = {"migration_id": OTHER.migration_id, "since": APPLIED}
        of_other = FAILED.model_copy(update=update)
        assert list(repository.failed_items(NEW.migration_id)) == []

        for entry in (FAILED, of_other, of_all):
            repository.append(entry)

        assert list(open_repository().failed_items(NEW.migration_id)) == [of_all, FAILED]

    def test_failed_items_are_no_attempts(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        repository.append(ATTEMPT)
        repository.append(FAILED)

        assert list(open_repository().attempts()) == [ATTEMPT]
        assert repository.load().records == {}

    def test_a_thousand_long_failures_are_kept_whole(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """However little fits into a place of the store, all failed items come back."""
        failed = tuple(
            FailedItem(cursor={"id": f"AGR-{number}", "page": None}, error="ü" * 1000)
            for number in range(1000)
        )
        repository.append(FAILED.model_copy(update={"first": 0, "failed": failed}))
        checkpoint = CHECKPOINT.model_copy(update={"retried": 0, "failed": 1000})

        kept = failures_of(open_repository(), NEW.migration_id, "PRD-1", checkpoint)

        assert kept == list(failed)

    def test_what_a_later_run_kept_under_a_number_holds(
        self, repository: StateRepository, open_repository: OpenRepository
    ) -> None:
        """Runs that died may have kept failed items that their checkpoint never counted."""
        a, b, c, d = (FailedItem(cursor=cursor, error="no such user") for cursor in "abcd")
        for run_id, first, failed in (
            ("run-1", 0, (a, b, c)),
            ("run-2", 0, (a,)),
            ("run-2", 1, (c, d)),
            ("run-3", 0, (b, c)),
        ):
            update = {"run_id": run_id, "first": first, "failed": failed}
            repository.append(FAILED.model_copy(update=update))
        checkpoint = CHECKPOINT.model_copy(update={"retried": 0, "failed": 2})

        kept = failures_of(open_repository(), NEW.migration_id, "PRD-1", checkpoint)

        assert kept == [b, c]


def _ignore() -> None:
    """Do nothing about a lock that was lost."""


def _stoppable(repository: StateRepository) -> Stoppable:
    """Return the repository as one that tells who holds the lock; skip the test if it does not."""
    if not isinstance(repository, Stoppable):
        pytest.skip("the backend does not tell who holds the lock")
    return repository


def _wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    hangs_at = time.monotonic() + _HANGS_SECONDS
    while not is_so():
        assert time.monotonic() < hangs_at, "that never came to be"
        time.sleep(_LOOK_SECONDS)
