"""Tells a reporter of the items that failed or were slow."""

import time
from collections.abc import Awaitable
from inspect import iscoroutinefunction, markcoroutinefunction
from typing import Any

from mpt_tool.batch.executors import Process
from mpt_tool.clients.limiter import was_not_begun
from mpt_tool.process.item import name_in_hand
from mpt_tool.reporting import ItemTried, Reporter


def watched(process: Process, reporter: Reporter) -> Process:
    """Return what processes items as this does, and tells of each that failed or was slow.

    Each try of an item counts, and so does a bundle of items.
    """
    slow = reporter.slow_seconds or 0.0

    def tell_of_failure(began: float, error: BaseException) -> None:
        if not was_not_begun(error):
            reporter.note(ItemTried(name_in_hand(), time.monotonic() - began, error))

    def tell_if_slow(began: float) -> None:
        if (seconds := time.monotonic() - began) >= slow:
            reporter.note(ItemTried(name_in_hand(), seconds, None))

    async def awaited(result: Awaitable[Any], began: float) -> Any:
        try:
            value = await result
        except BaseException as error:
            tell_of_failure(began, error)
            raise
        tell_if_slow(began)
        return value

    def watching(item: Any) -> Any:
        began = time.monotonic()
        try:
            result = process(item)
        except BaseException as error:
            tell_of_failure(began, error)
            raise
        if not (result is None or type(result) is str) and isinstance(result, Awaitable):
            return awaited(result, began)
        tell_if_slow(began)
        return result

    return markcoroutinefunction(watching) if iscoroutinefunction(process) else watching
