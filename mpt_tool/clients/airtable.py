"""The connection to Airtable: timed out, paced, and tried again where that is safe.

Airtable takes 5 requests a second and base, answers 429 beyond that, and then takes none for 30
seconds (https://airtable.com/developers/web/api/rate-limits). So requests are sent 5 a second at
most, and one that fails for a passing reason is sent again, as long as the setting
STORAGE_AIRTABLE_RETRY_SECONDS allows. A POST whose reply was lost may have done its work already:
it is not sent again.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from pyairtable import Api
from requests import ConnectionError, ConnectTimeout, PreparedRequest, Response, Timeout  # noqa: A004 - the one of requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ProxyError, SSLError
from tenacity import RetryCallState, Retrying, stop_before_delay

from mpt_tool.clients.guard import Guard, allow_all
from mpt_tool.clients.pauses import Pauses, asked_pause
from mpt_tool.process.log import get_log
from mpt_tool.settings import Settings

type TimeOut = tuple[float, float]

TIME_OUT: TimeOut = (10, 60)
REQUESTS_A_SECOND = 5
LOCK_OUT_SECONDS = 30.0
_LONGEST_PAUSE_SECONDS = 30.0

log = get_log(__name__)


def open_api(settings: Settings, guard: Guard = allow_all, time_out: TimeOut = TIME_OUT) -> Api:
    """Return a client for the Airtable that the settings name; several threads may use it.

    Args:
        settings: which Airtable, with which key, and how long to try.
        guard: what may refuse a request, each time that it is about to be sent.
        time_out: seconds to connect, and to wait for a reply.

    Raises:
        SettingsError: the key is missing or the address is none.
    """
    api = Api(
        settings.require("airtable_api_key"),
        retry_strategy=None,
        endpoint_url=settings.require_url("storage_airtable_endpoint_url"),
    )
    adapter = PoliteAdapter(settings.storage_airtable_retry_seconds, guard, time_out)
    api.session.mount("https://", adapter)
    api.session.mount("http://", adapter)
    return api


class PoliteAdapter(HTTPAdapter):
    """Sends requests of one process in the pace that Airtable allows, and again if they may be.

    Args:
        retry_seconds: how long after its first attempt a request may still be sent again.
        guard: what may refuse a request, each time that it is about to be sent.
        time_out: seconds to connect, and to wait for a reply.
    """

    def __init__(
        self, retry_seconds: float, guard: Guard = allow_all, time_out: TimeOut = TIME_OUT
    ) -> None:
        super().__init__()
        self._retry_seconds = retry_seconds
        self._guard = guard
        self._time_out = time_out

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # type: ignore[override] # same call
        """Return the first reply that is final, or the last one there was time for."""
        kwargs["timeout"] = kwargs.get("timeout") or self._time_out
        retrying = Retrying(
            retry=_may_be_sent_again(request),
            wait=_pause,
            stop=stop_before_delay(self._retry_seconds),
            before_sleep=_say_that_it_waits,
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        return retrying(self._send_paced, request, **kwargs)

    def _send_paced(self, request: PreparedRequest, **kwargs: Any) -> Response:
        host = urlsplit(request.url or "").netloc
        slots = _slots_by_host[host]
        free_from = slots.get()
        try:
            time.sleep(max(0.0, free_from - time.monotonic()))
            _pauses.wait(host)
            self._guard(str(request.method), str(request.url))
            try:
                return self._send_once(request, **kwargs)
            finally:
                # Counted from the reply: the request reached Airtable before, nobody knows when.
                free_from = time.monotonic() + 1
        finally:
            slots.put(free_from)

    def _send_once(self, request: PreparedRequest, **kwargs: Any) -> Response:
        reply = super().send(request, **kwargs)
        # Read while a cut in the body still counts as an attempt that failed.
        _ = reply.content
        if pause := _asked_of_all(reply):
            _pauses.ask(str(urlsplit(request.url).netloc), pause)
        return reply


def _slots() -> SimpleQueue[float]:
    """Return the moments from which on a host may be sent one more request, as many as a second."""
    slots = SimpleQueue[float]()
    for _ in range(REQUESTS_A_SECOND):
        slots.put(0.0)
    return slots


# Shared by all clients of the process: Airtable counts what a base gets, whoever sends it.
_slots_by_host: defaultdict[str, SimpleQueue[float]] = defaultdict(_slots)


# Until when a host wants nothing, for all clients of the process too.
_pauses = Pauses()


def _asked_of_all(reply: Response) -> float | None:
    """Return for how many seconds Airtable takes no request, whoever sends it."""
    asked = asked_pause(reply.headers.get("Retry-After", ""))
    if reply.status_code == 429:
        return LOCK_OUT_SECONDS if asked is None else asked
    return asked if reply.status_code == 503 else None


def _may_be_sent_again(request: PreparedRequest) -> Callable[[RetryCallState], bool]:
    """Return whether an attempt failed for a passing reason and repeating it does no harm."""
    repeatable = request.method != "POST"

    def decide(state: RetryCallState) -> bool:
        if state.outcome is None:
            return False
        error = state.outcome.exception()
        if error is not None:
            return isinstance(error, ConnectTimeout) or (repeatable and _is_passing(error))
        status: int = state.outcome.result().status_code
        return status == 429 or (repeatable and status >= 500)

    return decide


def _is_passing(error: BaseException) -> bool:
    """Return whether the connection failed, and not what was asked for or how."""
    passing = isinstance(error, ConnectionError | Timeout | ChunkedEncodingError)
    return passing and not isinstance(error, SSLError | ProxyError)


def _pause(state: RetryCallState) -> float:
    """Return how many seconds to wait: what the reply asks for, else 1, 2, 4 and so on."""
    if state.outcome is not None and not state.outcome.failed:
        reply: Response = state.outcome.result()
        asked = asked_pause(reply.headers.get("Retry-After", ""))
        if asked is not None:
            return asked
        if reply.status_code == 429:
            return LOCK_OUT_SECONDS
    return min(2.0 ** (state.attempt_number - 1), _LONGEST_PAUSE_SECONDS)


def _say_that_it_waits(state: RetryCallState) -> None:
    if state.outcome is None or state.next_action is None:
        return
    error = state.outcome.exception()
    reason = (
        f"answered {state.outcome.result().status_code}"
        if error is None
        else f"did not answer ({type(error).__name__})"
    )
    log.warning("Airtable %s: trying again in %.0f s", reason, state.next_action.sleep)
