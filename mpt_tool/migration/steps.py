"""Durable steps: what a migration made is kept before anything else is done with it."""

import inspect
import json
import sys
import threading
from collections.abc import Awaitable, Callable, Generator, Iterable
from copy import deepcopy
from typing import Any

from mpt_tool.clients.at_once import result_at_once
from mpt_tool.clients.limiter import NotBegunError
from mpt_tool.errors import ScriptError, StepError, message_of
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
        of_failed: those of items that failed, which are kept elsewhere; a copy of one is kept here
            from when another step of its item begins.
    """

    def __init__(
        self,
        kept: Iterable[KeptStep] = (),
        save: Callable[[], None] = _nowhere,
        of_failed: Iterable[KeptStep] = (),
    ) -> None:
        self.are_of_items = False
        """Whether from now on each step is one of an item."""
        # By the item that they are of, and by their keys.
        self._steps: dict[str, dict[str, KeptStep]] = {}
        self._shared: dict[str, KeptStep] = {}
        self._of_failed: dict[str, dict[str, KeptStep]] = {}
        for step in of_failed:
            self._of_failed.setdefault(place_of(step.cursor), {})[step.key] = step
        self._save = save
        self._turn = threading.Lock()
        # Held while it is saved. What others note meanwhile is saved by one of them for all.
        self._saving = threading.Lock()
        self._changes = self._saved_changes = 0
        self._error: Exception | None = None
        self._under_way: set[tuple[str, str]] = set()
        # What those raised of which this run does not know whether they made anything.
        self._raised: dict[tuple[str, str], str] = {}
        for step in kept:
            self._note(step)

    def once(self, key: str, make: Make, find: Make | None) -> Any:
        """Return what the step of this key makes, or made before; in an event loop, to be awaited.

        Raises:
            StepError: nobody knows whether it was made.
            ScriptError: it made what cannot be kept, or is called where it cannot be.
            StorageError: it could not be kept; nothing more is made then.
            BaseException: what the author's code raised.
        """
        if not isinstance(key, str):
            kind = type(key).__name__
            raise ScriptError(f"once({key!r}) got a key of the type {kind}: give text")
        for name, function in (("make", make), ("find", find)):
            if not (callable(function) or (name == "find" and function is None)):
                raise ScriptError(f"once({key!r}) got {function!r} as its {name}: give a function")
        course = self._course(key, make, find)
        if not _is_in_event_loop():
            return result_at_once(_drive(course, in_loop=False))
        waited_for = _drive(course, in_loop=True)
        # What Python calls it if it is not awaited.
        waited_for.__qualname__ = f"once({key!r})"  # type: ignore[attr-defined] # each has one
        return waited_for

    def kept(self) -> tuple[KeptStep, ...]:
        """Return the steps that were begun or made."""
        with self._turn:
            of_items = (step for steps in self._steps.values() for step in steps.values())
            return (*self._shared.values(), *of_items)

    def take(self, cursor: Any) -> tuple[KeptStep, ...]:
        """Take away the steps of an item that is over, and return them."""
        if not (self._steps or self._of_failed):
            return ()
        with self._turn:
            place = place_of(cursor)
            of_failed = self._of_failed.pop(place, {})
            return tuple(self._steps.pop(place, of_failed).values())

    def require_kept(self) -> None:
        """Return if all was kept that was to be, whatever the author's code made of an error.

        Raises:
            Exception: what a save failed with.
        """
        if self._error:
            raise self._error

    def _course(self, key: str, make: Make, find: Make | None) -> _Course:
        self.require_kept()
        step = self._step_in_hand(key)
        place = place_of(step.cursor), key
        with self._turn:
            if place in self._under_way:
                raise StepError(f"once({key!r}) is under way already: call it once at a time")
            self._under_way.add(place)
        try:
            return (yield from self._course_alone(step, make, find))
        finally:
            self._under_way.discard(place)

    def _course_alone(self, step: KeptStep, make: Make, find: Make | None) -> _Course:
        known = self._of_item(step.cursor).get(step.key)
        if known and known.is_made:
            return deepcopy(known.value)
        if known:
            if find is None:
                raise StepError(self._doubt(step))
            found = yield find, True
            if found is not None:
                return (yield from self._keep(step, found))
        else:
            self._note(step)
            try:
                yield self._save_changes, False
            except BaseException:
                # Nothing was made: what is saved from now on is not to say that it might have been.
                self._drop(step)
                raise
        try:
            made = yield make, True
        except BaseException as error:
            if _was_refused(error):
                self._drop(step)
                yield self._save_changes, False
            else:
                self._raised[place_of(step.cursor), step.key] = message_of(error)
            raise
        return (yield from self._keep(step, made))

    def _keep(self, step: KeptStep, value: Any) -> _Course:
        self._note(step.model_copy(update={"value": _sound(step.key, value), "is_made": True}))
        yield self._save_changes, False
        return value

    def _save_changes(self) -> None:
        """Save what was noted so far, unless another has.

        Raises:
            Exception: what the save failed with.
        """
        noted = self._changes
        with self._saving:
            self.require_kept()
            if self._saved_changes >= noted:
                return
            changes = self._changes
            try:
                self._save()
            except Exception as error:
                self._error = error
                raise
            self._saved_changes = changes

    def _step_in_hand(self, key: str) -> KeptStep:
        """Return the step of this key that begins now: of the item in hand, if there is one.

        Raises:
            ScriptError: several items are in hand at a time, or none where there has to be one.
        """
        if in_this_hand := in_hand.get():
            handled, _ = in_this_hand
            if handled.parts:
                raise ScriptError(
                    "once() cannot tell the items of process_many() apart: use process()"
                )
            return KeptStep(key=key, cursor=handled.cursor)
        if self.are_of_items:
            raise ScriptError(
                f"once({key!r}) does not know for which item it is: call it in prepare() or"
                " process(), and not in a thread that process() begins"
            )
        return KeptStep(key=key)

    def _doubt(self, step: KeptStep) -> str:
        """Return why nobody knows whether a step was made, and what to do."""
        raised = self._raised.get((place_of(step.cursor), step.key))
        how = f"failed: {raised}" if raised else "ended before it was kept what it made"
        return (
            f"once({step.key!r}) may have made it already, as an earlier try {how}. Look whether it"
            " is there, and give once() a find= that returns it, or None if it is not"
        )

    def _of_item(self, cursor: Any) -> dict[str, KeptStep]:
        if cursor is None:
            return self._shared
        place = place_of(cursor)
        return self._steps.get(place) or self._of_failed.get(place, {})

    def _note(self, step: KeptStep) -> None:
        """Note a step that begins, or was made."""
        with self._turn:
            self._changes += 1
            if step.cursor is None:
                self._shared[step.key] = step
            else:
                place = place_of(step.cursor)
                of_failed = self._of_failed.get(place, {})
                self._steps.setdefault(place, dict(of_failed))[step.key] = step

    def _drop(self, step: KeptStep) -> None:
        """Take away a step that was begun and made nothing."""
        with self._turn:
            self._changes += 1
            steps = self._of_item(step.cursor)
            steps.pop(step.key, None)
            if not steps:
                self._steps.pop(place_of(step.cursor), None)


def attach(migration: object, steps: Steps) -> None:
    """Let the durable steps of a migration be kept by these."""
    vars(migration)["_steps"] = steps


def place_of(cursor: Any) -> str:
    """Return an item's cursor as what can be looked up."""
    return json.dumps(cursor, sort_keys=True)


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
        f"once({key!r}) made a value of the type {type(value).__name__}, which JSON cannot keep:"
        " return its id. It is made: give once() a find= that returns the id, for the next run"
    )


def _was_refused(error: BaseException) -> bool:
    """Whether a step was surely not made: nothing was sent, or the reply says so."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_was_refused, error.exceptions))
    if isinstance(error, NotBegunError | _UnawaitedError):
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


class _UnawaitedError(ScriptError):
    """What is asynchronous was to be called where nothing can be awaited; nothing of it ran."""


async def _refused(result: Awaitable[Any]) -> Any:
    """Refuse what is to be awaited where no event loop is running.

    Raises:
        ScriptError: always.
    """
    refusal = "once() got an asynchronous function in a method that is not asynchronous"
    if inspect.iscoroutine(result):
        result.close()
        raise _UnawaitedError(refusal)
    raise ScriptError(refusal)
