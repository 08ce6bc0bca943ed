"""Handles one item of a batch migration: in its pace, with further tries, in an event loop."""

import itertools
import math
import threading
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from mpt_tool.clients.limiter import LONGEST_SLEEP_SECONDS, Limiter, NotBegunError, parts
from mpt_tool.migration import BatchDataMigration

if TYPE_CHECKING:
    # Not needed, and too slow to import, where there is no batch migration.
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

_LONGEST_PAUSE_SECONDS = 60.0


class Gate:
    """Lets items begin, in whichever threads, until the run is to stop.

    Even then it lets one begin that comes before one that has begun: left out, it would leave the
    later one, too, to the next run, which would process it again. It lets none be tried again.
    """

    def __init__(self, is_stopped: Callable[[], bool]) -> None:
        self._is_stopped = is_stopped
        self._is_closed = False
        self._last_begun = -1
        self._turn = threading.Lock()

    def begin(self, number: int) -> None:
        """Note that the item of this number begins; items are numbered in their order.

        Raises:
            NotBegunError: it is left for the next run.
        """
        with self._turn:
            self._require_open(number)
            self._last_begun = max(self._last_begun, number)

    def require_open(self, number: float = math.inf) -> None:
        """Return if the item of this number may begin, or without one if a further try may.

        Raises:
            NotBegunError: it may not.
        """
        with self._turn:
            self._require_open(number)

    def close(self) -> None:
        """Let none begin from now on."""
        self._is_closed = True

    def _require_open(self, number: float) -> None:
        if self._is_closed or (number > self._last_begun and self._is_stopped()):
            raise NotBegunError


def handler(
    migration: BatchDataMigration[Any], loop: "EventLoop", gate: Gate
) -> Callable[[int, Any], None]:
    """Return what handles the item of a number, with its pace and its further tries."""
    handle: Callable[[Any], object] = partial(handle_once, migration, loop)
    pauses = _pauses_of(migration)
    if migration.attempts > 1:
        from tenacity import Retrying

        def sleep(seconds: float) -> None:
            for part in itertools.chain(parts(seconds), pauses()):
                time.sleep(part)
                gate.require_open()
            gate.require_open()

        handle = partial(Retrying(sleep=sleep, **_retry_options(migration)), handle)

    def handle_in_pace(number: int, item: Any) -> None:
        for part in pauses():
            time.sleep(part)
            gate.require_open(number)
        gate.begin(number)
        handle(item)

    return handle_in_pace


def handle_once(migration: BatchDataMigration[Any], loop: "EventLoop", item: Any) -> None:
    """Process an item to the end, whether `process` is asynchronous or not.

    Raises:
        TypeError: `process` is a generator, so that nothing of it was run.
        Exception: what else the author's code raised.
    """
    result: object = migration.process(item)
    if result is None:
        return
    if isinstance(result, Generator | AsyncGenerator):
        raise TypeError("process() holds a yield, so nothing of it was run: remove the yield")
    loop.result_of(result)


def result_of[Result](future: "Future[Result]") -> Result:
    """Wait for the future, and return its result.

    Raises:
        Exception: what it ended with.
    """
    if not future.done():
        wait_for([future])
    return future.result()


def wait_for(futures: "Collection[Future[Any]]") -> None:
    """Return once all of them have ended.

    Signals are handled in the main thread alone, and one that comes in the instant in which that
    falls asleep does not wake it: so it wakes by itself now and then.
    """
    from concurrent.futures import wait

    while wait(futures, LONGEST_SLEEP_SECONDS).not_done:
        pass


def async_handler(
    migration: BatchDataMigration[Any], gate: Gate
) -> Callable[[int, Any], Coroutine[Any, Any, None]]:
    """Return what handles the item of a number if `process` is asynchronous."""
    import asyncio

    handle: Callable[[Any], Any] = migration.process
    pauses = _pauses_of(migration)
    if migration.attempts > 1:
        from tenacity import AsyncRetrying

        async def sleep(seconds: float) -> None:
            for part in itertools.chain(parts(seconds), pauses()):
                await asyncio.sleep(part)
                gate.require_open()
            gate.require_open()

        handle = partial(AsyncRetrying(sleep=sleep, **_retry_options(migration)), handle)

    async def handle_in_pace(number: int, item: Any) -> None:
        for part in pauses():
            await asyncio.sleep(part)
            gate.require_open(number)
        gate.begin(number)
        await handle(item)

    return handle_in_pace


def _pauses_of(migration: BatchDataMigration[Any]) -> Callable[[], Iterable[float]]:
    """Return what gives the seconds to sleep, one after the other, until one more may begin."""
    return Limiter.evenly(migration.max_per_second).pauses if migration.max_per_second else tuple


def _retry_options(migration: BatchDataMigration[Any]) -> dict[str, Any]:
    from tenacity import retry_if_exception_type, stop_after_attempt, wait_exponential

    return {
        "stop": stop_after_attempt(migration.attempts),
        "wait": wait_exponential(migration.retry_seconds, max=_LONGEST_PAUSE_SECONDS),
        "retry": retry_if_exception_type(migration.retry_on),
        "reraise": True,
    }


class EventLoop:
    """An event loop in a thread of its own, begun when it is first needed."""

    def __init__(self) -> None:
        self._beginning = threading.Lock()
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop and self._thread:
            # Author's code that exits has closed it already.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def submit(self, work: Coroutine[Any, Any, Any]) -> "Future[Any]":
        """Begin the work in the loop."""
        import asyncio

        with self._beginning:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def result_of(self, value: Any) -> Any:
        """Return the value, or what it results in if it is a coroutine."""
        return result_of(self.submit(value)) if isinstance(value, Coroutine) else value

    def iterate(self, items: Iterable[Any] | AsyncIterable[Any]) -> Iterator[Any]:
        """Return the items, one after the other, however they come."""
        return self._iterate(aiter(items)) if isinstance(items, AsyncIterable) else iter(items)

    def _iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def take() -> tuple[Any, ...]:
            async for item in items:
                return (item,)
            return ()

        while taken := result_of(self.submit(take())):
            yield from taken

    @staticmethod
    def _run(loop: "AbstractEventLoop") -> None:
        import asyncio

        # Ends what is left, asynchronous generators too, as `asyncio.run` does.
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()
