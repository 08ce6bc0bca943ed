"""Sends a request when it may be sent, and again where that can do no harm: for all clients.

Sent again is what was not acted upon, and what failed for a passing reason if the method may be
repeated. The pause before is the one that the reply asks for, else 1, 2, 4 and so on seconds.
"""

import logging
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from operator import methodcaller
from typing import Protocol

from mpt_tool.clients.at_once import result_at_once
from mpt_tool.clients.limiter import Limiter, NotBegunError, cap, parts
from mpt_tool.clients.rehearsal import is_read
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import is_stopping
from mpt_tool.reporting import Answered, Sending, listening

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

    @property
    def status_code(self) -> int:
        """Its status."""

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
        is_too_many: whether it was refused as there were too many requests.
    """

    how: str
    was_refused: bool = False
    may_pass: bool = False
    asked: float | None = None
    holds_all: bool = False
    is_too_many: bool = False

    def pause(self, number: int) -> float:
        """Return how many seconds to wait after this attempt, the first of which has number 1."""
        back_off = min(2.0 ** (number - 1), _LONGEST_BACK_OFF)
        if self.asked is None:
            # Where the limiter finds the pace, the request may soon take its turn again.
            return back_off / 4 if self.is_too_many else back_off
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
        is_capped: whether it is one of those that a migration may cap.
        is_stopped: whether the run is to stop, so that nothing is waited for.
    """

    service: str
    judge: Callable[[R | BaseException], Attempt | None]
    seconds: float = RETRY_SECONDS
    repeatable: Collection[str] = REPEATABLE
    before_send: BeforeSend = allow_all
    is_urgent: bool = False
    is_capped: bool = False
    is_stopped: Callable[[], bool] = is_stopping

    def send(
        self, method: str, url: str, limiters: Sequence[Limiter], attempt: Callable[[], R]
    ) -> R:
        """Return the first reply that is final, or the last one there was time for.

        Args:
            method: of the request.
            url: its address.
            limiters: of whom the request goes to, first the one that a pause asked for holds back.
            attempt: sends it once.

        Raises:
            NotBegunError: it would have to wait, and the run is to stop.
            Exception: what `attempt` raised the last time.
        """

        async def attempt_at_once() -> R:
            return attempt()

        async def sleep_at_once(seconds: float) -> None:
            time.sleep(seconds)

        async def close_at_once(reply: R) -> None:
            reply.close()

        if _holds_up_others():
            _warn_of_blocking(self.service)
        ways = (attempt_at_once, sleep_at_once, close_at_once)
        return result_at_once(_Request(self, method, url, limiters, *ways).send())

    async def send_async(
        self,
        method: str,
        url: str,
        limiters: Sequence[Limiter],
        attempt: Callable[[], Awaitable[R]],
    ) -> R:
        """Do as `send` does, while others go on."""
        from asyncio import sleep

        ways = (attempt, sleep, methodcaller("aclose"))
        return await _Request(self, method, url, limiters, *ways).send()


