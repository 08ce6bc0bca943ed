"""The rate that a limiter finds by what is refused, held against one that counts a second."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpt_tool.clients.found_rate import FoundRate


class Platform:
    """Takes so many requests within any second, and moves the clock on."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now = 1000.0
        self.rate = FoundRate()
        self.statuses: list[int] = []
        self._taken = deque[float]()

    def ask_for(self, seconds: float) -> None:
        """Let requests begin as soon as they may, for so long; each is answered after 20 ms."""
        ends_at = self.now + seconds
        next_turn, on_their_way = self.now, deque[tuple[float, bool]]()
        while self.now < ends_at:
            while on_their_way and on_their_way[0][0] <= self.now - 0.02:
                self._answer(*on_their_way.popleft())
            if self.now >= next_turn:
                next_turn = max(next_turn + 1 / min(self.rate.at(self.now), 1000), self.now)
                on_their_way.append((self.now, self._takes()))
            self.now += 0.001

    def _takes(self) -> bool:
        while self._taken and self._taken[0] <= self.now - 1:
            self._taken.popleft()
        is_taken = len(self._taken) < self.limit
        if is_taken:
            self._taken.append(self.now)
        return is_taken

    def _answer(self, began: float, is_taken: bool) -> None:
        self.statuses.append(200 if is_taken else 429)
        if is_taken:
            self.rate.note_taken(began, self.now)
        else:
            self.rate.note_refused(began, self.now)


def test_there_is_none_before_the_first_refusal() -> None:
    platform = Platform(10**6)

    platform.ask_for(3)

    assert platform.rate.at(platform.now) == float("inf")


def test_the_first_refusal_is_told_from_all_others() -> None:
    rate = FoundRate()

    assert rate.note_refused(1.0, 1.1)
    assert not rate.note_refused(1.0, 1.2)
    assert not rate.note_refused(1.3, 1.4)


def test_refusals_of_what_began_before_a_change_make_it_no_slower() -> None:
    rate = FoundRate()
    for number in range(10):
        rate.note_taken(1 + number / 100, 1.2)
    rate.note_refused(1.1, 1.2)
    before = rate.at(1.3)

    rate.note_refused(1.15, 1.3)

    assert rate.at(1.3) == before == pytest.approx(9.5, abs=0.1)


@given(limit=st.integers(3, 200), other=st.integers(3, 200))
def test_it_comes_close_to_a_limit_whatever_it_was_before(limit: int, other: int) -> None:
    platform = Platform(limit)
    platform.ask_for(15)
    platform.limit = other
    platform.ask_for(25)
    platform.statuses.clear()

    platform.ask_for(20)

    assert platform.statuses.count(200) / (20 * other) > 0.75
    assert platform.statuses.count(429) <= max(0.05 * len(platform.statuses), 12)


def test_it_is_never_so_slow_that_it_stands_still() -> None:
    platform = Platform(0)

    platform.ask_for(30)

    assert platform.rate.at(platform.now) >= 1
    platform.limit = 50
    platform.ask_for(30)
    assert platform.statuses[-100:].count(200) > 90
