"""Processes items in other processes: on this machine, or in a Dask cluster.

Many items travel in one task of theirs, a chunk: as many as take a quarter of a second, so that a
stop is noticed soon. All that is kept stays with the one that drives: a chunk goes there and what
came of its items comes back, with what was logged meanwhile.
"""

import logging
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import contextmanager
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from mpt_tool.batch.executors import Task
from mpt_tool.batch.portable import Elsewhere
from mpt_tool.batch.travel import unpacked
from mpt_tool.batch.worker import Chunk, Event, Handled, Job
from mpt_tool.errors import ScriptError, WorkerLostError, message_of
from mpt_tool.process.item import NameOf, in_hand, name_in_hand
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import start_aside
from mpt_tool.process.tracebacks import script_traceback
from mpt_tool.reporting import ItemTried, Reporter

_CHUNK_SECONDS = 0.25
# What is not begun by then comes back, and goes again.
_LONGEST_CHUNK_SECONDS = 0.5
# An item has failed with which so many processes ended.
_MOST_LOSSES = 3
# The run has, with which so many ended one after the other before they came to an item.
_MOST_IN_VAIN = 10
_OUR_MODULES = "mpt_tool."

# The worker, what it had in hand, and what came of that.
type _Back = tuple[int, Sequence[Task], Future[bytes]]

log = get_log(__name__)


class Pool(Protocol):
    """What runs a function in a worker process."""

    deaths: int
    """How many processes ended before a chunk counts as lost."""

    def submit(self, worker: int, key: str, items: bytes, seconds: float) -> Future[bytes]:
        """Have a worker handle items, by `worker.handle`."""

    def renew(self, worker: int) -> None:
        """Let a worker have another process, as its own has ended."""

    def place_in_hand(self, worker: int) -> int | None:
        """Return which item of its chunk a worker had in hand; -1 for none, None if unknown."""

    def stop(self) -> None:
        """Tell the workers that the run is to stop."""


