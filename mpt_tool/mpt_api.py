"""The connection to the Marketplace Platform: polite to it, and the same for all workers.

A reply 429, or 503 with Retry-After, was not acted upon: the request is sent again after the pause
that it asks for, else after 1, 2, 4 and so on seconds, and all other requests to the host wait as
long. A 502, 503 or 504 without that, and a connection that failed, are asked again only if the
method may be repeated; a connection that was never made, always.
"""

import logging
import time
from inspect import signature

import httpx
from mpt_api_client import MPTClient

from mpt_tool.guard import Guard, allow_all
from mpt_tool.politeness import Pauses, asked_pause
from mpt_tool.settings import Settings

TRIES = 6
_PASSING = frozenset({502, 503, 504})
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})

log = logging.getLogger(__name__)

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
        host = request.url.netloc.decode()
        for number in range(1, TRIES):
            default = 2.0 ** (number - 1)
            try:
                reply = self._send(request, host)
            except httpx.TransportError as error:
                if not _was_not_acted_upon(error, request.method):
                    raise
                kind = type(error).__name__
                log.warning("The platform did not answer (%s): again in %.0f s", kind, default)
                time.sleep(default)
                continue
            pause = _pause(request.method, reply, default)
            if pause is None:
                return reply
            reply.close()
            log.warning("The platform answered %d: again in %.0f s", reply.status_code, pause)
            if reply.status_code in {429, 503}:
                _pauses.ask(host, pause)
            else:
                time.sleep(pause)
        return self._send(request, host)

    def _send(self, request: httpx.Request, host: str) -> httpx.Response:
        _pauses.wait(host)
        self._guard(request.method, str(request.url))
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


def _was_not_acted_upon(error: httpx.TransportError, method: str) -> bool:
    """Whether a request may be sent again: it was never received, or repeating it does no harm."""
    never_received = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
    return never_received or method in _REPEATABLE


def _pause(method: str, reply: httpx.Response, default: float) -> float | None:
    """Return the seconds until the request may be sent again; None if it may not."""
    asked = asked_pause(reply.headers.get("Retry-After", ""))
    not_acted_upon = reply.status_code == 429 or (reply.status_code == 503 and asked is not None)
    repeatable = reply.status_code in _PASSING and method in _REPEATABLE
    if not (not_acted_upon or repeatable):
        return None
    return default if asked is None else asked
