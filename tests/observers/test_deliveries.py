"""What is sent in the background."""

import signal
from collections.abc import Callable

import pytest

from mpt_tool.checks import Check
from mpt_tool.doctor.examine import _begun
from mpt_tool.observers.deliveries import Deliveries, result_within


def deliver(work: Callable[[], None]) -> None:
    with Deliveries() as deliveries:
        deliveries.begin("it", work)


def examine(work: Callable[[], None]) -> None:
    def look() -> list[Check]:
        work()
        return []

    assert _begun(look).get() is None


@pytest.mark.parametrize(
    "begin", [deliver, examine, lambda work: result_within(9, work)], ids=["it", "look", "result"]
)
def test_no_thread_aside_takes_a_signal_that_is_the_main_threads(
    begin: Callable[[Callable[[], None]], None],
) -> None:
    blocked = set[int]()

    def look() -> None:
        blocked.update(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    begin(look)

    assert {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} <= blocked
