"""For authors of batch migrations: drives one in memory."""

import inspect
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import Any

from mpt_tool.batch.checkpoints import Checkpoints, Tally
from mpt_tool.batch.drive import ItemError, all_items, begin_at, checkpoints_of, failed_items
from mpt_tool.batch.items import total_of
from mpt_tool.migration import BatchDataMigration
from mpt_tool.records import Checkpoint


class InjectedError(Exception):
    """What an item fails with that was told to fail."""


class BatchRunner:
    """Drives a batch migration as the tool does, but keeps its checkpoint in memory.

    Args:
        migration: what is driven; its `process` is watched from now on.

    `checkpoint` is where it stands. `processed` are the cursors of the items that `process` handled
    without an error, in the order in which it did; those that came again are there twice.
    """

    def __init__(self, migration: BatchDataMigration[Any]) -> None:
        if not isinstance(migration, BatchDataMigration):
            raise TypeError(f"{migration!r} is no instance of a batch migration")
        self.migration = migration
        self.checkpoint: Checkpoint | None = None
        self.processed: list[Any] = []
        self._failing: Collection[Any] = ()
        vars(migration)["process"] = self._watched(migration.process)

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
        failure, checkpoints = None, self._checkpoints()
        try:
            with all_items(
                self.migration,
                checkpoints,
                lambda: end is not None and len(self.processed) >= end,
                redact=str,
            ) as walk:
                is_done = walk.run()
        except ItemError as error:
            failure = error.__cause__
        # Here, so that it has no other context than the one that it came with.
        if failure:
            raise failure
        if crash_after is None:
            self.checkpoint = checkpoints.current().model_copy(update={"done": is_done})

    def retry_failed(self, *, fail: Collection[Any] = ()) -> None:
        """Handle just the items that failed, as `--retry-failed` does.

        Args:
            fail: the cursors of items that are to fail again.
        """
        assert self.checkpoint is not None, "nothing ran yet"
        self._failing = fail
        checkpoints, done = self._checkpoints(), self.checkpoint.done
        with failed_items(self.migration, checkpoints, lambda: False, redact=str) as walk:
            walk.run()
        self.checkpoint = checkpoints.current().model_copy(update={"done": done})

    def assert_all_processed(self, cursors: Iterable[Any]) -> None:
        """Assert that the migration is at its end, and handled the items of these cursors."""
        assert self.checkpoint is not None, "nothing ran yet"
        assert self.checkpoint.done, f"it stopped after {self.checkpoint}"
        assert not self.checkpoint.failures, f"items failed: {self.checkpoint.failures}"
        missing = [cursor for cursor in cursors if cursor not in self.processed]
        assert not missing, f"not processed: {missing}"

    def _checkpoints(self) -> Checkpoints:
        begin = begin_at(self.checkpoint, datetime.now(UTC), checksum=None)
        tally = Tally.since(self.checkpoint)
        tally.total = total_of(self.migration)
        return checkpoints_of(self.migration, begin, tally, self._save)

    def _save(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def _watched(self, process: Callable[[Any], Any]) -> Callable[[Any], Any]:
        if inspect.iscoroutinefunction(process):

            async def watched_in_loop(item: Any) -> None:
                cursor = self._sound_cursor(item)
                await process(item)
                self.processed.append(cursor)

            return watched_in_loop

        def watched(item: Any) -> None:
            cursor = self._sound_cursor(item)
            process(item)
            self.processed.append(cursor)

        return watched

    def _sound_cursor(self, item: Any) -> Any:
        """Return the cursor of an item, unless that was told to fail."""
        cursor = self.migration.cursor(item)
        if cursor in self._failing:
            raise InjectedError(f"{self.migration.describe(item)} was told to fail")
        return cursor
