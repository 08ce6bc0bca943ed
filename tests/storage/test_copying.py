"""That a copy is whole whatever ends it, adds nothing twice, and undoes nothing of the target."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import StorageError
from mpt_tool.records import Attempt, FailedItems, MigrationRecord
from mpt_tool.storage.copying import Contents, Copy, keep, plan_copy, read, require_copied
from mpt_tool.testing import MemoryRepository
from mpt_tool.testing.storage import (
    APPLIED,
    ATTEMPT,
    CHECKPOINT,
    FAILED,
    NEW,
    OTHER,
    RUNNING,
    STARTED,
)

DONE = RUNNING.finish(APPLIED)
FAKED = NEW.fake(APPLIED, None)


class DyingError(Exception):
    """Stands for the end of a process."""


class Mortal(MemoryRepository):
    """A store whose writer dies after so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.writes = writes

    def append(self, entry: Attempt | FailedItems) -> None:
        self._write()
        super().append(entry)

    def save(self, record: MigrationRecord) -> None:
        self._write()
        super().save(record)

    def _write(self) -> None:
        if not self.writes:
            raise DyingError
        self.writes -= 1


def holding(
    *records: MigrationRecord, history: tuple[Attempt | FailedItems, ...] = ()
) -> MemoryRepository:
    repository = MemoryRepository()
    for entry in history:
        repository.append(entry)
    for record in records:
        repository.save(record)
    return repository


def named(migration_id: str, record: MigrationRecord = DONE, **update: object) -> MigrationRecord:
    return record.model_copy(update={"migration_id": migration_id, **update})


def copied(source: MemoryRepository, target: MemoryRepository, *, merges: bool = False) -> str:
    """Copy as the command does, and return how much."""
    found = read("one", source)
    copy = plan_copy(found, read("other", target, found), merges=merges)
    keep(copy, target)
    require_copied(found, copy, read("other", target, found))
    return str(copy)


def whole(source: Contents) -> Copy:
    return plan_copy(source, Contents("other"), merges=False)


def told(repository: MemoryRepository) -> Contents:
    return read("", repository)


IDS = st.sampled_from("abcde")
RECORDS = st.dictionaries(
    IDS, st.sampled_from([DONE, RUNNING, FAKED, RUNNING.fail(), RUNNING.reach(CHECKPOINT)])
).map(lambda drawn: [named(key, record) for key, record in drawn.items()])
ATTEMPTS = st.builds(
    lambda key, run, outcome, target: ATTEMPT.model_copy(
        update={"migration_id": key, "run_id": run, "outcome": outcome, "target": target}
    ),
    IDS,
    st.sampled_from(["run-1", "run-2"]),
    st.sampled_from(OutcomeEnum),
    st.sampled_from([None, "PRD-1"]),
)
FAILURES = st.builds(
    lambda key, first, run: FAILED.model_copy(
        update={"migration_id": key, "first": first, "run_id": run}
    ),
    IDS,
    st.integers(0, 4),
    st.sampled_from(["run-1", "run-2"]),
)


@given(RECORDS, st.lists(ATTEMPTS | FAILURES), st.data())
def test_a_copy_that_died_anywhere_is_completed_by_the_next_one(
    records: list[MigrationRecord], history: list[Attempt | FailedItems], data: st.DataObject
) -> None:
    source = holding(*records, history=tuple(history))
    all_of_it = told(source)
    writes = len(all_of_it.records) + len(all_of_it.attempts) + len(all_of_it.failed)
    target = Mortal(data.draw(st.integers(0, writes)))

    try:
        copied(source, target)
    except DyingError:
        has_some = bool(target.load().records)
        target.writes = writes
        copied(source, target, merges=has_some)

    assert told(target) == told(source) == all_of_it


@given(RECORDS, st.lists(ATTEMPTS | FAILURES))
def test_a_copy_that_is_made_again_adds_nothing(
    records: list[MigrationRecord], history: list[Attempt | FailedItems]
) -> None:
    source, target = holding(*records, history=tuple(history)), MemoryRepository()
    copied(source, target)

    assert copied(source, target, merges=True) == "0 records, 0 attempts and 0 failed items"
    assert told(target) == told(source)


