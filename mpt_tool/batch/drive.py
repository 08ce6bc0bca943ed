"""Drives a batch migration: item by item, from checkpoint to checkpoint, until it is told to stop.

One walk drives all: it takes items from a source, begins each in its turn, tries it again if that
may help, and settles them in their order. So the checkpoint is the cursor of the last item that is
settled, and all before it are done. Pace, tries, stop and checkpoints are with the walk; an
executor only processes items.
"""

import heapq
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from queue import Empty
from typing import Any

from mpt_tool.batch.checkpoints import Checkpoints, Tally
from mpt_tool.batch.executors import Executor, Inline, Process, Task, executor_of, sound
from mpt_tool.batch.items import failed_item, failure_log, items_after, name_of, with_cursors
from mpt_tool.batch.loop import EventLoop
from mpt_tool.clients.limiter import LONGEST_SLEEP_SECONDS, Limiter, NotBegunError
from mpt_tool.errors import ScriptError
from mpt_tool.migration.batch import BatchDataMigration
from mpt_tool.records import Checkpoint
from mpt_tool.redaction import Redact
from mpt_tool.wording import in_items

# How many items each worker has in store, so that none is idle while the first is slow.
_WINDOW_A_WORKER = 4
_LONGEST_PAUSE_SECONDS = 60.0

type Source = Iterator[tuple[Any, Any]]
type Stopped = Callable[[], bool]


class ItemError(Exception):
    """An item failed for good: the message describes it, the cause is what `process` raised."""


@contextmanager
def all_items(
    migration: BatchDataMigration[Any],
    checkpoints: Checkpoints,
    is_stopped: Stopped,
    redact: Redact,
) -> Iterator["Walk"]:
    """Return a walk over the items after a checkpoint.

    Saved are checkpoints on the way and one before an error is raised, not where the walk ends.

    Args:
        migration: what is driven.
        checkpoints: where it begins, and what keeps how far it comes.
        is_stopped: whether to begin no further item.
        redact: takes secrets out of what is kept.

    Raises:
        ItemError: an item failed for good, and that ends the walk.
        ScriptError: a cursor is no JSON value.
        BaseException: what else the author's code raised.
    """
    collects, log_failure = migration.on_error == "collect", failure_log(redact)

    def settle(task: Task) -> None:
        error = task.error
        if error is None:
            checkpoints.move_past(task.cursor)
            return
        name = name_of(migration, task.item, task.cursor)
        if isinstance(error, ScriptError) or not (collects and isinstance(error, Exception)):
            raise ItemError(name) from error
        log_failure(name, error)
        checkpoints.move_past(task.cursor, failed_item(task.cursor, error, redact))
        if _has_failed_too_often(migration, checkpoints.tally):
            many = f"{in_items(checkpoints.tally.failed)} failed, more than max_failures"
            raise ItemError(f"{name}, as {many}") from error

    process, workers = migration.process, migration.workers
    with (
        EventLoop() as loop,
        executor_of(process, workers, loop, is_stopped) as executor,
        checkpoints.saved_in_time(),
    ):
        source = with_cursors(migration, checkpoints.cursor, loop)
        size = _window_size(migration)
        yield Walk(migration, source, executor, settle, is_stopped, loop, size, collects=collects)


@contextmanager
def failed_items(
    migration: BatchDataMigration[Any],
    checkpoints: Checkpoints,
    is_stopped: Stopped,
    redact: Redact,
) -> Iterator["Walk"]:
    """Return a walk over the failed items of a checkpoint; those that fail again are kept.

    The arguments are those of `all_items`.

    Raises:
        ScriptError: the migration has no `find`.
        ItemError: an item ended the walk by something that is no `Exception`.
    """
    if type(migration).find is BatchDataMigration.find:
        name = type(migration).__name__
        raise ScriptError(
            f"{name} has no find(cursor), so none is retried: define it, and run this again"
        )
    log_failure = failure_log(redact)

    def settle(task: Task) -> None:
        if task.error is None:
            checkpoints.settle_first_failure(None)
            return
        if not isinstance(task.error, Exception):
            raise ItemError(str(task.cursor)) from task.error
        log_failure(str(task.cursor), task.error)
        checkpoints.settle_first_failure(failed_item(task.cursor, task.error, redact))

    with EventLoop() as loop, checkpoints.saved_in_time():
        cursors = [failure.cursor for failure in checkpoints.current().failures]
        source = iter([(cursor, cursor) for cursor in cursors])
        executor = Inline(_finding(migration, loop), loop)
        yield Walk(migration, source, executor, settle, is_stopped, loop, 1, collects=True)


