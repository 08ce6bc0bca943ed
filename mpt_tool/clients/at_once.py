"""Runs without an event loop what is written to be awaited, and never has to wait.

So a walk and the retry policy are written once for the synchronous and the asynchronous client:
what they await waits with the one, and with the other blocks until it is done.
"""

from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any


def result_at_once[Result](work: Coroutine[Any, Any, Result]) -> Result:
    """Return the result of a coroutine that never waits.

    Raises:
        BaseException: what it raised.
    """
    try:
        work.send(None)
    except StopIteration as ended:
        result: Result = ended.value
        return result
    raise AssertionError(f"{work} waits")


def items_at_once[Item](items: AsyncGenerator[Item, None]) -> Iterator[Item]:
    """Yield the items of an asynchronous generator that never waits.

    Raises:
        BaseException: what it raised.
    """
    try:
        while True:
            try:
                item = result_at_once(anext(items))
            except StopAsyncIteration:
                return
            yield item
    finally:
        result_at_once(items.aclose())
