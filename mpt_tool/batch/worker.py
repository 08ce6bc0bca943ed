"""What a worker process does: loads the script, prepares it once, and handles chunks of items."""

import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NoReturn, Protocol

from mpt_tool.batch.executors import Inline, Task, sound
from mpt_tool.batch.items import finding, outcomes_of, processing
from mpt_tool.batch.loop import EventLoop
from mpt_tool.batch.travel import Packed, packed
from mpt_tool.clients.limiter import requests_capped
from mpt_tool.errors import ScriptError
from mpt_tool.migration import BatchMigration
from mpt_tool.migration.steps import Steps, attach
from mpt_tool.process.unawaited import require_awaited, unawaited_noted
from mpt_tool.records import KeptStep

_NO_STEP = (
    "once() was called in a worker process, which has no place to keep what it makes: call it in"
    ' prepare(), or take executor = "process" out'
)

type Load = Callable[[], BatchMigration[Any]]
"""Makes the migration in another process; it can be pickled."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker process has to know of a migration before its first item.

    Args:
        load: makes the migration.
        steps: what `once` made in `prepare`.
        finds: whether cursors come, whose items are to be found, and not items.
        collects: whether a failed item lets the others go on.
        log_level: of what is logged.
        requests_per_second: how many the clients send in this process; 0 for any number.
    """

    load: Load
    steps: Sequence[KeptStep]
    finds: bool
    collects: bool
    log_level: int
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class Event:
    """What was logged while an item was handled."""

    logger: str
    level: int
    path: str
    line: int
    message: str
    created: float
    details: str


@dataclass(slots=True)
class Handled:
    """What came of an item.

    Args:
        seconds: how long it took.
        outcomes: what it came to, each part of a bundle for itself.
        error: why it failed.
        events: what was logged meanwhile.
    """

    seconds: float
    outcomes: Sequence[str | None] = ()
    error: Packed | None = None
    events: list[Event] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What came of the first items of a chunk; the others were not begun.

    Args:
        handled: an entry for each item that was.
        error: why none could be: the script could not be loaded or prepared here.
    """

    handled: Sequence[Handled]
    error: Packed | None = None


@dataclass(frozen=True, slots=True)
class _Work:
    """A migration that is loaded and prepared in this process."""

    migration: BatchMigration[Any]
    loop: EventLoop
    job: Job


class Place(Protocol):
    """Where the one that drives sees which item of a chunk is in hand; -1 for none."""

    value: int


_works: dict[str, _Work] = {}
_place: Place | None = None
_beginning = threading.Lock()
# Where what is logged is collected; threads of a script find the list that was begun last.
_latest: list[Event] = []
_events: ContextVar[list[Event] | None] = ContextVar("events", default=None)


def tell_place(place: Place) -> None:
    """Let this process tell from now on which item it has in hand, should it end."""
    global _place  # noqa: PLW0603 - of the process
    _place = place


def handle(key: str, job: bytes, items: bytes, seconds: float) -> bytes:
    """Handle the items of a chunk, as many as can be begun in so many seconds.

    Args:
        key: names the job: the script is loaded when that is new.
        job: the pickled job.
        items: the list of items, pickled; it may need the script to be read.
        seconds: after how long no other item is begun.

    Returns:
        The `Chunk`, pickled.
    """
    try:
        work = _work_of(key, job)
        given = pickle.loads(items)  # noqa: S301 - of the process that drives
    except BaseException as error:  # noqa: BLE001 - raised where the run is driven
        return pickle.dumps(Chunk((), packed(error)))
    handled = list(_handled(work, given, time.monotonic() + seconds))
    if _place:
        _place.value = -1
    return pickle.dumps(Chunk(handled))


def _work_of(key: str, job: bytes) -> _Work:
    """Return what is at work under this key; loaded and prepared if it is new here."""
    with _beginning:
        if key not in _works:
            # Another run is another script: what the last one opened goes with it.
            _works.clear()
            _works[key] = _begun(pickle.loads(job))  # noqa: S301 - of the process that drives
        return _works[key]


def _begun(job: Job) -> _Work:
    _collect_events(job.log_level)
    _note_unawaited()
    migration, loop = job.load(), EventLoop()
    _held.enter_context(requests_capped(job.requests_per_second))
    attach(migration, Steps(job.steps, _refuse_step))
    with _collected():
        loop.result_of(sound(migration.prepare(), "prepare"))
    require_awaited()
    attach(migration, _NoSteps())
    return _Work(migration, loop, job)


def _handled(work: _Work, items: Sequence[Any], ends_at: float) -> Iterator[Handled]:
    """Yield what came of each item: of the first at least, until one ends the rest."""
    migration, loop, job = work.migration, work.loop, work.job
    process = finding(migration, loop) if job.finds else processing(migration)
    is_bundle = migration.handles_many() and not job.finds
    executor = Inline(process, loop, lambda _item, _cursor: "")
    for place, item in enumerate(items):
        if _place:
            _place.value = place
        task = Task(item, None, [(part, None) for part in item] if is_bundle else ())
        began = time.monotonic()
        with _collected() as events:
            executor.begin(task)
        if task.error is None:
            try:
                outcomes = outcomes_of(task, str)
            except ScriptError as error:
                task.error = error
        now = time.monotonic()
        if task.error:
            yield Handled(now - began, error=packed(task.error), events=events)
            if not (job.collects and isinstance(task.error, Exception)):
                return
        else:
            yield Handled(now - began, outcomes, events=events)
        if now >= ends_at:
            return


class _NoSteps(Steps):
    """Refuses durable steps."""

    def once(self, *_: object, **__: object) -> NoReturn:
        """Refuse.

        Raises:
            ScriptError: always.
        """
        raise ScriptError(_NO_STEP)


def _refuse_step() -> None:
    raise ScriptError(
        "prepare() makes by once() in a worker process what it did not make where the run is"
        " driven: give each step the same key everywhere"
    )


# What lasts as long as the process.
_held = ExitStack()


@cache
def _note_unawaited() -> None:
    _held.enter_context(unawaited_noted())


@contextmanager
def _collected() -> Iterator[list[Event]]:
    """Return the list in which what is logged meanwhile is collected."""
    global _latest  # noqa: PLW0603 - of the process
    events: list[Event] = []
    _latest = events
    before = _events.set(events)
    try:
        yield events
    finally:
        _events.reset(before)


@cache
def _collect_events(level: int) -> None:
    """Keep what is logged while an item is handled, for the log of the run."""
    root = logging.getLogger()  # noqa: TID251 - what scripts log is what is collected
    root.setLevel(level)
    root.addHandler(_Collector())
    logging.captureWarnings(capture=True)


class _Collector(logging.Handler):
    """Keeps what is logged with the item in hand."""

    def emit(self, record: logging.LogRecord) -> None:
        events = _events.get()
        details = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        event = Event(
            record.name,
            record.levelno,
            record.pathname,
            record.lineno,
            record.getMessage(),
            record.created,
            "\n".join(filter(None, [details, record.stack_info])),
        )
        (_latest if events is None else events).append(event)
