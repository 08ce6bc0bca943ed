"""What a limiter lets through, and when."""

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import pytest
from support.instants import at_each_instant

from mpt_tool.clients import limiter as module
from mpt_tool.clients.limiter import LONGEST_SLEEP_SECONDS, Limiter


def begins_at_once(pauses: Iterator[float]) -> bool:
    """Whether the next one begins without a pause."""
    return next(pauses, None) is None


def wait(pauses: Iterator[float]) -> float:
    """Return after how many seconds one could begin."""
    began = time.monotonic()
    for pause in pauses:
        time.sleep(pause)
    return time.monotonic() - began


def order_in_which_they_begin(waiting: Mapping[str, Iterator[float]]) -> list[str]:
    """Return the names of those that wait, in the order in which they may begin."""
    begun: list[str] = []
    while len(begun) < len(waiting):
        begun += [name for name in waiting if name not in begun and begins_at_once(waiting[name])]
        time.sleep(0.01)
    return begun


def test_no_more_begin_within_a_span_than_allowed() -> None:
    limiter = Limiter(2, 0.3)

    assert [begins_at_once(limiter.pauses()) for _ in range(3)] == [True, True, False]
    assert 0.2 < wait(limiter.pauses()) < 1


def test_what_goes_on_counts_until_a_span_after_its_end() -> None:
    limiter = Limiter(1, 0.3, counts_from_end=True)

    assert begins_at_once(limiter.pauses())
    time.sleep(0.4)
    assert not begins_at_once(limiter.pauses())
    limiter.end()
    assert 0.2 < wait(limiter.pauses()) < 1


def test_room_for_others_is_left_for_a_while() -> None:
    limiter = Limiter()
    limiter.leave_room(0.3, 0.4)

    assert begins_at_once(limiter.pauses())
    assert 0.2 < wait(limiter.pauses()) < 1
    assert 0.2 < wait(limiter.pauses()) < 1
    assert begins_at_once(limiter.pauses())
    assert begins_at_once(limiter.pauses())


def test_what_goes_first_does_not_leave_room() -> None:
    limiter = Limiter()
    limiter.leave_room(60, 60)

    assert begins_at_once(limiter.pauses())
    assert begins_at_once(limiter.pauses(goes_first=True))
    assert not begins_at_once(limiter.pauses())


def test_none_begins_while_all_are_held_back() -> None:
    limiter = Limiter()
    limiter.hold_back(0.3)

    assert 0.2 < wait(limiter.pauses()) < 1


def test_who_is_refused_meanwhile_does_not_put_off_the_end() -> None:
    limiter = Limiter()
    limiter.hold_back(0.3)
    limiter.hold_back(60)

    assert 0.2 < wait(limiter.pauses()) < 1


def test_a_shorter_pause_ends_no_longer_one() -> None:
    limiter = Limiter()
    limiter.hold_back(60)
    limiter.hold_back(0)

    assert not begins_at_once(limiter.pauses())


def test_one_that_cannot_wait_so_long_begins_at_once() -> None:
    limiter = Limiter(5, 1)
    limiter.hold_back(60)

    assert not begins_at_once(limiter.pauses(lambda: 61.0))
    assert begins_at_once(limiter.pauses(lambda: 59.0))


def test_even_one_that_cannot_wait_keeps_to_how_many_begin_within_a_span() -> None:
    limiter = Limiter(1, 0.3, counts_from_end=True)

    assert begins_at_once(limiter.pauses(lambda: 0.0))
    assert 0.2 < wait(limiter.pauses(lambda: 0.0)) < 1


def test_all_others_wait_for_one_that_goes_first() -> None:
    limiter = Limiter(1, 0.3)
    assert begins_at_once(limiter.pauses())
    first = limiter.pauses(goes_first=True)
    next(first)
    time.sleep(0.4)

    assert not begins_at_once(limiter.pauses())
    assert begins_at_once(first)
    assert 0.2 < wait(limiter.pauses()) < 1


def test_no_pause_is_longer_than_a_stop_can_wait() -> None:
    limiter = Limiter.evenly(0.01)
    assert begins_at_once(limiter.pauses())

    assert max(islice(limiter.pauses(), 3)) <= LONGEST_SLEEP_SECONDS


def test_those_who_wait_begin_in_their_order_at_the_pace_that_holds_by_then() -> None:
    limiter = Limiter(finds_rate=True)
    for _ in range(200):
        limiter.note_taken(time.monotonic())
    limiter.note_refused(time.monotonic(), 0)
    first, second, third = (limiter.pauses() for _ in range(3))
    assert begins_at_once(first)
    next(second)
    assert next(third) < 0.02

    for _ in range(5):
        limiter.note_refused(time.monotonic(), 0)

    assert next(third) > 0.02
    # Asked first each time, and asked again long before its turn.
    assert order_in_which_they_begin({"third": third, "second": second}) == ["second", "third"]


@pytest.mark.parametrize("goes_first", [False, True])
def test_one_that_a_signal_ends_at_any_instant_is_in_nobodys_way(*, goes_first: bool) -> None:
    limiters: list[Limiter] = []

    def begin() -> None:
        for _ in limiters[-1].pauses(goes_first=goes_first):
            pass

    def prepare() -> Callable[[], object]:
        limiters.append(Limiter.evenly(1000))
        return begin

    assert at_each_instant(module, prepare) > 10
    for limiter in limiters:
        assert wait(islice(limiter.pauses(), 1000)) < 0.2
