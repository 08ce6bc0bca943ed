"""For authors of batch migrations: drives one in memory."""

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from typing import Any

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.batch.drive import (
    Batch,
    ItemError,
    all_items,
    begin_at,
    checkpoints_of,
    failed_items,
)
from mpt_tool.batch.items import Budget, total_of
from mpt_tool.batch.loop import EventLoop
from mpt_tool.batch.walk import Walk
from mpt_tool.migration import BatchMigration
from mpt_tool.process.item import in_hand
from mpt_tool.records import Checkpoint, FailedItem


class InjectedError(Exception):
    """What an item fails with that was told to fail."""


class BatchRunner:
    """Drives a batch migration as the tool does, but keeps its checkpoint in memory.

    Args:
        migration: what is driven; its `process`, or `process_many`, is watched from now on.
        target: the one of its targets that it is driven for, if it has any.

    `checkpoint` is where it stands, `failures` are the items that failed. `processed` are the
    cursors of the items that were handled without an error, in the order in which they were; those
    that came again are there twice.
    """

    def __init__(self, migration: BatchMigration[Any], target: str = "") -> None:
        if not isinstance(migration, BatchMigration):
            raise TypeError(f"{migration!r} is no instance of a batch migration")
        self.migration = migration
        self.checkpoint: Checkpoint | None = None
        self.failures: list[FailedItem] = []
        self.processed: list[Any] = []
        self._failing: Collection[Any] = ()
        if migration.targets and not target:
            raise ValueError(f"{type(migration).__name__} has targets: say for which by target=")
        migration.target = target
        if migration.handles_many():
            vars(migration)["process_many"] = self._watched(migration.process_many, list)
        else:
            vars(migration)["process"] = self._watched(migration.process, lambda item: [item])

    def run(
        self,
        *,
        stop_after: int | None = None,
        crash_after: int | None = None,
        fail: Collection[Any] = (),
    ) -> None:
        """Go on from the checkpoint: to the end, unless something ends it before.

        Args:
            stop_after: stop as at SIGTERM, once so many items were handled in this run.
            crash_after: die as at SIGKILL, once so many items were handled in this run: what came
                after the last checkpoint is forgotten.
            fail: the cursors of items that are to fail.

        Raises:
            ValueError: a number makes no sense.
            Exception: what an item failed with, if that ended the run.
        """
        self._failing = fail
        limit = stop_after if crash_after is None else crash_after
        if limit is not None and (limit < 0 or None not in (stop_after, crash_after)):
            raise ValueError("use stop_after or crash_after, with a number from 0 on")
        end = None if limit is None else len(self.processed) + limit

        def is_stopped() -> bool:
            return end is not None and len(self.processed) >= end

        reached, is_done = self._drive(lambda batch: all_items(batch, Budget()), is_stopped)
        if crash_after is None:
            self._save(*reached, done=is_done)

    def retry_failed(self, *, fail: Collection[Any] = ()) -> None:
        """Handle just the items that failed, as `--retry-failed` does.

        Args:
            fail: the cursors of items that are to fail again.
        """
        assert self.checkpoint is not None, "nothing ran yet"
        self._failing, done = fail, self.checkpoint.done
        failures = self.failures
        reached, _ = self._drive(lambda batch: failed_items(batch, failures), lambda: False)
        self._save(*reached, done=done)

    def verify(self) -> None:
        """Call `verify`, as the tool does at the end.

        Raises:
            Exception: what it raised.
        """
        with EventLoop() as loop:
            loop.result_of(self.migration.verify())

    def assert_all_processed(self, cursors: Iterable[Any]) -> None:
        """Assert that the migration is at its end, and handled the items of these cursors."""
        assert self.checkpoint is not None, "nothing ran yet"
        assert self.checkpoint.done, f"it stopped after {self.checkpoint}"
        assert not self.failures, f"items failed: {self.failures}"
        missing = [cursor for cursor in cursors if cursor not in self.processed]
        assert not missing, f"not processed: {missing}"

    def _drive(
        self,
        walk_over: Callable[[Batch], AbstractContextManager[Walk]],
        is_stopped: Callable[[], bool],
    ) -> tuple[tuple[Checkpoint, Sequence[FailedItem]], bool]:
        """Return how far a walk over items came, and whether none of them is left.

        Raises:
            BaseException: what an item failed with, if that ended the walk.
        """
        try:
            with self._batch(is_stopped) as batch, walk_over(batch) as walk:
                is_done = walk.run()
            return batch.checkpoints.reached(), is_done
        except ItemError as error:
            failure = error.__cause__
        assert failure
        # Here, so that it has no other context than the one that it came with.
        raise failure

    @contextmanager
    def _batch(self, is_stopped: Callable[[], bool]) -> Iterator[Batch]:
        """Return the migration at work, prepared, from the checkpoint on."""
        begin = begin_at(self.checkpoint, datetime.now(UTC), checksum=None)
        tally = Tally.since(self.checkpoint)
        not_passed = dict(enumerate(self.failures, begin.retried))
        checkpoints = checkpoints_of(self.migration, begin, tally, self._save, not_passed)
        with EventLoop() as loop:
            batch = Batch(self.migration, checkpoints, loop, is_stopped, redact=str)
            batch.prepare()
            tally.total = total_of(self.migration, loop)
            yield batch

    def _save(
        self, checkpoint: Checkpoint, failed: Sequence[FailedItem], *, done: bool = False
    ) -> None:
        self.failures = [*self.failures, *failed][-checkpoint.failed :] if checkpoint.failed else []
        self.checkpoint = checkpoint.model_copy(update={"done": done})

    def _watched(
        self, process: Callable[[Any], Any], items_of: Callable[[Any], Sequence[Any]]
    ) -> Callable[[Any], Any]:
        if inspect.iscoroutinefunction(process):

            async def watched_in_loop(given: Any) -> Any:
                cursors = self._sound_cursors(items_of(given))
                result = await process(given)
                self.processed += cursors
                return result

            return watched_in_loop

        def watched(given: Any) -> Any:
            cursors = self._sound_cursors(items_of(given))
            result = process(given)
            self.processed += cursors
            return result

        return watched

    def _sound_cursors(self, items: Sequence[Any]) -> list[Any]:
        """Return the cursors of items, unless one was told to fail."""
        task, _ = in_hand.get() or (None, None)
        if task and not task.parts:
            # An item that was found again may tell another cursor than the one it was found by.
            cursors = [task.cursor]
        else:
            cursors = [self.migration.cursor(item) for item in items]
        for item, cursor in zip(items, cursors, strict=True):
            if cursor in self._failing:
                raise InjectedError(f"{self.migration.describe(item)} was told to fail")
        return cursors
