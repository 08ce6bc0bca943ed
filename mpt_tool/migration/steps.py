"""Durable steps: what a migration made is kept before anything else is done with it."""

import inspect
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Any

from mpt_tool.clients.at_once import result_at_once
from mpt_tool.clients.limiter import NotBegunError
from mpt_tool.errors import ScriptError
from mpt_tool.process.item import in_hand
from mpt_tool.records import KeptStep

type Make = Callable[[], Any]
# What is called next, and whether that is the author's, whose awaitable is awaited.
type _Course = Generator[tuple[Make, bool], Any, Any]


def _nowhere() -> None:
    """Keep nothing beyond the process."""


class Steps:
    """The steps of a migration that were begun or made.

    Before a step is made, it is kept that it begins; so a run that died in between is known.

    Args:
        kept: those of earlier runs.
        save: keeps what `kept` returns, durably on return.
    """

    def __init__(self, kept: Iterable[KeptStep] = (), save: Callable[[], None] = _nowhere) -> None:
        self._steps = {_place(step.key, step.cursor): step for step in kept}
        self._save = save
        self._turn = threading.Lock()

    def once(self, key: str, make: Make, find: Make | None) -> Any:
        """Return what the step of this key makes, or made before; in an event loop, to be awaited.

        Raises:
            ScriptError: nobody knows whether it was made, or it made what cannot be kept.
            BaseException: what the author's code raised.
        """
        course = self._course(key, make, find)
        return (
            _drive(course, in_loop=True)
            if _is_in_event_loop()
            else result_at_once(_drive(course, in_loop=False))
        )

    def kept(self) -> tuple[KeptStep, ...]:
        """Return the steps that were begun or made."""
        with self._turn:
            return tuple(self._steps.values())

    def forget(self, cursor: Any) -> None:
        """Drop the steps of an item that is done."""
        if self._steps:
            with self._turn:
                self._steps = {
                    place: step for place, step in self._steps.items() if step.cursor != cursor
                }

    def _course(self, key: str, make: Make, find: Make | None) -> _Course:
        step = _step_in_hand(key)
        if known := self._steps.get(_place(key, step.cursor)):
            if known.is_made:
                return known.value
            if find is None:
                raise ScriptError(
                    f"once({key!r}) was begun by a run that ended before it was kept what it made."
                    " Look whether that is there, and give once() a find= that returns it, or None"
                    " if it is not"
                )
            found = yield find, True
            if found is not None:
                return (yield from self._keep(step, found))
        else:
            yield from self._put(step)
        try:
            made = yield make, True
        except BaseException as error:
            if _was_refused(error):
                yield from self._put(step, is_gone=True)
            raise
        return (yield from self._keep(step, made))

    def _keep(self, step: KeptStep, value: Any) -> _Course:
        yield from self._put(
            step.model_copy(update={"value": _sound(step.key, value), "is_made": True})
        )
        return value

    def _put(self, step: KeptStep, *, is_gone: bool = False) -> _Course:
        with self._turn:
            self._steps.pop(_place(step.key, step.cursor), None)
            if not is_gone:
                self._steps[_place(step.key, step.cursor)] = step
        yield self._save, False


def attach(migration: object, steps: Steps) -> None:
    """Let the durable steps of a migration be kept by these."""
    vars(migration)["_steps"] = steps


def _step_in_hand(key: str) -> KeptStep:
    """Return the step of this key that begins now: of the item in hand, if there is one.

    Raises:
        ScriptError: several items are in hand at a time.
    """
    handled = in_hand.get()
    if handled is not None and handled.is_bundle:
        raise ScriptError("once() cannot tell the items of process_many() apart: use process()")
    return KeptStep(key=key, cursor=handled.cursor if handled else None)


def _place(key: str, cursor: Any) -> tuple[str, str]:
    return key, json.dumps(cursor)


def _sound(key: str, value: Any) -> Any:
    """Return what a step made, as it will be read again.

    Raises:
        ScriptError: that is no JSON value.
    """
    try:
        kept = json.loads(json.dumps(value, allow_nan=False))
        if kept == value:
            return kept
    except (TypeError, ValueError, RecursionError):
        pass
    raise ScriptError(
        f"once({key!r}) made a value of the type {type(value).__name__} that JSON cannot keep:"
        " return its id"
    )


def _was_refused(error: BaseException) -> bool:
    """Whether a step was surely not made: nothing was sent, or the reply says so."""
    if isinstance(error, NotBegunError):
        return True
    reply = getattr(error, "response", None)
    status = getattr(error, "status_code", getattr(reply, "status_code", None))
    return isinstance(status, int) and 400 <= status < 500


def _is_in_event_loop() -> bool:
    # Where nothing is asynchronous, the library is not imported.
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


async def _drive(course: _Course, *, in_loop: bool) -> Any:
    """Call what the course asks for, until it is over; return what it returns."""
    result: Any = None
    error: BaseException | None = None
    while True:
        try:
            function, is_authors = course.throw(error) if error else course.send(result)
        except StopIteration as end:
            return end.value
        result = error = None
        try:
            if in_loop and not is_authors:
                import asyncio

                # A save may take as long as a request does.
                await asyncio.to_thread(function)
                continue
            result = function()
            if is_authors and isinstance(result, Awaitable):
                result = await (result if in_loop else _refused(result))
        except BaseException as raised:  # noqa: BLE001 - raised in the course, as if it had called
            error = raised


async def _refused(result: Awaitable[Any]) -> Any:
    """Refuse what is to be awaited where no event loop is running.

    Raises:
        ScriptError: always.
    """
    if inspect.iscoroutine(result):
        result.close()
    raise ScriptError("once() got an asynchronous function in a method that is not asynchronous")
