"""Walks over the items of a batch migration: in their order, at a pace, until it is to stop.

It takes items from a source, begins each in its turn, tries it again if that may help, and settles
them in their order. So the checkpoint is the cursor of the last item that is settled, and all
before it are done. Pace, tries and stop are here; an executor only processes items.
"""

import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty
from typing import Any

from mpt_tool.batch.executors import Executor, Task
from mpt_tool.batch.loop import EventLoop
from mpt_tool.clients.limiter import LONGEST_SLEEP_SECONDS, Limiter, NotBegunError, was_not_begun
from mpt_tool.errors import MptToolError
from mpt_tool.migration import BatchMigration

# How many items each worker has in store, so that none is idle while the first is slow.
_WINDOW_A_WORKER = 4
_LONGEST_PAUSE_SECONDS = 60.0

type Source = Iterator[tuple[Any, Any]]
type Stopped = Callable[[], bool]


class Walk:
    """One walk over the items of a source.

    Args:
        migration: what says how often an item is tried, and how many are begun a second.
        tasks: the items, or bundles of them.
        executor: what processes them.
        settle: called with each task that is over, in the order of the items.
        is_stopped: whether to begin none any more.
        loop: the event loop of what is asynchronous.
        collects: whether a failed item lets the others go on.
    """

    def __init__(
        self,
        migration: BatchMigration[Any],
        tasks: Iterator[Task],
        executor: Executor,
        settle: Callable[[Task], None],
        is_stopped: Stopped,
        loop: EventLoop,
        *,
        collects: bool,
    ) -> None:
        self._migration = migration
        self._tasks = tasks
        self._executor = executor
        self._settle_task = settle
        self._is_stopped = is_stopped
        self._loop = loop
        window = self._window_size = window_size(migration)
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
        ended, window = self._executor.ended, self._window
        try:
            while not self._has_failed:
                task = self._next()
                if self._is_stopped() or not window:
                    break
                if task is None:
                    self._wait(self._seconds_to_next_try())
                elif self._limiter and not self._has_its_turns(self._limiter, len(task.parts) or 1):
                    break
                else:
                    self._in_flight += 1
                    self._executor.begin(task)
                if not ended.empty():
                    self._note_end(ended.get())
                if window[0].is_over:
                    self._settle_first_ones()
        except* NotBegunError:
            # A request for the next items would have had to wait, and the run is to stop.
            pass
        finally:
            self._end_those_in_flight()
        self._settle_first_ones()
        for task in window:
            # What stands before it is left to the next run.
            if task.is_over and self._ends_walk(task):
                self._settle_task(task)
        return self._is_at_end and not window

    def _end_those_in_flight(self) -> None:
        """Begin none any more, and wait for those that would be cut off in the middle else."""
        self._executor.close()
        while self._executor.is_busy() or not self._executor.ended.empty():
            self._wait(LONGEST_SLEEP_SECONDS)

    def _has_its_turns(self, limiter: Limiter, turns: int) -> bool:
        """Wait until so many more may begin; return whether they still may by then."""
        for _ in range(turns):
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
            if task := next(self._tasks, None):
                self._window.append(task)
                return task
            self._is_at_end = True
        return None

    def _wait(self, seconds: float) -> None:
        """Wait so long at most until a try ends."""
        self._executor.flush()
        try:
            self._note_end(self._executor.ended.get(timeout=seconds))
        except Empty:
            self._loop.require_alive()

    def _note_end(self, task: Task) -> None:
        """Note that a try has ended: the task is over, or is to be tried again."""
        self._in_flight -= 1
        self._most_in_flight = self._most_later
        error = task.error
        if error is None:
            task.is_over = True
            return
        migration = self._migration
        if was_not_begun(error):
            # It is left to the next run, as what waits for its next try is.
            return
        if len(task.parts) > 1 and isinstance(error, Exception):
            self._split(task)
            return
        task.tries += 1
        # The tool's own errors are of no kind that passes.
        may_pass = isinstance(error, migration.retry_on) and not isinstance(error, MptToolError)
        if may_pass and task.tries < migration.attempts:
            pause = min(
                migration.retry_seconds * 2.0 ** min(task.tries - 1, 64), _LONGEST_PAUSE_SECONDS
            )
            due_at = time.monotonic() + pause
            heapq.heappush(self._retries, (due_at, next(self._numbers), task))
            return
        task.is_over = True
        self._has_failed = self._has_failed or self._ends_walk(task)

    def _split(self, bundle: Task) -> None:
        """Let each item of a bundle be processed alone, in its place, so that failures differ."""
        alone = [_bundle([part]) for part in bundle.parts]
        place = self._window.index(bundle)
        del self._window[place]
        for task in reversed(alone):
            self._window.insert(place, task)
        for task in alone:
            heapq.heappush(self._retries, (0.0, next(self._numbers), task))

    def _ends_walk(self, task: Task) -> bool:
        """Whether a task that is over has failed, and no other item is to begin."""
        return not (task.error is None or (self._collects and isinstance(task.error, Exception)))

    def _settle_first_ones(self) -> None:
        """Settle the tasks of the window that are over, up to one that is not."""
        window = self._window
        while window and window[0].is_over:
            self._settle_task(window[0])
            window.popleft()

    def _seconds_to_next_try(self) -> float:
        """Return for how long to wait if no try ends."""
        if not self._retries:
            return LONGEST_SLEEP_SECONDS
        return min(LONGEST_SLEEP_SECONDS, max(0.0, self._retries[0][0] - time.monotonic()))


def window_size(migration: BatchMigration[Any]) -> int:
    """Return how many tasks are on their way, at most: those that are not settled yet."""
    workers = migration.workers
    if workers == 1 and migration.executor == "thread":
        return 1
    # Half a batch at most: a save is due each half batch, and a kill replays no more than one.
    half = migration.batch_size // (2 * bundle_size(migration))
    if migration.executor == "process":
        # Many travel together.
        return max(workers, half)
    return max(workers, min(workers * _WINDOW_A_WORKER, half))


def bundle_size(migration: BatchMigration[Any]) -> int:
    """Return how many items a task has, at most."""
    return migration.many if migration.handles_many() else 1


def tasks_of(migration: BatchMigration[Any], source: Source) -> Iterator[Task]:
    """Return the items of a source as tasks: in bundles if the migration handles many at once."""
    if migration.handles_many():
        return map(_bundle, itertools.batched(source, migration.many))
    return itertools.starmap(Task, source)


def _bundle(parts: Sequence[tuple[Any, Any]]) -> Task:
    return Task([item for item, _ in parts], parts[-1][1], parts)
