"""Drives a batch migration: over all of its items, over those that failed, over some.

The way of an item: a walk takes it from its source, an executor processes it, and it is settled
here: counted, or noted among the failures, and the checkpoint moves past it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mpt_tool.batch.checkpoints import Checkpoints, Save, Tally
from mpt_tool.batch.executors import Executor, Inline, Process, Task, executor_of, sound
from mpt_tool.batch.items import (
    Budget,
    failed_item,
    failure_log,
    finding,
    items_after,
    name_of,
    outcomes_of,
    process_alone,
    processing,
    with_cursors,
)
from mpt_tool.batch.loop import EventLoop
from mpt_tool.batch.portable import Elsewhere, require_portable
from mpt_tool.batch.walk import Walk, bundle_size, tasks_of, window_size
from mpt_tool.batch.watch import watched
from mpt_tool.clients.limiter import was_not_begun
from mpt_tool.errors import ScriptError, StorageError
from mpt_tool.migration import BatchMigration
from mpt_tool.migration.steps import attach
from mpt_tool.process.log import get_log
from mpt_tool.process.unawaited import require_awaited
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.redaction import Redact
from mpt_tool.reporting import Reporter, Silent
from mpt_tool.wording import as_text, in_items

log = get_log(__name__)


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
        reporter: is told of slow and failed items, if it is to be.
        elsewhere: how other processes take part, if any can.
    """

    migration: BatchMigration[Any]
    checkpoints: Checkpoints
    loop: EventLoop
    is_stopped: Callable[[], bool]
    redact: Redact
    reporter: Reporter = field(default_factory=Silent)
    elsewhere: Elsewhere | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether its items are processed in other processes."""
        return self.elsewhere is not None and self.migration.executor == "process"

    def prepare(self) -> bool:
        """Let the author prepare what all items need, with durable steps.

        Returns:
            Whether it is prepared: not if a request would have had to wait, and the run is to stop.

        Raises:
            Exception: what a save failed with.
            ScriptError: items are to be processed elsewhere, and what is used cannot be there.
            BaseException: what the author's code raised.
        """
        if self.is_elsewhere:
            require_portable(self.migration)
        steps = self.checkpoints.steps
        attach(self.migration, steps)
        try:
            self.loop.result_of(sound(self.migration.prepare(), "prepare"))
        except BaseException as error:
            if was_not_begun(error):
                return False
            raise
        require_awaited()
        steps.require_kept()
        steps.are_of_items = True
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
        if task.error is None:
            checkpoints.move_past(task.cursor, outcomes_of(task, batch.redact))
            return
        name = name_of(migration, *(task.parts[0] if task.parts else (task.item, task.cursor)))
        if not collects:
            raise ItemError(name) from task.error
        checkpoints.move_past_failed(_failed(batch, task, task.error, name, log_failure))
        if _has_failed_too_often(migration, checkpoints.tally):
            many = f"{in_items(checkpoints.tally.failed)} failed, more than max_failures"
            raise ItemError(f"{name}, as {many}") from task.error

    source = budget.share_of(with_cursors(migration, checkpoints.cursor, batch.loop))
    tasks = tasks_of(migration, source)
    with _walk(batch, tasks, settle, collects=collects) as walk, checkpoints.saved_in_time():
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
            outcomes = outcomes_of(task, batch.redact)
            checkpoints.settle_first_failure(task.cursor, None, outcomes)
            return
        failed = _failed(batch, task, task.error, as_text(task.cursor), log_failure)
        checkpoints.settle_first_failure(task.cursor, failed, ())

    tasks = _tasks_of([failure.cursor for failure in failures])
    with _walk(batch, tasks, settle, finds=True) as walk, checkpoints.saved_in_time():
        yield walk


@contextmanager
def some_items(batch: Batch, cursors: Sequence[Any], failures: list[FailedItem]) -> Iterator[Walk]:
    """Return a walk over the items of these cursors alone; no cursor moves.

    Those that fail are added to the failures.

    Raises:
        ScriptError: the migration has no `find`.
        ItemError: an item ended the walk by something that is no `Exception`.
    """
    log_failure = failure_log(batch.redact)

    def settle(task: Task) -> None:
        if task.error is None:
            batch.checkpoints.count(outcomes_of(task, batch.redact))
            return
        name = as_text(task.cursor)
        failures.append(_failed(batch, task, task.error, name, log_failure))
        batch.checkpoints.tally.failed += 1

    with _walk(batch, _tasks_of(cursors), settle, finds=True) as walk:
        yield walk


@contextmanager
def _walk(
    batch: Batch,
    tasks: Iterator[Task],
    settle: Callable[[Task], None],
    *,
    collects: bool = True,
    finds: bool = False,
) -> Iterator[Walk]:
    migration, loop, is_stopped = batch.migration, batch.loop, batch.is_stopped
    with _executor(batch, collects=collects, finds=finds) as executor:
        yield Walk(migration, tasks, executor, settle, is_stopped, loop, collects=collects)


def _executor(batch: Batch, *, collects: bool, finds: bool) -> AbstractContextManager[Executor]:
    """Return what processes items: here, or in the processes that the migration asks for."""
    migration, loop = batch.migration, batch.loop
    process = finding(migration, loop) if finds else processing(migration)
    name = partial(name_of, migration)
    if batch.is_elsewhere:
        from mpt_tool.batch.processes import processes_of
        from mpt_tool.batch.worker import Job

        assert batch.elsewhere
        shared = [step for step in batch.checkpoints.steps.kept() if step.cursor is None]
        job = Job(
            batch.elsewhere.load,
            shared,
            finds,
            collects,
            log.getEffectiveLevel(),
            migration.max_requests_per_second,
        )
        return processes_of(
            job,
            batch.elsewhere,
            migration.workers,
            window_size(migration),
            name,
            batch.is_stopped,
            batch.reporter,
        )
    if batch.reporter.slow_seconds is not None:
        process = watched(process, batch.reporter)
    return executor_of(process, migration.workers, loop, name, batch.is_stopped)


def _tasks_of(cursors: Sequence[Any]) -> Iterator[Task]:
    return (Task(cursor, cursor) for cursor in cursors)


def _failed(
    batch: Batch,
    task: Task,
    error: BaseException,
    name: str,
    log_failure: Callable[[str, BaseException], None],
) -> FailedItem:
    """Return what is kept of an item that failed, having logged it.

    Raises:
        ItemError: that is none of its item: the script is wrong, nothing can be kept, or it exits.
    """
    if isinstance(error, ScriptError | StorageError) or not isinstance(error, Exception):
        raise ItemError(name) from error
    log_failure(name, error)
    batch.checkpoints.tally.last_error = error
    return failed_item(task.cursor, error, batch.redact)


@dataclass(frozen=True, slots=True)
class Previewed:
    """An item that a run would handle, or that failed before.

    Args:
        name: what messages call it.
        handle: handles it, just once; returns the outcome.
        has_failed: whether it failed before.
    """

    name: str
    handle: Callable[[], str | None]
    has_failed: bool = False


@contextmanager
def preview(
    migration: BatchMigration[Any], checkpoint: Checkpoint | None, failures: Sequence[FailedItem]
) -> Iterator[Iterator[Previewed]]:
    """Return the items that a run would handle, and after them those that failed.

    Durable steps are kept in memory alone.

    Args:
        migration: whose items they are.
        checkpoint: where it begins; None at its first item.
        failures: the failed items, if they are wanted; the migration has to have a `find`.
    """
    begin = begin_at(checkpoint, datetime.now(UTC), None)
    not_passed = dict(enumerate(failures, begin.retried))
    checkpoints = Checkpoints(begin, Tally(), lambda *_: None, math.inf, math.inf, not_passed)
    with EventLoop() as loop:
        batch = Batch(migration, checkpoints, loop, lambda: False, redact=str)
        batch.prepare()

        def handle(process: Process, task: Task) -> str | None:
            executor = Inline(process, loop, partial(name_of, migration))
            executor.begin(task)
            if task.error:
                raise task.error
            [outcome] = outcomes_of(task, batch.redact)
            return outcome

        def items() -> Iterator[Previewed]:
            process = partial(process_alone, migration)
            for item in items_after(migration, begin.cursor, loop):
                task = Task(item, migration.cursor(item))
                name = name_of(migration, item, task.cursor)
                yield Previewed(name, partial(handle, process, task))
            for task in _tasks_of([failure.cursor for failure in failures]):
                again = partial(handle, finding(migration, loop), task)
                yield Previewed(as_text(task.cursor), again, has_failed=True)

        yield items()


def begin_at(checkpoint: Checkpoint | None, now: datetime, checksum: str | None) -> Checkpoint:
    """Return where a run begins of the script of this checksum: at the checkpoint, if any."""
    begin = checkpoint or Checkpoint(cursor=None, processed=0, since=now)
    return begin.model_copy(update={"checksum": checksum, "tried": False})


def checkpoints_of(
    migration: BatchMigration[Any],
    begin: Checkpoint,
    tally: Tally,
    save: Save,
    not_passed: Mapping[int, FailedItem] | None = None,
    *,
    by_time_alone: bool = False,
) -> Checkpoints:
    """Return what keeps how far a migration is that begins at a checkpoint.

    Args:
        migration: what says how often one is saved.
        begin: where it begins.
        tally: what counts its items.
        save: keeps a checkpoint.
        not_passed: the items that failed before and whose durable steps still hold, by number.
        by_time_alone: whether a save is too dear for one every `batch_size` items.
    """
    # A kill replays what is done beyond the checkpoint, in the window too.
    beyond = window_size(migration) * bundle_size(migration) - 1
    every = math.inf if by_time_alone else max(1, migration.batch_size - beyond)
    return Checkpoints(begin, tally, save, every, migration.checkpoint_seconds, not_passed)


def _has_failed_too_often(migration: BatchMigration[Any], tally: Tally) -> bool:
    limit = migration.max_failures
    if isinstance(limit, float):
        # The share of the first few items tells nothing.
        enough = tally.handled >= migration.batch_size
        return enough and tally.failed > limit * tally.handled
    return tally.failed > limit
