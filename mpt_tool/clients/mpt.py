"""The connection to the Marketplace Platform: polite to it, and the same for all workers.

A reply 429, or 503 with Retry-After, was not acted upon: the request is sent again after the pause
that it asks for, else after 1, 2, 4 and so on seconds, and all other requests to the host wait as
long. A 502, 503 or 504 without that, and a connection that failed, are asked again only if the
method may be repeated; a connection that was never made, always.
"""

from collections.abc import Callable
from functools import partial
from inspect import signature

import httpx
from mpt_api_client import MPTClient
from tenacity import RetryCallState, Retrying, stop_after_attempt

from mpt_tool.clients.guard import Guard, allow_all
from mpt_tool.clients.pauses import Pauses, asked_pause
from mpt_tool.process.log import get_log
from mpt_tool.settings import Settings

TRIES = 6
_PASSING = frozenset({502, 503, 504})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

log = get_log(__name__)

# Shared by all clients of the process: the platform counts what it gets, whoever sends it.
_pauses = Pauses()


def open_client(settings: Settings, guard: Guard = allow_all) -> MPTClient:
    """Return a client of the platform that the settings name; it may be used by several threads.

    Raises:
        SettingsError: MPT_API_TOKEN or MPT_API_BASE_URL is not set, or the address is none.
    """
    token = settings.require("mpt_api_token")
    base_url = settings.require_url("mpt_api_base_url")
    client = _make(token, base_url)
    made = client.http_client.httpx_client
    client.http_client.httpx_client = httpx.Client(
        base_url=made.base_url,
        headers=made.headers,
        auth=made.auth,
        timeout=made.timeout,
        follow_redirects=made.follow_redirects,
        transport=PoliteTransport(httpx.HTTPTransport(), guard),
    )
    made.close()
    return client


def _make(token: str, base_url: str) -> MPTClient:
    if "api_token" in signature(MPTClient.from_config).parameters:
        return MPTClient.from_config(api_token=token, base_url=base_url)  # type: ignore[call-arg] # before 6.3

    from mpt_api_client import BearerTokenAuthentication

    return MPTClient.from_config(authentication=BearerTokenAuthentication(token), base_url=base_url)


class PoliteTransport(httpx.BaseTransport):
    """Sends requests when the host takes them, and again if that can do no harm.

    Args:
        transport: what sends a request once.
        guard: what may refuse a request, each time that it is about to be sent.
    """

    def __init__(self, transport: httpx.BaseTransport, guard: Guard) -> None:
        self._transport = transport
        self._guard = guard

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first reply that is final, or the last one.

        Raises:
            httpx.TransportError: there is no reply, and asking again could do harm or is no use.
        """
        retrying = Retrying(
            retry=_may_be_sent_again(request.method),
            wait=_pause,
            stop=stop_after_attempt(TRIES),
            before_sleep=partial(_hold_back, _host(request)),
            retry_error_callback=lambda state: state.outcome and state.outcome.result(),
        )
        return retrying(self._send, request)

    def _send(self, request: httpx.Request) -> httpx.Response:
        _pauses.wait(_host(request))
        self._guard(request.method, str(request.url))
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _host(request: httpx.Request) -> str:
    return request.url.netloc.decode()


def _may_be_sent_again(method: str) -> Callable[[RetryCallState], bool]:
    """Return whether a request was not acted upon, or failed for now and repeating is harmless."""
    is_repeatable = method in _REPEATABLE

    def decide(state: RetryCallState) -> bool:
        if state.outcome is None:
            return False
        error = state.outcome.exception()
        if error is not None:
            was_not_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return was_not_sent or (is_repeatable and isinstance(error, httpx.TransportError))
        reply: httpx.Response = state.outcome.result()
        was_refused = reply.status_code == 503 and _asked(reply) is not None
        is_passing = is_repeatable and reply.status_code in _PASSING
        return reply.status_code == 429 or was_refused or is_passing

    return decide


def _pause(state: RetryCallState) -> float:
    """Return how many seconds to wait: what the reply asks for, else 1, 2, 4 and so on."""
    default = 2.0 ** (state.attempt_number - 1)
    if state.outcome is None or state.outcome.failed:
        return default
    asked = _asked(state.outcome.result())
    return default if asked is None else asked


def _asked(reply: httpx.Response) -> float | None:
    return asked_pause(reply.headers.get("Retry-After", ""))


def _hold_back(host: str, state: RetryCallState) -> None:
    """Say that a request waits to be sent again, and let others wait if the host asked for that."""
    if state.outcome is None or state.next_action is None:
        return
    pause = state.next_action.sleep
    if error := state.outcome.exception():
        kind = type(error).__name__
        log.warning("The platform did not answer (%s): again in %.0f s", kind, pause)
        return
    reply: httpx.Response = state.outcome.result()
    reply.close()
    log.warning("The platform answered %d: again in %.0f s", reply.status_code, pause)
    if reply.status_code in {429, 503}:
        _pauses.ask(host, pause)