def _finding(migration: BatchDataMigration[Any], loop: EventLoop) -> Process:
    """Return a callable(cursor) that processes the item of a cursor."""
    find, process = migration.find, migration.process

    def find_and_process(cursor: Any) -> Any:
        item: Any = loop.result_of(find(cursor))
        if item is None:
            raise LookupError("find(cursor) found nothing")
        return process(item)

    return find_and_process


@contextmanager
def preview(
    migration: BatchDataMigration[Any], checkpoint: Checkpoint | None
) -> Iterator[tuple[Iterator[Any], Process]]:
    """Return the items that a run would handle, and what processes one: at once, and just once."""
    with EventLoop() as loop:

        def handle(item: Any) -> Any:
            return loop.result_of(sound(migration.process(item)))

        yield items_after(migration, checkpoint.cursor if checkpoint else None, loop), handle


def begin_at(checkpoint: Checkpoint | None, now: datetime, checksum: str | None) -> Checkpoint:
    """Return where a run begins of the script of this checksum: at the checkpoint, if any."""
    begin = checkpoint or Checkpoint(cursor=None, processed=0, since=now)
    return begin.model_copy(update={"checksum": checksum, "done": False})


def checkpoints_of(
    migration: BatchDataMigration[Any],
    begin: Checkpoint,
    tally: Tally,
    save: Callable[[Checkpoint], None],
    *,
    by_time_alone: bool = False,
) -> Checkpoints:
    """Return what keeps how far a migration is that begins at a checkpoint.

    Args:
        migration: what says how often one is saved.
        begin: where it begins.
        tally: what counts its items.
        save: keeps a checkpoint, durably on return.
        by_time_alone: whether a save is too dear for one every `batch_size` items.
    """
    # A kill replays what is done beyond the checkpoint, in the window too.
    beyond = _window_size(migration) - 1
    every = math.inf if by_time_alone else max(1, migration.batch_size - beyond)
    return Checkpoints(begin, tally, save, every, migration.checkpoint_seconds)


