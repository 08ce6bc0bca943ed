"""Sends a request when it may be sent, and again where that can do no harm: for both clients.

Sent again is what was not acted upon, and what failed for a passing reason if the method may be
repeated. The pause before is the one that the reply asks for, else 1, 2, 4 and so on seconds.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Protocol

from tenacity import RetryCallState, Retrying

from mpt_tool.clients.limiter import Limiter, NotBegunError, parts
from mpt_tool.clients.rehearsal import is_read
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import is_stopping

RETRY_SECONDS = 180.0
LONGEST_PAUSE_SECONDS = 60.0
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_LONGEST_BACK_OFF = 30.0
# Of 2 seconds in which a stop acts; a request gets that long to be sent once more.
_PATIENCE_AT_STOP = 1.0

log = get_log(__name__)

type BeforeSend = Callable[[str, str], None]
"""Called with the method and the address of a request each time it is sent; raises to refuse it."""


def allow_all(_method: str, _url: str) -> None:
    """Refuse nothing."""


class Reply(Protocol):
    """A reply of either HTTP library."""

    def close(self) -> None:
        """Give its connection back."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt to send a request ended.

    Args:
        how: what it says in messages: `answered 429`.
        was_refused: whether nothing was done, so that any request may be sent again.
        may_pass: whether it failed for a passing reason, so that one may be that does no harm.
        asked: for how many seconds the reply asks to wait.
        holds_all: whether it asks that of all requests.
    """

    how: str
    was_refused: bool = False
    may_pass: bool = False
    asked: float | None = None
    holds_all: bool = False

    def pause(self, number: int) -> float:
        """Return how many seconds to wait after this attempt, the first of which has number 1."""
        back_off = min(2.0 ** (number - 1), _LONGEST_BACK_OFF)
        if self.asked is None:
            return back_off
        # One that asks for no pause, again and again, gets one all the same.
        return min(max(self.asked, back_off / 32), LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Policy[R: Reply]:
    """How the requests of a client are sent.

    Args:
        service: what messages call the other side.
        judge: tells of a reply, or of an error, how the attempt ended; None if it is final.
        seconds: how long after its beginning a request may still wait, or be sent again.
        repeatable: the methods that do no harm if they are repeated.
        before_send: what may refuse a request, each time that it is about to be sent.
        is_urgent: whether all other requests to whom it goes wait until it is sent.
        is_stopped: whether the run is to stop, so that nothing is waited for.
    """

    service: str
    judge: Callable[[R | BaseException], Attempt | None]
    seconds: float = RETRY_SECONDS
    repeatable: Collection[str] = REPEATABLE
    before_send: BeforeSend = allow_all
    is_urgent: bool = False
    is_stopped: Callable[[], bool] = is_stopping

    def send(self, method: str, url: str, limiter: Limiter, attempt: Callable[[], R]) -> R:
        """Return the first reply that is final, or the last one there was time for.

        Args:
            method: of the request.
            url: its address.
            limiter: of whom the request goes to.
            attempt: sends it once.

        Raises:
            NotBegunError: it would have to wait, and the run is to stop.
            Exception: what `attempt` raised the last time.
        """
        ends_at = time.monotonic() + self.seconds
        is_repeatable = method in self.repeatable or is_read(method, url)

        def patience() -> float:
            rest = ends_at - time.monotonic()
            return min(rest, _PATIENCE_AT_STOP) if self.is_stopped() else rest

        def send_once() -> R:
            for part in limiter.pauses(patience, goes_first=self.is_urgent):
                time.sleep(part)
            try:
                self.before_send(method, url)
                return attempt()
            finally:
                limiter.end()

        def is_to_be_sent_again(state: RetryCallState) -> bool:
            ended = self._ended(state)
            if ended and ended.holds_all:
                limiter.hold_back(ended.pause(state.attempt_number))
            return ended is not None and (ended.was_refused or (ended.may_pass and is_repeatable))

        def is_over(state: RetryCallState) -> bool:
            if self.is_stopped() and state.upcoming_sleep > _PATIENCE_AT_STOP:
                raise NotBegunError(f"{self.service} is not waited for: the run is to stop")
            return state.upcoming_sleep > ends_at - time.monotonic()

        retrying = Retrying(
            retry=is_to_be_sent_again,
            wait=self._pause,
            stop=is_over,
            before_sleep=self._tell,
            sleep=self._sleep,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        return retrying(send_once)

    def _ended(self, state: RetryCallState) -> Attempt | None:
        assert state.outcome is not None
        return self.judge(state.outcome.exception() or state.outcome.result())

    def _pause(self, state: RetryCallState) -> float:
        ended = self._ended(state)
        return ended.pause(state.attempt_number) if ended else 0.0

    def _tell(self, state: RetryCallState) -> None:
        """Log that a request waits to be sent again, and give back its connection."""
        assert state.outcome is not None
        ended = self._ended(state)
        how, seconds = ended.how if ended else "", state.upcoming_sleep
        log.warning("%s %s: trying again in %.0f s", self.service, how, seconds)
        if not state.outcome.failed:
            state.outcome.result().close()

    def _sleep(self, seconds: float) -> None:
        """Sleep; at a stop not for long, so that the request is sent at once, and once more."""
        ends_at = time.monotonic() + seconds
        for part in parts(seconds):
            if self.is_stopped() and ends_at - time.monotonic() > _PATIENCE_AT_STOP:
                return
            time.sleep(part)


def asked_pause(retry_after: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, itself or by a date, if any."""
    if retry_after.replace(".", "", 1).isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time())