class Processes:
    """Processes items in chunks, each worker one chunk at a time.

    Args:
        pool: where the workers are.
        workers: how many there are.
        window: how many items are on their way at most.
        name_of: tells what messages call an item of a cursor.
        is_stopped: whether to begin none any more.
        give_up: called if the workers are out of reach, with what happened.
        reporter: is told of slow and failed items.
    """

    def __init__(
        self,
        pool: Pool,
        workers: int,
        window: int,
        name_of: NameOf,
        is_stopped: Callable[[], bool],
        give_up: Callable[[str], None],
        reporter: Reporter,
    ) -> None:
        self.ended = SimpleQueue[Task]()
        """The tasks whose try has ended."""
        self._pool = pool
        self._name_of = name_of
        self._is_stopped = is_stopped
        self._give_up = give_up
        self._reporter = reporter
        # As many wait as are in hand, so that no worker waits for the one that drives.
        self._most = max(1, window // (2 * workers))
        self._seconds_an_item = _CHUNK_SECONDS
        self._line = deque[Task]()
        self._free = deque(range(workers))
        self._in_flight = 0
        self._in_vain = 0
        self._key = os.urandom(8).hex()
        self._is_closed = False
        # Held where a chunk is sent, so that none is once this is closed.
        self._turn = threading.Lock()
        # Chunks that came back; how many tasks at least are worth a chunk now; None at the end.
        self._inbox = SimpleQueue[_Back | int | None]()
        self._sender = threading.Thread(target=self._send_and_take_back, name="chunks", daemon=True)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Send chunks and take them back meanwhile, in a thread of its own.

        Not in the one that drives, in which a time limit may raise anywhere; nor in those of the
        pools, which hold locks of theirs.
        """
        start_aside(self._sender)
        try:
            yield
        finally:
            self._inbox.put(None)
            self._sender.join()

    def begin(self, task: Task) -> None:
        """Process the task's item, with others that come soon."""
        task.error = None
        self._line.append(task)
        if self._free and len(self._line) >= (size := self._size()):
            self._inbox.put(size)

    def flush(self) -> None:
        """Begin what waits for others, as none come for now.

        Raises:
            RuntimeError: what sends chunks has ended, by an error that is logged.
        """
        if not self._sender.is_alive():
            raise RuntimeError("nothing sends items to worker processes any more")
        if self._free and self._line:
            self._inbox.put(1)

    def close(self) -> None:
        """Begin none of those that wait for a worker."""
        with self._turn:
            self._is_closed = True
        if self._is_stopped():
            self._pool.stop()

    def is_busy(self) -> bool:
        """Whether an item is in flight."""
        return self._in_flight > 0 and self._sender.is_alive()

    def _size(self) -> int:
        """Return how many items a chunk has now."""
        return max(1, min(self._most, int(_CHUNK_SECONDS / self._seconds_an_item)))

    def _send_and_take_back(self) -> None:
        while (got := self._inbox.get()) is not None:
            if isinstance(got, int):
                self._send(at_least=got)
            else:
                self._note_end(*got)

    def _send(self, at_least: int) -> None:
        """Let each worker that is free have a chunk, if there are so many items for one."""
        while self._free and len(self._line) >= at_least:
            chunk = self._take()
            items = self._pickled(chunk)
            if items is None:
                continue
            with self._turn:
                if self._is_closed or self._is_stopped():
                    return
                self._in_flight += 1
            worker = self._free.popleft()
            try:
                future = self._pool.submit(worker, self._key, items, _LONGEST_CHUNK_SECONDS)
            except Exception as error:  # noqa: BLE001 - told as that of a chunk that was begun
                future = Future()
                future.set_exception(error)
            future.add_done_callback(partial(self._note_back, worker, chunk))

    def _take(self) -> Sequence[Task]:
        """Return the next chunk: what a process may have ended by goes alone."""
        line, chunk = self._line, [self._line.popleft()]
        if not chunk[0].losses:
            most = self._size()
            while line and len(chunk) < most and not line[0].losses:
                chunk.append(line.popleft())
        return chunk

    def _pickled(self, chunk: Sequence[Task]) -> bytes | None:
        """Return the items of a chunk; None if one cannot travel, which then has failed."""
        try:
            return pickle.dumps([task.item for task in chunk])
        except Exception as error:  # noqa: BLE001 - whatever a class of somebody's own raises
            if len(chunk) == 1:
                kind = type(chunk[0].item).__name__
                chunk[0].error = ScriptError(
                    f"an item of the type {kind} cannot go to a worker process:"
                    f" {message_of(error)}. Have items() return what can be pickled, as ids"
                )
                self.ended.put(chunk[0])
                return None
        for task in reversed(chunk):
            # Each alone, so that it is told which.
            task.losses = task.losses or 1
        self._line.extendleft(reversed(chunk))
        return None

    def _note_back(self, worker: int, chunk: Sequence[Task], future: "Future[bytes]") -> None:
        self._inbox.put((worker, chunk, future))

    def _note_end(self, worker: int, chunk: Sequence[Task], future: "Future[bytes]") -> None:
        """Note what came of a chunk."""
        try:
            came: Chunk = pickle.loads(future.result())  # noqa: S301 - of a worker of ours
        except (CancelledError, Exception) as error:  # noqa: BLE001 - of whatever library
            left = self._lost(worker, chunk, error)
        else:
            left = self._settled(chunk, came)
        self._line.extendleft(reversed(left))
        self._free.append(worker)
        # After a failure the one that drives says whether to go on.
        if not any(task.error for task in chunk):
            self._send(at_least=1 if left else self._size())
        self._in_flight -= 1

    def _settled(self, chunk: Sequence[Task], came: Chunk) -> Sequence[Task]:
        """Hand back the tasks that were handled; return the others."""
        if came.error:
            error = unpacked(came.error)
            log.error("A worker process could not begin\n%s", script_traceback(error))
            chunk[0].error = ScriptError(f"a worker process could not begin: {message_of(error)}")
            self.ended.put(chunk[0])
            return chunk[1:]
        handled, self._in_vain = came.handled, 0
        for task, of_task in zip(chunk, handled, strict=False):
            task.losses = 0
            self._tell(task, of_task)
            task.result = of_task.outcomes
            task.error = unpacked(of_task.error) if of_task.error else None
            self.ended.put(task)
        seconds = sum(each.seconds for each in handled) / len(handled)
        # Half of what is known comes from the last chunk.
        self._seconds_an_item = max(1e-6, (self._seconds_an_item + seconds) / 2)
        return chunk[len(handled) :]

    def _lost(self, worker: int, chunk: Sequence[Task], error: BaseException) -> Sequence[Task]:
        """Return what of a chunk that did not come back is to go again."""
        if self._is_out_of_reach(error):
            if not self._is_stopped():
                self._give_up(f"stopped because no worker can be reached ({message_of(error)})")
            return ()
        if not _is_death(error):
            chunk[0].error = ScriptError(f"a worker process could not begin: {message_of(error)}")
            self.ended.put(chunk[0])
            return chunk[1:]
        place = self._pool.place_in_hand(worker)
        self._pool.renew(worker)
        if not self._is_stopped():
            log.warning("A worker process ended: what it had in hand is processed again")
        if place is not None and place < 0:
            return self._begun_in_vain(chunk)
        suspects = chunk if place is None else [chunk[place]]
        for task in suspects:
            task.losses += self._pool.deaths
        first = suspects[0]
        if len(suspects) > 1 or first.losses < _MOST_LOSSES:
            return chunk
        first.error = WorkerLostError(
            f"the process that handled it ended, {first.losses} times: it was killed, as for want"
            " of memory, or the script ended it"
        )
        self.ended.put(first)
        return [task for task in chunk if task is not first]

    def _begun_in_vain(self, chunk: Sequence[Task]) -> Sequence[Task]:
        """Return what is to go again of a chunk whose process ended before any of its items."""
        self._in_vain += 1
        if self._in_vain < _MOST_IN_VAIN:
            return chunk
        chunk[0].error = ScriptError(
            f"{self._in_vain} worker processes ended before they came to an item: they were killed,"
            " or the script ends them as it is loaded, or in prepare()"
        )
        self.ended.put(chunk[0])
        return chunk[1:]

    @staticmethod
    def _is_out_of_reach(error: BaseException) -> bool:
        return isinstance(error, CancelledError | OSError)

    def _tell(self, task: Task, handled: Handled) -> None:
        """Log what was logged of an item, by its name, and report it if it failed or was slow."""
        slow = self._reporter.slow_seconds
        is_slow = slow is not None and (handled.error is not None or handled.seconds >= slow)
        if not (handled.events or is_slow):
            return
        before = in_hand.set((task, self._name_of))
        try:
            for event in handled.events:
                _log_again(event)
            if is_slow:
                error = unpacked(handled.error) if handled.error else None
                self._reporter.note(ItemTried(name_in_hand(), handled.seconds, error))
        finally:
            in_hand.reset(before)


def _is_death(error: BaseException) -> bool:
    """Whether a chunk is lost as its process ended."""
    # That of Dask, which is not imported for this.
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _log_again(event: Event) -> None:
    """Log here what was logged in a worker process."""
    is_ours = event.logger.startswith(_OUR_MODULES)
    logger = get_log(event.logger) if is_ours else logging.getLogger(event.logger)  # noqa: TID251
    if not logger.isEnabledFor(event.level):
        return
    record = logger.makeRecord(
        event.logger, event.level, event.path, event.line, event.message, (), None
    )
    record.created, record.exc_text = event.created, event.details or None
    logger.handle(record)


@contextmanager
def processes_of(
    job: Job,
    elsewhere: Elsewhere,
    workers: int,
    window: int,
    name_of: NameOf,
    is_stopped: Callable[[], bool],
    reporter: Reporter,
) -> Iterator[Processes]:
    """Return what processes so many items at a time in other processes.

    Raises:
        StoppedError: there is no Dask scheduler at the address.
    """
    from mpt_tool.batch.pools import dask_pool, local_pool

    pool_of = dask_pool if elsewhere.address else local_pool
    with pool_of(job, elsewhere, workers) as pool:
        give_up = elsewhere.give_up
        processes = Processes(pool, workers, window, name_of, is_stopped, give_up, reporter)
        with processes.at_work():
            yield processes
