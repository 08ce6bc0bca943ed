"""Lets so many within a span of time begin, and holds all back for a while: requests and items."""

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from mpt_tool.clients.found_rate import SECOND, FoundRate
from mpt_tool.process.log import get_log

# So that a stop is noticed soon.
LONGEST_SLEEP_SECONDS = 0.5
_SOON_SECONDS = 0.05
# A longer wait is logged, but no more often than this.
_SILENT_SECONDS = 3.0
_TOLD_SECONDS = 60.0

# A little slower than asked for, so that one that wakes up late is not followed by more within a
# second than it allows, nor are their requests where they arrive.
_TURN_MARGIN = 1.022
_SPAN_MARGIN = 1.02

log = get_log(__name__)


class NotBegunError(BaseException):
    """An item, its next try or that of a request was not begun, for the run is to stop.

    No `except Exception` swallows it: what was to be done is left to the next run.
    """


def was_not_begun(error: BaseException | None) -> bool:
    """Whether an error is that something was not begun, in a group of errors too."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(was_not_begun, error.exceptions))
    return isinstance(error, NotBegunError)


def is_stop(error: BaseException) -> bool:
    """Whether an error is that a script was to stop, or began nothing more for that."""
    return was_not_begun(error) or isinstance(error, KeyboardInterrupt)


def parts(seconds: float) -> Iterator[float]:
    """Yield the parts of a pause, after each of which a stop is noticed."""
    ends_at = time.monotonic() + seconds
    while (rest := ends_at - time.monotonic()) > 0:
        yield min(rest, LONGEST_SLEEP_SECONDS)


def _endless() -> float:
    return math.inf


class Limiter:
    """Lets so many within a span of time begin, in whichever threads, and none while it is held.

    Args:
        count: how many within the span; as many as can be by default.
        span: how many seconds that is.
        interval: how many seconds apart they begin at least.
        counts_from_end: whether each counts until a span after its `end`, not after its beginning.
        finds_rate: whether it goes by what is refused, as nobody says how many there may be.
        name: what the log calls whatever sets the limit.
    """

    def __init__(
        self,
        count: int = sys.maxsize,
        span: float = 0.0,
        *,
        interval: float = 0.0,
        counts_from_end: bool = False,
        finds_rate: bool = False,
        name: str = "",
    ) -> None:
        self._count = count
        self._span = span
        self._interval = interval
        self._counts_from_end = counts_from_end
        self._name = name
        self._found = FoundRate() if finds_rate else None
        # Those who wait for their turn, in their order, and when the first of them has it.
        self._line: list[object] = []
        self._next_turn = 0.0
        self._room, self._room_until = 0.0, 0.0
        self._held_until = 0.0
        self._told_until = 0.0
        # Until when those count that have begun, and those that have ended.
        self._begun: deque[float] = deque()
        self._ended: deque[float] = deque()
        self._going_on = 0
        self._going_first: set[object] = set()
        self._lock = threading.Lock()

    @classmethod
    def evenly(cls, per_second: float) -> Self:
        """Return one that lets so many a second begin, evenly, and never more."""
        count = math.ceil(per_second)
        return cls(count, count / per_second, interval=_TURN_MARGIN / per_second)

    def pauses(
        self, patience: Callable[[], float] = _endless, *, goes_first: bool = False
    ) -> Iterator[float]:
        """Yield the seconds to sleep, one after the other and none long, until one may begin.

        Args:
            patience: returns for how many seconds one can still wait. If that is not enough, one
                begins before its turn and though all are held back, as soon as no more than `count`
                begin in a span.
            goes_first: whether all others wait until this one has begun.
        """
        if not goes_first:
            yield from self._turns(patience)
        began, own = time.monotonic(), object()
        # A signal may raise at any instant: what is noted is always taken back.
        try:
            if goes_first:
                with self._lock:
                    self._going_first.add(own)
            while (seconds := self._begin(patience(), goes_first=goes_first)) > 0:
                if time.monotonic() - began > _SILENT_SECONDS:
                    self._tell()
                yield min(seconds, LONGEST_SLEEP_SECONDS)
        finally:
            with self._lock:
                self._going_first.discard(own)

    def end(self) -> None:
        """Note that one that had begun has ended."""
        with self._lock:
            self._going_on -= 1
            self._ended.append(time.monotonic() + self._span)

    def hold_back(self, seconds: float) -> None:
        """Let none begin for so many seconds.

        If they are held back already, their end stays: who is refused meanwhile was on its way, or
        goes before all others, and would put it off again and again.
        """
        with self._lock:
            now = time.monotonic()
            if now >= self._held_until:
                self._held_until = now + seconds
                self._told_until = 0.0

    def leave_room(self, interval: float, seconds: float) -> None:
        """Let them begin so many seconds apart at least, for so many seconds or longer."""
        with self._lock:
            self._room = interval
            self._room_until = max(self._room_until, time.monotonic() + seconds)

    def _turns(self, patience: Callable[[], float]) -> Iterator[float]:
        """Yield the seconds to sleep until it is one's turn, whatever the pace is meanwhile."""
        place, has_waited, began = object(), False, time.monotonic()
        try:
            with self._lock:
                self._line.append(place)
            while (seconds := self._seconds_to_turn(place, has_waited)) > 0:
                if seconds > patience():
                    return
                has_waited = True
                now = time.monotonic()
                if now < self._held_until and now - began > _SILENT_SECONDS:
                    self._tell()
                yield min(seconds, LONGEST_SLEEP_SECONDS)
        finally:
            with self._lock:
                if place in self._line:
                    self._line.remove(place)

    def _seconds_to_turn(self, place: object, has_waited: bool) -> float:
        """Return in how many seconds it is one's turn, or let the next turn be after this one.

        A turn that nobody took in time is not made up for, but somebody who waited may wake late.
        """
        with self._lock:
            now = time.monotonic()
            interval = 1 / self._found.at(now) if self._found else self._interval
            if now < self._room_until:
                interval = max(interval, self._room)
            before = self._line.index(place)
            # None passes a turn while all are held back: they would begin at once then.
            turn = max(self._next_turn, self._held_until) + before * interval
            if interval and (before or turn > now):
                return max(turn - now, interval / 4)
            turn = self._next_turn if has_waited else max(self._next_turn, now)
            self._next_turn = max(turn + interval, now)
            return 0.0

    def _begin(self, patience: float, *, goes_first: bool) -> float:
        """Note that one begins, or return after how many seconds that may be tried again."""
        with self._lock:
            if self._going_first and not goes_first:
                return _SOON_SECONDS
            now = time.monotonic()
            for times in (self._begun, self._ended):
                while times and times[0] <= now:
                    times.popleft()
            free_from = max(self._held_until, self._free_from(now))
            if free_from - now > patience:
                free_from = self._nth(self._begun, 0, now)
            if free_from <= now:
                self._begun.append(now + self._span * _SPAN_MARGIN)
                self._going_on += 1
            return free_from - now

    def note_taken(self, began: float) -> None:
        """Note that one was taken that began at that moment."""
        if self._found:
            with self._lock:
                self._found.note_taken(began, time.monotonic())

    def note_refused(self, began: float, seconds: float | None) -> None:
        """Note that one was refused for there were too many.

        Args:
            began: when it began.
            seconds: for how many seconds none is to begin; None if nobody says.
        """
        if self._found:
            with self._lock:
                is_first = self._found.note_refused(began, time.monotonic())
            if is_first:
                log.info("%s takes no more requests a second: finding out how many", self._name)
            if is_first and seconds is None:
                # As many as can be have begun, of which those of the last second still count.
                seconds = SECOND
        if seconds is not None:
            self.hold_back(seconds)

    def _free_from(self, now: float) -> float:
        if self._counts_from_end:
            return self._nth(self._ended, self._going_on, now)
        return self._nth(self._begun, 0, now)

    def _nth(self, until: deque[float], more: int, now: float) -> float:
        """Return from when on fewer than `count` count, of those and so many more without an end.

        What goes on may end at any moment, and counts for a span from then on.
        """
        excess = len(until) + more - self._count
        if excess < 0:
            return now
        return until[excess] if excess < len(until) else now + self._span

    def _tell(self) -> None:
        """Log that one has waited for long, unless another has just done so."""
        now = time.monotonic()
        if now < self._told_until:
            return
        held_for = max(0.0, self._held_until - now)
        self._told_until = now + max(held_for, _TOLD_SECONDS)
        if held_for:
            log.warning("%s takes no request for another %.0f s: waiting", self._name, held_for)
        else:
            log.info("%s takes no more requests a second: waiting", self._name)


# Of the requests of all clients that migrations have, if there are not to be more a second.
_cap: Limiter | None = None


@contextmanager
def requests_capped(per_second: float) -> Iterator[None]:
    """Let the clients of migrations send no more requests a second meanwhile, evenly; 0 for no cap.

    It is for all workers, clients and services of the process together. The store's own requests
    are not among them.
    """
    global _cap  # noqa: PLW0603 - a cap of the process as a whole
    earlier, _cap = _cap, Limiter.evenly(per_second) if per_second else None
    try:
        yield
    finally:
        _cap = earlier


def cap() -> Limiter | None:
    """Return the limiter of what `requests_capped` caps, if anything does now."""
    return _cap
