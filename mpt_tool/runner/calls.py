"""Calls the methods of an author that are called once: `run` and `verify`."""

from collections.abc import Awaitable, Callable
from typing import Any

from mpt_tool.batch.executors import sound
from mpt_tool.errors import ScriptError
from mpt_tool.migration import BaseMigration
from mpt_tool.process.unawaited import require_awaited


def awaited(result: object) -> Any:
    """Return a result; one that is to be awaited, in an event loop of its own."""
    if not isinstance(result, Awaitable):
        return result
    import asyncio

    async def finish(work: Awaitable[Any]) -> Any:
        return await work

    return asyncio.run(finish(result))


def run(migration: BaseMigration) -> None:
    """Call `run`; `sys.exit()` without an error in it is a normal return.

    Raises:
        ScriptError: it is a generator, so that nothing of it was run; or a coroutine was lost.
        BaseException: what the author's code raised.
    """
    try:
        awaited(sound(migration.run(), "run"))
        require_awaited()
    except SystemExit as error:
        if error.code is not None and not (isinstance(error.code, int) and error.code == 0):
            raise


def verifies(migration: BaseMigration) -> bool:
    """Whether a migration has a `verify` of its own."""
    return type(migration).verify is not BaseMigration.verify


def verify(migration: BaseMigration, result_of: Callable[[object], Any] = awaited) -> None:
    """Call `verify`.

    Args:
        migration: whose it is.
        result_of: awaits what is to be awaited.

    Raises:
        ScriptError: nothing of it was run, or it returned what nobody would notice.
        BaseException: what it raised.
    """
    if result_of(sound(migration.verify(), "verify")) is False:
        raise ScriptError("verify() returned False: raise an error that says what is not so")
    require_awaited()