class _Request[R: Reply]:
    """A request on its way: sent by a client that waits, or by one that lets others go on.

    Not by tenacity, which would have to be told each of the decisions in a callback.

    Args:
        policy: how it is sent.
        method: its method.
        url: its address.
        limiters: of whom it goes to.
        attempt: sends it once.
        sleep: waits for so many seconds.
        close: gives back the connection of a reply.
    """

    def __init__(
        self,
        policy: Policy[R],
        method: str,
        url: str,
        limiters: Sequence[Limiter],
        attempt: Callable[[], Awaitable[R]],
        sleep: Callable[[float], Awaitable[None]],
        close: Callable[[R], Awaitable[None]],
    ) -> None:
        self._policy = policy
        self._method = method
        self._url = url
        self._limiters = limiters
        self._attempt = attempt
        self._sleep = sleep
        self._close = close
        self._number = 1
        # Since when this try of it waits.
        self._waits_since = self._began = time.monotonic()
        self._ends_at = self._began + policy.seconds

    async def send(self) -> R:
        """Send it until that is final."""
        while True:
            try:
                reply = await self._send_once()
            except Exception as error:
                pause = self._pause_after(error)
                if pause is None:
                    raise
            else:
                pause = self._pause_after(reply)
                if pause is None:
                    return reply
                await self._close(reply)
            self._waits_since = time.monotonic()
            await self._wait(pause)
            self._number += 1

    async def _send_once(self) -> R:
        """Send it as soon as it may be."""
        limiters = [*self._limiters]
        if self._policy.is_capped and (capping := cap()):
            limiters.append(capping)
        with ExitStack() as stack:
            for limiter in limiters:
                for part in limiter.pauses(self._patience, goes_first=self._policy.is_urgent):
                    await self._sleep(part)
                stack.callback(limiter.end)
            self._policy.before_send(self._method, self._url)
            self._began = time.monotonic()
            reporter, sending = listening(), self._sending()
            with reporter.during(sending):
                reply = await self._attempt()
                reporter.note(Answered(sending, reply.status_code))
                return reply

    def _sending(self) -> Sending:
        """Return what is told of this try."""
        policy, waited = self._policy, self._began - self._waits_since
        return Sending(
            policy.service, self._method, self._url, self._number, waited, policy.is_capped
        )

    def _pause_after(self, ended: R | Exception) -> float | None:
        """Return for how many seconds to wait until it is sent again; None if it is not."""
        policy = self._policy
        attempt, (limiter, *_) = policy.judge(ended), self._limiters
        if not (isinstance(ended, Exception) or (attempt and attempt.is_too_many)):
            limiter.note_taken(self._began)
        if attempt is None:
            return None
        pause = attempt.pause(self._number)
        if attempt.is_too_many:
            limiter.note_refused(self._began, pause if attempt.holds_all else None)
        elif attempt.holds_all:
            limiter.hold_back(pause)
        is_repeatable = self._method in policy.repeatable or is_read(self._method, self._url)
        if not (attempt.was_refused or (attempt.may_pass and is_repeatable)):
            return None
        if policy.is_stopped() and pause > _PATIENCE_AT_STOP:
            raise NotBegunError(f"{policy.service} is not waited for: the run is to stop")
        if pause > self._ends_at - time.monotonic():
            return None
        # That one is refused now and then is how the pace is found.
        is_usual = attempt.is_too_many and attempt.asked is None and self._number == 1
        level = logging.DEBUG if is_usual else logging.WARNING
        log.log(level, "%s %s: trying again in %.0f s", policy.service, attempt.how, pause)
        return pause

    async def _wait(self, seconds: float) -> None:
        """Wait; at a stop not for long, so that it is sent at once, and once more."""
        ends_at = time.monotonic() + seconds
        for part in parts(seconds):
            if self._policy.is_stopped() and ends_at - time.monotonic() > _PATIENCE_AT_STOP:
                return
            await self._sleep(part)

    def _patience(self) -> float:
        """Return for how many seconds it can still wait."""
        rest = self._ends_at - time.monotonic()
        return min(rest, _PATIENCE_AT_STOP) if self._policy.is_stopped() else rest


def _holds_up_others() -> bool:
    """Whether an event loop runs in this thread that has other tasks: they wait as long."""
    if not (asyncio := sys.modules.get("asyncio")):
        return False
    try:
        return len(asyncio.all_tasks()) > 1
    except RuntimeError:
        return False


@cache
def _warn_of_blocking(service: str) -> None:
    log.warning(
        "%s is asked by a synchronous client in an event loop, where all else waits meanwhile:"
        " use self.async_mpt_client, or asyncio.to_thread for what has no asynchronous client",
        service,
    )


def asked_pause(retry_after: str) -> float | None:
    """Return the seconds that a Retry-After header asks for, itself or by a date, if any."""
    if retry_after.replace(".", "", 1).isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time())
