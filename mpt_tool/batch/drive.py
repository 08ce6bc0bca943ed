"""Drives a batch migration: over all of its items, over those that failed, over some.

The way of an item: a walk takes it from its source, an executor processes it, and it is settled
here: counted, or noted among the failures, and the checkpoint moves past it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from mpt_tool.batch.checkpoints import Checkpoints, Save, Tally
from mpt_tool.batch.executors import Process, Task, executor_of, sound
from mpt_tool.batch.items import (
    Budget,
    failed_item,
    failure_log,
    items_after,
    name_of,
    outcomes_of,
    with_cursors,
)
from mpt_tool.batch.loop import EventLoop
from mpt_tool.batch.walk import Walk, bundle_size, tasks_of, window_size
from mpt_tool.clients.limiter import was_not_begun
from mpt_tool.errors import ScriptError, StorageError
from mpt_tool.migration import BatchMigration
from mpt_tool.migration.steps import Steps, attach
from mpt_tool.process.item import in_hand
from mpt_tool.process.unawaited import require_awaited
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.redaction import Redact
from mpt_tool.wording import as_text, in_items


class ItemError(Exception):
    """An item failed for good: the message describes it, the cause is what `process` raised."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch migration at work.

    Args:
        migration: what is driven.
        checkpoints: where it begins, and what keeps how far it comes.
        loop: the event loop of what is asynchronous in it.
        is_stopped: whether to begin no further item.
        redact: takes secrets out of what is kept.
    """

    migration: BatchMigration[Any]
    checkpoints: Checkpoints
    loop: EventLoop
    is_stopped: Callable[[], bool]
    redact: Redact

    def prepare(self) -> bool:
        """Let the author prepare what all items need, with durable steps.

        Returns:
            Whether it is prepared: not if a request would have had to wait, and the run is to stop.

        Raises:
            Exception: what a save failed with.
            BaseException: what the author's code raised.
        """
        try:
            _prepare(self.migration, self.checkpoints.steps, self.loop)
        except BaseException as error:
            if was_not_begun(error):
                return False
            raise
        return True


@contextmanager
def all_items(batch: Batch, budget: Budget) -> Iterator[Walk]:
    """Return a walk over the items after the checkpoint, as many as there is a budget for.

    Saved are checkpoints on the way and one before an error is raised, not where the walk ends.

    Raises:
        ItemError: an item failed for good, and that ends the walk.
        ScriptError: a cursor is no JSON value.
        StorageError: what was to be kept could not be.
        BaseException: what else the author's code raised.
    """
    migration, checkpoints = batch.migration, batch.checkpoints
    collects, log_failure = migration.on_error == "collect", failure_log(batch.redact)

    def settle(task: Task) -> None:
        error = task.error
        if error is None:
            checkpoints.move_past(task.cursor, outcomes_of(task, batch.redact))
            return
        name = name_of(migration, *(task.parts[0] if task.parts else (task.item, task.cursor)))
        if _ends_any(error) or not (collects and isinstance(error, Exception)):
            raise ItemError(name) from error
        log_failure(name, error)
        checkpoints.move_past_failed(failed_item(task.cursor, error, batch.redact))
        if _has_failed_too_often(migration, checkpoints.tally):
            many = f"{in_items(checkpoints.tally.failed)} failed, more than max_failures"
            raise ItemError(f"{name}, as {many}") from error

    source = budget.share_of(with_cursors(migration, checkpoints.cursor, batch.loop))
    tasks = tasks_of(migration, source)
    process = migration.process_many if migration.handles_many() else migration.process
    with checkpoints.saved_in_time(), _walk(batch, tasks, process, settle, collects) as walk:
        yield walk


@contextmanager
def failed_items(batch: Batch, failures: Sequence[FailedItem]) -> Iterator[Walk]:
    """Return a walk over the failed items of the checkpoint; those that fail again are kept.

    Raises:
        ScriptError: the migration has no `find`.
        ItemError: an item ended the walk by something that is no `Exception`.
    """
    checkpoints, log_failure = batch.checkpoints, failure_log(batch.redact)

    def settle(task: Task) -> None:
        if task.error is None:
            checkpoints.settle_first_failure(task.cursor, None, outcomes_of(task, batch.redact))
            return
        if _ends_any(task.error) or not isinstance(task.error, Exception):
            raise ItemError(as_text(task.cursor)) from task.error
        log_failure(as_text(task.cursor), task.error)
        failed = failed_item(task.cursor, task.error, batch.redact)
        checkpoints.settle_first_failure(task.cursor, failed)

    tasks = _tasks_of([failure.cursor for failure in failures])
    process = _finding(batch)
    with checkpoints.saved_in_time(), _walk(batch, tasks, process, settle, True) as walk:
        yield walk


@contextmanager
def some_items(batch: Batch, cursors: Sequence[Any]) -> Iterator[Walk]:
    """Return a walk over the items of these cursors alone; no cursor moves.

    Raises:
        ScriptError: the migration has no `find`.
        ItemError: an item failed for good, and that ends the walk.
    """

    def settle(task: Task) -> None:
        if task.error is not None:
            raise ItemError(as_text(task.cursor)) from task.error
        batch.checkpoints.count(outcomes_of(task, batch.redact))

    with _walk(batch, _tasks_of(cursors), _finding(batch), settle, False) as walk:
        yield walk


@contextmanager
def _walk(
    batch: Batch,
    tasks: Iterator[Task],
    process: Process,
    settle: Callable[[Task], None],
    collects: bool,
) -> Iterator[Walk]:
    migration, loop, is_stopped = batch.migration, batch.loop, batch.is_stopped
    name = partial(name_of, migration)
    with executor_of(process, migration.workers, loop, name, is_stopped) as executor:
        yield Walk(migration, tasks, executor, settle, is_stopped, loop, collects=collects)


def _prepare(migration: BatchMigration[Any], steps: Steps, loop: EventLoop) -> None:
    attach(migration, steps)
    loop.result_of(sound(migration.prepare(), "prepare"))
    require_awaited()
    steps.require_kept()
    steps.are_of_items = True


def _finding(batch: Batch) -> Process:
    """Return a callable(cursor) that processes the item of a cursor.

    Raises:
        ScriptError: the migration has no `find`.
    """
    migration, loop = batch.migration, batch.loop
    if not migration.finds():
        name = type(migration).__name__
        raise ScriptError(
            f"{name} has no find(cursor), so no item can be found again: define it, and run this"
            " again"
        )

    def find_and_process(cursor: Any) -> Any:
        item: Any = loop.result_of(migration.find(cursor))
        if item is None:
            raise LookupError("find(cursor) found nothing")
        return _process_alone(migration, item)

    return find_and_process


def _tasks_of(cursors: Sequence[Any]) -> Iterator[Task]:
    return (Task(cursor, cursor) for cursor in cursors)


def _process_alone(migration: BatchMigration[Any], item: Any) -> Any:
    return migration.process_many([item]) if migration.handles_many() else migration.process(item)


def _ends_any(error: BaseException) -> bool:
    """Whether an error is none of its item: the script is wrong, or nothing can be kept."""
    return isinstance(error, ScriptError | StorageError)


@contextmanager
def preview(
    migration: BatchMigration[Any], checkpoint: Checkpoint | None
) -> Iterator[tuple[Iterator[Any], Callable[[Any], str | None]]]:
    """Return the items that a run would handle, and what handles one: at once, and just once.

    Durable steps are kept in memory alone.
    """
    with EventLoop() as loop:
        _prepare(migration, Steps(checkpoint.steps if checkpoint else ()), loop)

        def handle(item: Any) -> str | None:
            task = Task(item, migration.cursor(item))
            before = in_hand.set((task, partial(name_of, migration)))
            try:
                task.result = loop.result_of(sound(_process_alone(migration, item)))
            finally:
                in_hand.reset(before)
            [outcome] = outcomes_of(task, redact=str)
            return outcome

        yield items_after(migration, checkpoint.cursor if checkpoint else None, loop), handle


def begin_at(checkpoint: Checkpoint | None, now: datetime, checksum: str | None) -> Checkpoint:
    """Return where a run begins of the script of this checksum: at the checkpoint, if any."""
    begin = checkpoint or Checkpoint(cursor=None, processed=0, since=now)
    return begin.model_copy(update={"checksum": checksum, "done": False})


def checkpoints_of(
    migration: BatchMigration[Any],
    begin: Checkpoint,
    tally: Tally,
    save: Save,
    *,
    by_time_alone: bool = False,
) -> Checkpoints:
    """Return what keeps how far a migration is that begins at a checkpoint.

    Args:
        migration: what says how often one is saved.
        begin: where it begins.
        tally: what counts its items.
        save: keeps a checkpoint.
        by_time_alone: whether a save is too dear for one every `batch_size` items.
    """
    # A kill replays what is done beyond the checkpoint, in the window too.
    beyond = window_size(migration) * bundle_size(migration) - 1
    every = math.inf if by_time_alone else max(1, migration.batch_size - beyond)
    return Checkpoints(begin, tally, save, every, migration.checkpoint_seconds)


def _has_failed_too_often(migration: BatchMigration[Any], tally: Tally) -> bool:
    limit = migration.max_failures
    if isinstance(limit, float):
        # The share of the first few items tells nothing.
        enough = tally.handled >= migration.batch_size
        return enough and tally.failed > limit * tally.handled
    return tally.failed > limit
