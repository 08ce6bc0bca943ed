"""Finds out how many requests a second another side takes that does not say so.

As in congestion control: a refusal makes the rate smaller, and while all is well it grows again,
slowly where the last refusal was and ever faster beyond. There is none before the first refusal.
From it on the rate is a little less than what was taken in the second before (Westwood, Casetti and
others 2002); that grows as a cubic function of the time since (CUBIC, RFC 9438), and a refusal
right after one halves it (Chiu and Jain 1989; RFC 5681), until a request is taken, which shows what
the other side takes now.
"""

import math
from collections import deque

SECOND = 1.0
_LEAST = 1.0
# How much of what was taken is sent at first after a refusal.
_SHARE = 0.95
# After how many seconds it is as much as was taken, and how many later twice as much.
_CALM_SECONDS = 3.0
_DOUBLING_SECONDS = 2.5
# At which rate it is tried out for a second where a limit has become much lower.
_TRIED_A_SECOND = 8.0


class FoundRate:
    """How many requests a second may begin, by what became of those before.

    Moments are seconds of a clock that never goes back.
    """

    def __init__(self) -> None:
        # What was taken in a second, at last; the rate begins a little lower and grows beyond it.
        self._taken_a_second = math.inf
        self._rate = math.inf
        self._changed_at = -math.inf
        # How many changes in a row were for a refusal, and when the first of them was.
        self._refusals = 0
        self._refused_at = 0.0
        # When those began that were taken, within the last second.
        self._taken: deque[float] = deque()

    def at(self, now: float) -> float:
        """Return the rate; infinite until one was refused."""
        if self._taken_a_second == math.inf:
            return math.inf
        beyond = now - self._changed_at - _CALM_SECONDS
        if beyond < 0:
            missing = self._taken_a_second - self._rate
            return self._taken_a_second - missing * (-beyond / _CALM_SECONDS) ** 3
        return self._taken_a_second * (1 + (beyond / _DOUBLING_SECONDS) ** 3)

    def note_taken(self, began: float, now: float) -> None:
        """Note that a request was taken, which began at that moment."""
        self._taken.append(began)
        self._count(began)
        if began < self._changed_at:
            return
        if self._refusals > 1:
            self._begin_at(max(self._count(began), self._rate), now)
        self._refusals = 0

    def note_refused(self, began: float, now: float) -> bool:
        """Note that a request was refused for there were too many; return if it is the first ever.

        One that began before the last change tells nothing new.
        """
        if began < self._changed_at:
            return False
        is_first = self._taken_a_second == math.inf
        self._refusals += 1
        if self._refusals == 1:
            self._refused_at = now
            self._begin_at(min(self.at(now), self._count(began)), now)
            return is_first
        rate = self.at(now)
        # What was taken within a second may fill the limit still, so it is not halved too often.
        least = _LEAST if now > self._refused_at + SECOND else min(rate, _TRIED_A_SECOND)
        self._taken_a_second = self._rate = max(least, rate / 2)
        self._changed_at = now
        return False

    def _count(self, moment: float) -> int:
        """Return how many were taken in the second before a moment."""
        while self._taken and self._taken[0] <= moment - SECOND:
            self._taken.popleft()
        return len(self._taken)

    def _begin_at(self, taken_a_second: float, now: float) -> None:
        self._taken_a_second = max(_LEAST, taken_a_second)
        self._rate = max(_LEAST, _SHARE * self._taken_a_second)
        self._changed_at = now
