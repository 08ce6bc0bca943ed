"""An event loop for what is asynchronous in a batch migration, beside the thread that drives it."""

import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from mpt_tool.clients.limiter import LONGEST_SLEEP_SECONDS
from mpt_tool.process.isolation import end_if_forked, generation

if TYPE_CHECKING:
    # Too slow to import where nothing is asynchronous.
    from asyncio import AbstractEventLoop


class EventLoop:
    """An event loop in a thread of its own, begun when it is first needed.

    Not anyio's blocking portal: it ends for good where an item exits, and cancels an item that has
    begun as well as one that has not.
    """

    def __init__(self) -> None:
        self._beginning = threading.Lock()
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop and self._thread:
            # A task of the author's that exits has closed it already.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def submit[T](self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Begin the work in the loop; it must not raise what would end the loop."""
        import asyncio

        with self._beginning:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(self._loop,), daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def result_of(self, value: object) -> Any:
        """Return the value, or what it results in if it is to be awaited.

        Raises:
            BaseException: what it raised.
        """
        if not isinstance(value, Awaitable):
            return value
        future = self.submit(_outcome_of(value))
        # A signal that comes in the instant in which the main thread falls asleep does not wake
        # it: so it wakes by itself now and then.
        while wait([future], LONGEST_SLEEP_SECONDS).not_done:
            self.require_alive()
        result, error = future.result()
        if error:
            raise error
        return result

    def iterate(self, items: Iterable[Any] | AsyncIterable[Any]) -> Iterator[Any]:
        """Return the items, one after the other, however they come."""
        return self._iterate(aiter(items)) if isinstance(items, AsyncIterable) else iter(items)

    def require_alive(self) -> None:
        """Return unless the loop has ended too early.

        Raises:
            RuntimeError: a task of the author's own has ended it.
        """
        if self._thread and not self._thread.is_alive():
            raise RuntimeError("a task that nobody awaits has ended the event loop")

    def _iterate(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        async def take() -> tuple[Any, ...]:
            async for item in items:
                return (item,)
            return ()

        while taken := self.result_of(take()):
            yield from taken

    @staticmethod
    def _run(loop: "AbstractEventLoop") -> None:
        import asyncio

        # Ends what is left, asynchronous generators too, as `asyncio.run` does.
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop().run_forever()


async def _outcome_of(work: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Return the result of the work and what it raised.

    What it raises is no way out of here: SystemExit and KeyboardInterrupt would end the loop, and
    with it what else runs in it.
    """
    own = generation()
    try:
        return await work, None
    except BaseException as error:  # noqa: BLE001 - raised where it is waited for
        return None, error
    finally:
        end_if_forked(own)
