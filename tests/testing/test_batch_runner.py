"""The runner for authors' tests, and with it how a batch migration is driven, in memory."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpt_tool.batch.checkpoints import Save, Tally
from mpt_tool.batch.drive import Batch, all_items, begin_at, checkpoints_of, failed_items
from mpt_tool.batch.items import Budget
from mpt_tool.batch.loop import EventLoop
from mpt_tool.errors import StorageError
from mpt_tool.migration import BatchDataMigration, BatchMigration
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.testing import BatchRunner, InjectedError

TOTAL = 10
ALL = list(range(1, TOTAL + 1))


class Numbers(BatchDataMigration[int]):
    """Walks over 1, 2 and so on to the total."""

    checkpoint_seconds: ClassVar[float] = 1000
    total = TOTAL

    def items(self, cursor: int | None) -> Iterator[int]:
        yield from range((cursor or 0) + 1, self.total + 1)

    def process(self, item: int) -> None:
        assert 1 <= item <= self.total

    def find(self, cursor: int) -> int:
        return cursor

    def count(self) -> int:
        return self.total


class AsyncNumbers(Numbers):
    """The same, beside others in an event loop."""

    async def process(self, item: int) -> None:  # type: ignore[override] # either is allowed
        await asyncio.sleep(0)


class Collecting(Numbers):
    """Goes on when an item fails."""

    on_error: ClassVar[Literal["stop", "collect"]] = "collect"


def make(kind: type[Numbers], **attributes: Any) -> BatchRunner:
    """Return a runner of a migration of this kind with these class attributes."""
    return BatchRunner(type("Migration", (kind,), attributes)())


# --- what authors use


def test_a_migration_whose_items_go_to_processes_stays_in_this_one() -> None:
    class InProcesses(Numbers):
        executor = "process"
        workers = 2

    runner = BatchRunner(InProcesses())

    runner.run()

    assert sorted(runner.processed) == ALL


def test_a_run_goes_to_the_end() -> None:
    runner = make(Numbers)

    runner.run()

    assert runner.processed == ALL
    runner.assert_all_processed(ALL)


def test_a_stopped_run_is_resumed_where_it_stopped() -> None:
    runner = make(Numbers)

    runner.run(stop_after=4)

    assert runner.checkpoint is not None
    assert (runner.checkpoint.cursor, runner.checkpoint.done) == (4, False)
    assert str(runner.checkpoint) == "4 of 10"
    runner.run()
    assert runner.processed == ALL


def test_a_crash_forgets_what_came_after_the_last_checkpoint() -> None:
    runner = make(Numbers, batch_size=3)

    runner.run(crash_after=5)

    assert runner.checkpoint is not None
    assert runner.checkpoint.cursor == 3
    runner.run()
    assert runner.processed == [1, 2, 3, 4, 5, *ALL[3:]]
    runner.assert_all_processed(ALL)


def test_a_crash_before_the_first_checkpoint_forgets_everything() -> None:
    runner = make(Numbers)

    runner.run(crash_after=2)

    assert runner.checkpoint is None


def test_an_item_that_is_told_to_fail_ends_the_run() -> None:
    runner = make(Numbers)

    with pytest.raises(InjectedError, match="3 was told to fail"):
        runner.run(fail={3})

    assert runner.checkpoint is not None
    assert runner.checkpoint.cursor == 2
    runner.run()
    assert runner.processed == ALL


def test_collected_items_are_retried() -> None:
    runner = make(Collecting)
    runner.run(fail={3, 5})

    runner.retry_failed(fail={5})
    assert [failure.cursor for failure in runner.failures] == [5]
    runner.retry_failed()

    assert runner.processed[-2:] == [3, 5]
    runner.assert_all_processed(ALL)


@pytest.mark.parametrize(
    ("happens", "complaint"),
    [
        (lambda runner: None, "nothing ran yet"),
        (lambda runner: runner.run(stop_after=4), "it stopped after 4 of 10"),
        (lambda runner: runner.run(fail={3}), "items failed: .*cursor=3"),
        (lambda runner: runner.run(), r"not processed: \[11, 12\]"),
    ],
)
def test_asserting_that_all_was_processed_tells_what_was_not(happens: Any, complaint: str) -> None:
    runner = make(Collecting)
    happens(runner)

    with pytest.raises(AssertionError, match=complaint):
        runner.assert_all_processed([*ALL, 11, 12])


@pytest.mark.parametrize(("stop_after", "crash_after"), [(-1, None), (None, -1), (1, 1)])
def test_a_run_that_cannot_be_meant_is_refused(
    stop_after: int | None, crash_after: int | None
) -> None:
    with pytest.raises(ValueError, match="use stop_after or crash_after"):
        make(Numbers).run(stop_after=stop_after, crash_after=crash_after)


def test_what_is_no_instance_of_a_batch_migration_is_refused() -> None:
    with pytest.raises(TypeError, match="is no instance of a batch migration"):
        BatchRunner(Numbers)  # type: ignore[arg-type] # that is the mistake


def test_retrying_before_anything_ran_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="nothing ran yet"):
        make(Numbers).retry_failed()


class Rows(Numbers):
    """Handles several at once."""

    many: ClassVar[int] = 4
    process = BatchDataMigration[int].process  # type: ignore[assignment] # it has none of its own

    def process_many(self, items: Sequence[int]) -> list[str | None]:
        return ["even" if item % 2 == 0 else None for item in items]


class AsyncRows(Rows):
    """The same, beside others in an event loop."""

    async def process_many(self, items: Sequence[int]) -> list[str | None]:  # type: ignore[override] # either is allowed
        await asyncio.sleep(0)
        return super().process_many(items)


def test_a_migration_is_prepared_counted_and_verified_in_memory() -> None:
    class Products(Numbers):
        targets = ("PRD-1", "PRD-2")
        verified = False

        def prepare(self) -> None:
            self.made = self.once("parameter", lambda: f"PAR-of-{self.target}")

        def process(self, item: int) -> str:  # type: ignore[override] # either is allowed
            return "odd" if item % 2 else f"for {self.made}"

        async def verify(self) -> None:
            self.verified = await asyncio.sleep(0, result=True)

    migration = Products()
    runner = BatchRunner(migration, target="PRD-2")

    runner.run(stop_after=3)
    runner.run()
    runner.verify()

    assert runner.checkpoint is not None
    assert runner.checkpoint.outcomes == {"odd": 5, "for PAR-of-PRD-2": 5}
    assert [(step.key, step.value) for step in runner.checkpoint.steps] == [
        ("parameter", "PAR-of-PRD-2")
    ]
    assert migration.verified


def test_what_was_made_once_is_not_made_again_after_a_crash() -> None:
    made: list[str] = []

    class Making(Numbers):
        def prepare(self) -> None:
            self.once("parameter", lambda: made.append("parameter"))

        def process(self, item: int) -> None:
            self.once("webhook", lambda: made.append(f"webhook of {item}"))

    runner = make(Making)

    runner.run(crash_after=2)
    runner.run()

    assert made.count("parameter") == 1
    assert sorted(made[1:]) == sorted(f"webhook of {item}" for item in ALL)


@pytest.mark.parametrize("kind", [Rows, AsyncRows])
def test_several_at_once_are_driven_in_memory(kind: type[Rows]) -> None:
    runner = make(kind)

    with pytest.raises(InjectedError, match="7 was told to fail"):
        runner.run(fail={7})
    assert runner.processed == ALL[:6]
    runner.run()

    assert runner.processed == ALL
    assert runner.checkpoint is not None
    assert runner.checkpoint.outcomes == {"even": 5}


# --- how it is driven


def drive(
    migration: BatchMigration[Any],
    save: Save = lambda *_: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Checkpoint:
    """Walk over the items from the first one on, and return how far that came."""
    begin = begin_at(None, datetime.now(UTC), None)
    checkpoints = checkpoints_of(migration, begin, Tally(), save)
    with EventLoop() as loop:
        batch = Batch(migration, checkpoints, loop, is_stopped, str)
        with all_items(batch, Budget()) as walk:
            is_done = walk.run()
    return checkpoints.reached()[0].model_copy(update={"done": is_done})


def test_no_item_is_begun_after_a_stop_though_one_before_is_still_in_flight() -> None:
    begun: list[int] = []
    was_begun = threading.Event()
    others_ended = threading.Event()

    class FirstIsSlow(Numbers):
        workers = 2

        def process(self, item: int) -> None:
            begun.append(item)
            if item == 1:
                # The other worker has handled as many as it may: it is not to take a further one.
                assert others_ended.wait(10)
                assert not was_begun.wait(0.1)
            elif item == 3:
                others_ended.set()
            elif item > 3:
                was_begun.set()

    runner = BatchRunner(FirstIsSlow())

    runner.run(stop_after=2)

    assert sorted(runner.processed) == [1, 2, 3]
    assert runner.checkpoint is not None
    assert runner.checkpoint.cursor == 3


@settings(deadline=None)
@given(st.sampled_from([Numbers, AsyncNumbers]), st.integers(1, 4), st.integers(0, 3 * TOTAL))
def test_a_stop_leaves_out_no_item_before_one_that_has_begun(
    kind: type[Numbers], workers: int, looks_before: int
) -> None:
    """That one would come again, although nothing crashed."""
    looks = itertools.count()
    runner = make(kind, workers=workers)

    reached = drive(runner.migration, is_stopped=lambda: next(looks) >= looks_before)

    assert sorted(runner.processed) == ALL[: reached.cursor or 0]


@pytest.mark.parametrize("kind", [Numbers, AsyncNumbers])
def test_items_in_flight_end_although_one_before_them_failed(kind: type[Numbers]) -> None:
    """They would be cut off in the middle else."""
    began, ended = threading.Event(), threading.Event()

    async def process_async(_self: Numbers, item: int) -> None:
        await asyncio.to_thread(process, _self, item)

    def process(_self: Numbers, item: int) -> None:
        if item == 1:
            assert began.wait(10)
            raise InjectedError
        began.set()
        ended.wait(0.1)
        ended.set()

    is_async = kind is AsyncNumbers
    runner = make(kind, total=2, workers=2, process=process_async if is_async else process)

    with pytest.raises(InjectedError):
        runner.run()

    assert runner.processed == [2]
    assert runner.checkpoint is None


@pytest.mark.parametrize("kind", [Numbers, AsyncNumbers])
def test_never_more_items_than_workers_are_in_flight(kind: type[Numbers]) -> None:
    in_flight: set[int] = set()
    too_many = threading.Event()
    all_busy = threading.Barrier(3)

    def process(_self: Numbers, item: int) -> None:
        in_flight.add(item)
        if len(in_flight) > 3:
            too_many.set()
        all_busy.wait(10)
        too_many.wait(0.05)
        in_flight.discard(item)

    async def process_async(_self: Numbers, item: int) -> None:
        await asyncio.to_thread(process, _self, item)

    is_async = kind is AsyncNumbers
    make(kind, total=6, workers=3, process=process_async if is_async else process).run()

    assert not too_many.is_set()


def test_a_bundle_is_saved_once_however_many_items_it_has() -> None:
    saved: list[int] = []

    drive(
        make(Rows, many=4, batch_size=2).migration,
        lambda checkpoint, _: saved.append(checkpoint.cursor),
    )

    assert saved == [4, 8, 10]


def test_a_save_that_fails_while_an_item_is_slow_ends_the_run_after_the_item() -> None:
    failed = threading.Event()
    saved: list[int] = []

    def save(checkpoint: Checkpoint, _: Sequence[FailedItem]) -> None:
        saved.append(checkpoint.cursor)
        if not failed.is_set():
            failed.set()
            raise StorageError("full")

    class SecondIsSlow(Numbers):
        checkpoint_seconds = 0.01

        def process(self, item: int) -> None:
            if item == 2:
                assert failed.wait(10)
                # The error is on its way to where it is raised.
                assert not threading.Event().wait(0.1)

    with pytest.raises(StorageError, match="full"):
        drive(SecondIsSlow(), save)

    assert saved == [1, 2]


def test_a_retry_is_saved_in_time_although_an_item_is_slow() -> None:
    saved: list[Checkpoint] = []
    first_saved = threading.Event()

    def save(checkpoint: Checkpoint, _: Sequence[FailedItem]) -> None:
        saved.append(checkpoint)
        first_saved.set()

    class SecondIsSlow(Collecting):
        checkpoint_seconds = 0.01

        def process(self, item: int) -> None:
            if item == 2:
                assert first_saved.wait(10)

    now = datetime.now(UTC)
    failures = [FailedItem(cursor=number, error="broken") for number in (1, 2)]
    checkpoint = Checkpoint(cursor=10, processed=8, failed=2, since=now)
    migration, tally = SecondIsSlow(), Tally.since(checkpoint)
    checkpoints = checkpoints_of(migration, checkpoint, tally, save, by_time_alone=True)
    with EventLoop() as loop:
        batch = Batch(migration, checkpoints, loop, lambda: False, str)
        with failed_items(batch, failures) as walk:
            walk.run()

    counts = [(each.processed, each.failed) for each in (saved[0], checkpoints.reached()[0])]
    assert counts == [(9, 1), (10, 0)]


@pytest.mark.parametrize("kind", [Numbers, AsyncNumbers])
def test_a_stop_is_noticed_before_a_further_try_even_without_a_pause(kind: type[Numbers]) -> None:
    tries: list[int] = []

    def process(_self: Numbers, item: int) -> None:
        tries.append(item)
        raise InjectedError

    async def process_async(_self: Numbers, item: int) -> None:
        process(_self, item)

    body = process_async if kind is AsyncNumbers else process
    attributes = {"attempts": 5, "retry_seconds": 0, "workers": 2, "process": body}
    migration = type("Migration", (kind,), attributes)()
    reached = drive(migration, is_stopped=lambda: bool(tries))

    assert (reached.done, reached.handled) == (False, 0)
    assert len(tries) <= 2


def test_a_cursor_is_kept_as_it_was_though_it_is_a_part_of_its_item() -> None:
    class Keyed(BatchDataMigration[list[int]]):
        def items(self, cursor: list[int] | None) -> Iterator[list[int]]:
            yield [1]

        def process(self, item: list[int]) -> None:
            item.append(2)

    runner = BatchRunner(Keyed())
    runner.run()

    assert runner.checkpoint is not None
    assert runner.checkpoint.cursor == [1]


def test_an_error_keeps_the_cause_that_the_author_gave_it() -> None:
    def process(_self: Numbers, item: int) -> None:
        raise InjectedError from KeyError(item)

    with pytest.raises(InjectedError) as failure:
        make(Numbers, process=process).run()

    assert isinstance(failure.value.__cause__, KeyError)


def test_what_ends_a_retry_is_raised_as_it_is() -> None:
    def process(_self: Numbers, item: int) -> None:
        raise SystemExit(7)

    runner = make(Collecting)
    runner.run(fail={3})
    vars(runner.migration)["process"] = process.__get__(runner.migration)

    with pytest.raises(SystemExit):
        runner.retry_failed()


class Changing(BatchDataMigration[dict[str, int]]):
    """Walks over items that `process` changes."""

    on_error: ClassVar[Literal["stop", "collect"]] = "collect"

    def items(self, cursor: int | None) -> Iterator[dict[str, int]]:
        yield from ({"id": number} for number in range((cursor or 0) + 1, TOTAL + 1))

    def process(self, item: dict[str, int]) -> None:
        if item.pop("id") == 3:
            raise ValueError("no")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_item_has_the_cursor_that_it_had_before_it_was_processed(workers: int) -> None:
    runner = BatchRunner(type("Migration", (Changing,), {"workers": workers})())

    runner.run()

    assert runner.checkpoint is not None
    assert runner.checkpoint.cursor == TOTAL
    assert [(each.cursor, each.error) for each in runner.failures] == [(3, "no")]
    assert sorted(runner.processed) == [number for number in ALL if number != 3]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("workers", [0, -1, True, 2.0, "4"]),
        ("batch_size", [0, 1.5, None]),
        ("checkpoint_seconds", [-1, float("inf"), float("nan"), "5"]),
        ("on_error", ["ignore", None]),
        ("max_failures", [-1, 1.5, -0.1, float("nan"), "5"]),
        ("attempts", [0, 2.0]),
        ("retry_on", [KeyError, (1,), (BaseException,), [KeyError]]),
        ("retry_seconds", [-2, float("inf")]),
        ("max_per_second", [-1, float("nan"), "100"]),
        ("max_requests_per_second", [-1, float("inf")]),
        ("many", [0, True, 10.0]),
    ],
)
def test_an_attribute_that_makes_no_sense_is_refused_with_what_to_use(
    name: str, values: list[object]
) -> None:
    for value in values:
        with pytest.raises(TypeError, match=rf"^{name} of Migration is .*: use "):
            make(Numbers, **{name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("workers", [1, 64]),
        ("checkpoint_seconds", [0, 0.5, 10**12]),
        ("max_failures", [0, 10**9, 0.0, 0.05, 1.0]),
        ("retry_on", [(), (KeyError, OSError)]),
        ("max_per_second", [0, 0.1, 100]),
    ],
)
def test_an_attribute_that_makes_sense_is_taken(name: str, values: list[object]) -> None:
    for value in values:
        make(Numbers, **{name: value})


KINDS = st.sampled_from([Numbers, AsyncNumbers])
INTERRUPTIONS = st.lists(
    st.tuples(st.sampled_from(["stop", "crash", "fail"]), st.integers(0, TOTAL)), max_size=6
)


@given(KINDS, st.integers(1, 4), st.integers(1, 7), st.integers(0, TOTAL), INTERRUPTIONS)
def test_whatever_interrupts_it_everything_is_processed_and_little_again(
    kind: type[Numbers],
    workers: int,
    batch_size: int,
    total: int,
    interruptions: list[tuple[str, int]],
) -> None:
    runner = make(kind, total=total, workers=workers, batch_size=batch_size)
    reached = 0
    for what, number in interruptions:
        interrupt(runner, what, number)
        reached = require_progress(runner, reached)
    runner.run()

    runner.assert_all_processed(range(1, total + 1))
    at_most_again = batch_size - 1 if workers == 1 else max(batch_size, workers)
    again = len(runner.processed) - total
    # A stop leaves nothing that comes again.
    assert again <= at_most_again * sum(what != "stop" for what, _ in interruptions)
    if workers == 1:
        assert in_order(runner.processed)


def interrupt(runner: BatchRunner, what: str, number: int) -> None:
    """Run until something ends it after so many items, or at the item of that number."""
    with suppress(InjectedError):
        match what:
            case "stop":
                runner.run(stop_after=number)
            case "crash":
                runner.run(crash_after=number)
            case _:
                runner.run(fail={number})


def require_progress(runner: BatchRunner, reached: int) -> int:
    """Return the cursor: never before the last one, and all up to it was processed."""
    if runner.checkpoint is None:
        assert reached == 0
        return 0
    cursor: int = runner.checkpoint.cursor or 0
    assert reached <= cursor == runner.checkpoint.processed
    assert set(range(1, cursor + 1)) <= set(runner.processed)
    return cursor


def in_order(processed: list[int]) -> bool:
    """Whether each item came after the one before it, or after a step back to a checkpoint."""
    return all(later <= earlier + 1 for earlier, later in itertools.pairwise(processed))


@given(st.integers(1, 4), st.sets(st.integers(1, TOTAL)), st.integers(0, TOTAL), st.data())
def test_whatever_fails_is_collected_and_ends_as_processed_once_it_can(
    workers: int, failing: set[int], stop_after: int, data: st.DataObject
) -> None:
    runner = make(Collecting, workers=workers, batch_size=1)
    runner.run(stop_after=stop_after, fail=failing)
    runner.run(fail=failing)
    assert runner.checkpoint is not None
    assert [failure.cursor for failure in runner.failures] == sorted(failing)
    assert runner.checkpoint.failed == len(failing)

    still_failing = data.draw(st.sets(st.sampled_from(sorted(failing)))) if failing else set()
    runner.retry_failed(fail=still_failing)
    assert {failure.cursor for failure in runner.failures} == still_failing
    runner.retry_failed()

    runner.assert_all_processed(ALL)
    assert (runner.checkpoint.processed, runner.checkpoint.failed) == (TOTAL, 0)


@settings(deadline=None)
@given(
    st.sampled_from([Rows, AsyncRows]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 6),
    st.sets(st.integers(1, TOTAL)),
    st.lists(st.tuples(st.sampled_from(["stop_after", "crash_after"]), st.integers(0, TOTAL))),
)
def test_whatever_fails_of_several_at_once_is_told_apart_and_nothing_is_skipped(
    kind: type[Rows],
    workers: int,
    many: int,
    batch_size: int,
    failing: set[int],
    interruptions: list[tuple[str, int]],
) -> None:
    attributes = {"on_error": "collect", "workers": workers, "many": many, "batch_size": batch_size}
    runner = make(kind, **attributes)
    for what, number in interruptions:
        runner.run(**{what: number}, fail=failing)
        require_settled(runner, failing)
    runner.run(fail=failing)
    assert require_settled(runner, failing) == TOTAL
    again = len(runner.processed) - len(set(runner.processed))
    # At a stop those are left that wait to be handled alone, with what workers did after them.
    leaves_some = bool(failing) and workers > 1
    ends = sum(what == "crash_after" or leaves_some for what, _ in interruptions)
    assert again <= ends * max(batch_size, many * workers)

    runner.retry_failed()

    runner.assert_all_processed(ALL)
    assert runner.checkpoint is not None
    assert (runner.checkpoint.processed, runner.checkpoint.outcomes) == (TOTAL, {"even": 5})


def require_settled(runner: BatchRunner, failing: set[int]) -> int:
    """Return the cursor: all up to it were processed, but those that failed, and these are kept."""
    if runner.checkpoint is None:
        return 0
    cursor: int = runner.checkpoint.cursor or 0
    behind = set(range(1, cursor + 1))
    assert behind - failing <= set(runner.processed)
    assert [failure.cursor for failure in runner.failures] == sorted(behind & failing)
    assert (runner.checkpoint.processed, runner.checkpoint.failed) == (
        len(behind - failing),
        len(behind & failing),
    )
    return cursor
