"""Processes the items of a batch migration: at once, in threads, or in an event loop.

Whoever drives begins tasks, in their order; an executor processes the item of each and puts it into
`ended`. What waits for a worker is not begun any more once the run is to stop.
"""

import inspect
import threading
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Sequence,
    ValuesView,
)
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from mpt_tool.batch.loop import EventLoop
from mpt_tool.errors import ScriptError
from mpt_tool.process.isolation import end_if_forked, generation
from mpt_tool.process.item import NameOf, in_hand
from mpt_tool.process.unawaited import noted, require_awaited

if TYPE_CHECKING:
    # Not needed, and too slow to import, where there is no batch migration.
    from concurrent.futures import Executor as Pool

type Process = Callable[[Any], Any]


@dataclass(slots=True, eq=False)
class Task:
    """An item on its way, or a bundle of items.

    Args:
        item: what is processed; the list of items of a bundle.
        cursor: where it stands in the order.
        parts: the items of a bundle, each with its cursor.
        tries: how many times it was processed.
        result: what processing it returned.
        error: what the last try raised.
        is_over: whether it is done, or has failed for good.
        losses: how many processes ended while they had it in hand, or may have had.
    """

    item: Any
    cursor: Any
    parts: Sequence[tuple[Any, Any]] = ()
    tries: int = 0
    result: Any = None
    error: BaseException | None = None
    is_over: bool = False
    losses: int = 0


class Inline:
    """Processes each item at once, in the thread that drives.

    Args:
        process: what processes an item; what it returns is awaited in the loop if it has to be.
        loop: the event loop for that.
        name_of: tells what messages call an item of a cursor.
    """

    def __init__(self, process: Process, loop: EventLoop, name_of: NameOf) -> None:
        self.ended = SimpleQueue[Task]()
        """The tasks whose try has ended."""
        self._process = process
        self._loop = loop
        self._name_of = name_of
        self._generation = generation()

    def begin(self, task: Task) -> None:
        """Process the task's item."""
        task.error = None
        before = in_hand.set((task, self._name_of))
        try:
            result = self._process(task.item)
            if not (result is None or type(result) is str):
                result = sound(self._loop.result_of(sound(result)))
            task.result = result
            if noted:
                require_awaited()
        except BaseException as error:  # noqa: BLE001 - raised by whoever drives, in its turn
            task.error = error
        in_hand.reset(before)
        end_if_forked(self._generation)
        self.ended.put(task)

    def flush(self) -> None:
        """Hold none back to begin it with others."""

    def close(self) -> None:
        """Begin none any more; none waits."""

    def is_busy(self) -> bool:
        """Whether an item is in flight: whoever asks is not."""
        return False


class Threads(Inline):
    """Processes items in the threads of a pool."""

    def __init__(
        self, process: Process, loop: EventLoop, name_of: NameOf, pool: "Pool", line: "Line"
    ) -> None:
        super().__init__(process, loop, name_of)
        self._pool = pool
        self._line = line

    def begin(self, task: Task) -> None:
        """Process the task's item as soon as a worker is free."""
        self._line.append(task)
        self._pool.submit(self._begin_next)

    def close(self) -> None:
        """Begin none of those that wait for a worker."""
        self._line.close()

    def is_busy(self) -> bool:
        """Whether an item is in flight."""
        return self._line.in_flight > 0

    def _begin_next(self) -> None:
        if task := self._line.take():
            super().begin(task)
            self._line.note_end()


class Coroutines:
    """Awaits an asynchronous `process` for so many items at a time, in one event loop."""

    def __init__(
        self, process: Process, loop: EventLoop, name_of: NameOf, workers: int, line: "Line"
    ) -> None:
        from asyncio import Semaphore

        self.ended = SimpleQueue[Task]()
        """The tasks whose try has ended."""
        self._process = process
        self._loop = loop
        self._name_of = name_of
        self._generation = generation()
        self._free = Semaphore(workers)
        self._line = line

    def begin(self, task: Task) -> None:
        """Process the task's item as soon as a worker is free."""
        self._line.append(task)
        self._loop.submit(self._begin_next())

    def flush(self) -> None:
        """Hold none back to begin it with others."""

    def close(self) -> None:
        """Begin none of those that wait for a worker."""
        self._line.close()

    def is_busy(self) -> bool:
        """Whether an item is in flight."""
        return self._line.in_flight > 0

    async def _begin_next(self) -> None:
        async with self._free:
            if task := self._line.take():
                task.error = None
                in_hand.set((task, self._name_of))
                try:
                    task.result = sound(await self._process(task.item))
                    require_awaited()
                except BaseException as error:  # noqa: BLE001 - raised by whoever drives
                    task.error = error
                end_if_forked(self._generation)
                self.ended.put(task)
                self._line.note_end()


class Executor(Protocol):
    """What processes items."""

    ended: SimpleQueue[Task]
    """The tasks whose try has ended."""

    def begin(self, task: Task) -> None:
        """Process the task's item as soon as a worker is free."""

    def flush(self) -> None:
        """Begin what was held back to begin it with others: for now no more come."""

    def close(self) -> None:
        """Begin none of those that wait for a worker."""

    def is_busy(self) -> bool:
        """Whether an item is in flight."""


class Line:
    """The tasks that wait for a worker, in their order.

    So none begins before one that comes earlier: left out at a stop, that one would leave what is
    done after it to the next run, which would process it again.
    """

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        self.in_flight = 0
        """How many tasks were taken whose try has not ended."""
        self._is_stopped = is_stopped
        self._tasks = deque[Task]()
        self._turn = threading.Lock()

    def append(self, task: Task) -> None:
        """Let a task wait."""
        self._tasks.append(task)

    def take(self) -> Task | None:
        """Return the first one, unless none is to begin any more."""
        with self._turn:
            if not self._tasks or self._is_stopped():
                return None
            self.in_flight += 1
            return self._tasks.popleft()

    def note_end(self) -> None:
        """Note that the try of a task that was taken has ended."""
        with self._turn:
            self.in_flight -= 1

    def close(self) -> None:
        """Take all away that wait."""
        with self._turn:
            self._tasks.clear()


@contextmanager
def executor_of(
    process: Process,
    workers: int,
    loop: EventLoop,
    name_of: NameOf,
    is_stopped: Callable[[], bool],
) -> Iterator[Executor]:
    """Return what processes so many items at a time: in the way that suits `process`."""
    if workers == 1:
        yield Inline(process, loop, name_of)
    elif inspect.iscoroutinefunction(process):
        yield Coroutines(process, loop, name_of, workers, Line(is_stopped))
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
            yield Threads(process, loop, name_of, pool, Line(is_stopped))


def sound(result: object, method: str = "process") -> object:
    """Return what an author's method returned.

    Raises:
        ScriptError: it is a generator, or holds what nobody awaits: nothing of that was run.
    """
    if isinstance(result, Generator | AsyncGenerator):
        raise ScriptError(f"{method}() holds a yield, so nothing of it was run: remove the yield")
    held = result.values() if isinstance(result, dict) else result
    if isinstance(held, list | tuple | set | ValuesView) and any(
        isinstance(each, Awaitable) for each in held
    ):
        raise ScriptError(
            f"{method}() returned what nobody awaits, so nothing of it was done: make it async, and"
            " await asyncio.gather(...)"
        )
    return result
