"""Lets so many items a second begin, evenly, whichever threads they are in."""

import math
import threading
import time
from collections import deque
from collections.abc import (
    Iterator,
)
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Not needed, and too slow to import, where there is no batch migration.
    pass


# So that a stop is noticed soon.
LONGEST_SLEEP_SECONDS = 0.5


_TURN_MARGIN = 1.022


_SPAN_MARGIN = 1.02


def parts(seconds: float) -> Iterator[float]:
    """Yield the parts of a pause, after each of which a stop is noticed."""
    ends_at = time.monotonic() + seconds
    while (rest := ends_at - time.monotonic()) > 0:
        yield min(rest, LONGEST_SLEEP_SECONDS)


class Pace:
    """Lets so many a second begin, evenly, whichever threads they are in.

    Their turns come a little slower than asked for, so that one that wakes up late is not followed
    by more within a second than it allows, nor are their requests where they arrive.
    """

    def __init__(self, per_second: float) -> None:
        count = math.ceil(per_second)
        self._interval = _TURN_MARGIN / per_second
        # Within this time no more than `count` begin.
        self._span = _SPAN_MARGIN * count / per_second
        self._begun: deque[float] = deque([-math.inf] * count, maxlen=count)
        self._next_turn = 0.0
        self._lock = threading.Lock()

    def pauses(self) -> Iterator[float]:
        """Yield the seconds to sleep, one after the other and none long, until one may begin."""
        turn = self._take_turn()
        yield from parts(turn - time.monotonic())
        while (seconds := self._begin()) > 0:
            yield seconds

    def _take_turn(self) -> float:
        """Return when the next turn is; one that nobody took in time is not made up for."""
        with self._lock:
            turn = max(self._next_turn, time.monotonic())
            self._next_turn = turn + self._interval
            return turn

    def _begin(self) -> float:
        """Note that one begins, or return after how many seconds that may be tried again."""
        with self._lock:
            now = time.monotonic()
            seconds = self._begun[0] + self._span - now
            if seconds <= 0:
                self._begun.append(now)
            return seconds