def _window_size(migration: BatchDataMigration[Any]) -> int:
    """Return how many items are on their way, at most: those that are not settled yet."""
    workers = migration.workers
    if workers == 1:
        return 1
    # Half a batch at most: a save is due each half batch, and a kill replays no more than one.
    return max(workers, min(workers * _WINDOW_A_WORKER, migration.batch_size // 2))


def _has_failed_too_often(migration: BatchDataMigration[Any], tally: Tally) -> bool:
    limit = migration.max_failures
    if isinstance(limit, float):
        # The share of the first few items tells nothing.
        enough = tally.handled >= migration.batch_size
        return enough and tally.failed > limit * tally.handled
    return tally.failed > limit


class Walk:
    """One walk over the items of a source.

    Args:
        migration: what says how often an item is tried, and how many are begun a second.
        source: the items, each with its cursor.
        executor: what processes them.
        settle: called with each task that is over, in the order of the items.
        is_stopped: whether to begin none any more.
        loop: the event loop of what is asynchronous.
        window: how many items are on their way, at most.
        collects: whether a failed item lets the others go on.
    """

    def __init__(
        self,
        migration: BatchDataMigration[Any],
        source: Source,
        executor: Executor,
        settle: Callable[[Task], None],
        is_stopped: Stopped,
        loop: EventLoop,
        window: int,
        *,
        collects: bool,
    ) -> None:
        self._migration = migration
        self._source = source
        self._executor = executor
        self._settle_task = settle
        self._is_stopped = is_stopped
        self._loop = loop
        self._window_size = window
        self._collects = collects
        # The tasks that are not settled yet, in their order.
        self._window = deque[Task]()
        self._in_flight = 0
        # The tasks that are to be tried again, by when.
        self._retries: list[tuple[float, int, Task]] = []
        self._numbers = itertools.count()
        self._is_at_end = self._has_failed = False
        pace = migration.max_per_second
        self._limiter = Limiter.evenly(pace) if pace else None
        # In a pace the first item goes alone: it may open a client that all need, and those that
        # begin meanwhile would then send their requests at once.
        self._most_in_flight, self._most_later = (
            (1, migration.workers) if pace else (window, window)
        )

    def run(self) -> bool:
        """Handle the items; return whether none is left."""
        try:
            for task in self._in_turn():
                self._in_flight += 1
                self._executor.begin(task)
        except NotBegunError:
            # A request for the next items would have had to wait, and the run is to stop.
            pass
        finally:
            self._executor.close()
            # Those in flight would be cut off in the middle else.
            while self._executor.is_busy() or not self._executor.ended.empty():
                self._wait(LONGEST_SLEEP_SECONDS)
        while self._window and self._window[0].is_over:
            self._settle_first()
        for task in self._window:
            # What stands before it is left to the next run.
            if task.is_over and self._ends_walk(task):
                self._settle_task(task)
        return self._is_at_end and not self._window

    def _in_turn(self) -> Iterator[Task]:
        """Yield each task when it is to begin, until none is left or the walk is to end."""
        ended = self._executor.ended
        while not self._has_failed:
            task = self._next()
            if self._is_stopped() or not self._window:
                return
            if task is None:
                self._wait(self._seconds_to_next_try())
            else:
                if self._limiter and not self._has_its_turn(self._limiter):
                    return
                yield task
            if not ended.empty():
                self._note_end(ended.get())
            while self._window and self._window[0].is_over:
                self._settle_first()

    def _has_its_turn(self, limiter: Limiter) -> bool:
        """Wait until one more may begin; return whether it still may by then."""
        for part in limiter.pauses():
            self._wait(part)
            if self._is_stopped():
                return False
        return True

    def _next(self) -> Task | None:
        """Return the next task to begin; None if none is there, or has room, for now."""
        if self._retries and self._retries[0][0] <= time.monotonic():
            return heapq.heappop(self._retries)[-1]
        if len(self._window) < self._window_size and self._in_flight < self._most_in_flight:
            for item, cursor in self._source:
                task = Task(item, cursor)
                self._window.append(task)
                return task
            self._is_at_end = True
        return None

    def _wait(self, seconds: float) -> None:
        """Wait so long at most until a try ends."""
        try:
            self._note_end(self._executor.ended.get(timeout=seconds))
        except Empty:
            self._loop.require_alive()

    def _note_end(self, task: Task) -> None:
        """Note that a try has ended: the task is over, or is to be tried again."""
        self._in_flight -= 1
        self._most_in_flight = self._most_later
        error, migration = task.error, self._migration
        if error is None:
            task.is_over = True
            return
        if isinstance(error, NotBegunError):
            # It is left to the next run, as what waits for its next try is.
            return
        task.tries += 1
        if task.tries < migration.attempts and isinstance(error, migration.retry_on):
            pause = min(
                migration.retry_seconds * 2.0 ** min(task.tries - 1, 64), _LONGEST_PAUSE_SECONDS
            )
            due_at = time.monotonic() + pause
            heapq.heappush(self._retries, (due_at, next(self._numbers), task))
            return
        task.is_over = True
        self._has_failed = self._has_failed or self._ends_walk(task)

    def _ends_walk(self, task: Task) -> bool:
        """Whether a task that is over has failed, and no other item is to begin."""
        return not (task.error is None or (self._collects and isinstance(task.error, Exception)))

    def _settle_first(self) -> None:
        """Settle the first task of the window, which is over."""
        self._settle_task(self._window[0])
        self._window.popleft()

    def _seconds_to_next_try(self) -> float:
        """Return for how long to wait if no try ends."""
        if not self._retries:
            return LONGEST_SLEEP_SECONDS
        return min(LONGEST_SLEEP_SECONDS, max(0.0, self._retries[0][0] - time.monotonic()))