def test_what_is_merged_comes_after_what_was_there() -> None:
    own = ATTEMPT.model_copy(update={"run_id": "own"})
    target = holding(OTHER, history=(own,))

    copied(holding(DONE, history=(ATTEMPT,)), target, merges=True)

    assert list(target.attempts()) == [ATTEMPT, own]


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ([DONE], "other has 1 record already, of 2 in one, as a copy leaves them that was"),
        ([DONE, OTHER], "other has 2 records already, all as in one. Verify them with --merge"),
        ([FAKED], "other has 1 record already, 1 record of which one has otherwise or not at all"),
        ([DONE, named("its_own")], "2 records already, 1 record of which one has otherwise"),
    ],
)
def test_a_target_that_has_records_is_refused_with_what_they_are(
    there: list[MigrationRecord], words: str
) -> None:
    target = holding(*there)
    before = told(target)

    with pytest.raises(StorageError, match=words):
        copied(holding(DONE, OTHER, history=(ATTEMPT,)), target)

    assert told(target) == before


@pytest.mark.parametrize(
    ("ours", "theirs", "counts"),
    [
        (DONE, RUNNING, DONE),
        (DONE, RUNNING.reach(CHECKPOINT), DONE),
        (RUNNING, DONE, DONE),
        (FAKED, DONE, DONE),
        (DONE, FAKED, FAKED),
        (DONE, DONE, DONE),
    ],
)
def test_of_two_records_the_applied_one_counts_and_then_that_of_the_target(
    ours: MigrationRecord, theirs: MigrationRecord, counts: MigrationRecord
) -> None:
    target = holding(theirs)

    copied(holding(ours), target, merges=True)

    assert target.load().records == {NEW.migration_id: counts}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (RUNNING, RUNNING.reach(CHECKPOINT)),
        (RUNNING.fail(), RUNNING),
        (DONE, RUNNING.with_run("PRD-1", RUNNING, ["PRD-1"])),
    ],
)
def test_two_records_of_which_none_can_be_chosen_are_left_to_people(
    ours: MigrationRecord, theirs: MigrationRecord
) -> None:
    target = holding(theirs)

    with pytest.raises(StorageError, match=f"differ in {NEW.migration_id}, and neither"):
        copied(holding(ours, OTHER, history=(ATTEMPT,)), target, merges=True)

    assert told(target) == told(holding(theirs))


def test_what_the_target_has_no_place_for_is_refused() -> None:
    source = read("one", holding(RUNNING, history=(ATTEMPT,)))

    with pytest.raises(StorageError, match="other has no version: STORAGE_TYPE=other mpt-tool"):
        plan_copy(source, Contents("other", missing=("version", "targets")), merges=False)
    with pytest.raises(StorageError, match="other has no history: STORAGE_TYPE=other mpt-tool"):
        plan_copy(source, Contents("other", has_history=False), merges=False)


def test_a_store_may_keep_less_of_times_and_of_long_errors() -> None:
    blurred = timedelta(microseconds=400)
    error = ATTEMPT.error
    assert error
    long = ATTEMPT.model_copy(update={"error": error.model_copy(update={"message": "x" * 10_000})})
    cut = long.model_copy(
        update={"error": error.model_copy(update={"message": "x" * 2_000}), "seconds": 3.3332}
    )
    kept = named(NEW.migration_id, started_at=STARTED + blurred)

    source = read("one", holding(DONE, history=(long,)))
    require_copied(source, whole(source), read("other", holding(kept, history=(cut,))))


@pytest.mark.parametrize(
    "found",
    [
        holding(history=(ATTEMPT, FAILED)),
        holding(RUNNING, history=(ATTEMPT, FAILED)),
        holding(named(NEW.migration_id, version=None), history=(ATTEMPT, FAILED)),
        holding(RUNNING.reach(CHECKPOINT), history=(FAILED,)),
        holding(
            RUNNING.reach(CHECKPOINT), history=(ATTEMPT.model_copy(update={"user": "x"}), FAILED)
        ),
        holding(RUNNING.reach(CHECKPOINT), history=(ATTEMPT,)),
        holding(
            RUNNING.reach(CHECKPOINT),
            history=(ATTEMPT, FAILED.model_copy(update={"failed": FAILED.failed[::-1]})),
        ),
    ],
)
def test_what_does_not_read_back_as_it_was_is_told(found: MemoryRepository) -> None:
    source = read("one", holding(RUNNING.reach(CHECKPOINT), history=(ATTEMPT, FAILED)))

    with pytest.raises(StorageError, match=r"does not read back as it was: .*sync_users"):
        require_copied(source, whole(source), read("other", found))
