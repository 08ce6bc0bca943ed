"""The connection to the Marketplace Platform: paused and tried again as it asks, for all workers.

A reply 429, or 503 with Retry-After, was not acted upon: the request is sent again after the pause
that it asks for, and all other requests with the same token wait as long. If it asks for none, it
is sent again after 1/4, 1/2, 1 and so on seconds. Each 429 slows down all requests with the token.
A 502, 503 or 504 without Retry-After, and a connection that failed, are asked again only if the
method may be repeated; a connection that was never made, always.
"""

from collections.abc import AsyncGenerator, Mapping
from inspect import signature
from ssl import SSLError
from typing import TYPE_CHECKING, Any

import httpx
from mpt_api_client import AsyncMPTClient, MPTClient

from mpt_tool.clients import platform_answers, rehearsal
from mpt_tool.clients.limiter import Limiter
from mpt_tool.clients.retries import RETRY_SECONDS, Attempt, Policy, asked_pause
from mpt_tool.clients.settings import PlatformSettings

if TYPE_CHECKING:
    # Too slow to import where nothing is asynchronous.
    from asyncio import AbstractEventLoop

_PASSING = frozenset({502, 503, 504})


def open_client(settings: PlatformSettings, retry_seconds: float = RETRY_SECONDS) -> MPTClient:
    """Return a client of the platform that the settings name; it may be used by several threads.

    Args:
        settings: which platform, with which token.
        retry_seconds: how long after its beginning a request may still wait, or be sent again.
    """
    client = _make(MPTClient, settings)
    made = client.http_client.httpx_client
    transport = PlatformTransport(httpx.HTTPTransport(), retry_seconds)
    client.http_client.httpx_client = httpx.Client(**_options(made), transport=transport)
    made.close()
    return client


def open_async_client(settings: PlatformSettings) -> AsyncMPTClient:
    """Return an asynchronous client; it may be used in several event loops.

    What it opens in one is closed at the end of that.
    """
    client = _make(AsyncMPTClient, settings)
    options = _options(client.http_client.httpx_client)
    transport = AsyncPlatformTransport()
    client.http_client.httpx_client = httpx.AsyncClient(**options, transport=transport)
    return client


def _make[Client: (MPTClient, AsyncMPTClient)](
    kind: type[Client], settings: PlatformSettings
) -> Client:
    token, base_url = settings.api_token.get_secret_value(), settings.base_url
    if "api_token" in signature(kind.from_config).parameters:
        return kind.from_config(api_token=token, base_url=base_url)  # type: ignore[call-arg] # before 6.3

    from mpt_api_client import BearerTokenAuthentication

    return kind.from_config(authentication=BearerTokenAuthentication(token), base_url=base_url)


def _options(made: httpx.Client | httpx.AsyncClient) -> Mapping[str, Any]:
    """Return what a client was made with, but for how it sends."""
    names = ("base_url", "headers", "auth", "timeout", "follow_redirects")
    return {name: getattr(made, name) for name in names}


class PlatformTransport(httpx.BaseTransport):
    """Sends requests when the platform takes them, and again if that can do no harm.

    Args:
        transport: what sends a request once.
        retry_seconds: how long after its beginning a request may still wait, or be sent again.
    """

    def __init__(
        self, transport: httpx.BaseTransport, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._transport = transport
        self._policy: Policy[httpx.Response] = Policy(
            "The platform", _judge, retry_seconds, is_capped=True
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first reply that is final, or the last one there was time for.

        Raises:
            httpx.TransportError: there is no reply, and asking again could do harm or is no use.
            RefusedWriteError: it may change something, and nothing is to be written now.
        """
        now = rehearsal.rehearsal_now()
        if now is None or is_streamed(request):
            return self._send(request)
        request.read()
        answer = now.answer(plain_request(request), platform_answers)
        if answer is None:
            return self._send(request)

        def read(asked: rehearsal.Request) -> rehearsal.Reply:
            response = self._send(request_like(request, asked))
            response.read()
            return plain_reply(response)

        return response_of(rehearsal.answered(answer, read))

    def _send(self, request: httpx.Request) -> httpx.Response:
        return self._policy.send(
            request.method,
            str(request.url),
            [_limiter(request)],
            lambda: self._transport.handle_request(request),
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class AsyncPlatformTransport(httpx.AsyncBaseTransport):
    """Does the same for an asynchronous client, which may be used in several event loops.

    Args:
        retry_seconds: how long after its beginning a request may still wait, or be sent again.
    """

    def __init__(self, retry_seconds: float = RETRY_SECONDS) -> None:
        self._policy: Policy[httpx.Response] = Policy(
            "The platform", _judge, retry_seconds, is_capped=True
        )
        # Connections live in the event loop that opened them.
        self._opened: dict[AbstractEventLoop, AsyncGenerator[httpx.AsyncHTTPTransport, None]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first reply that is final, or the last one there was time for.

        Raises:
            httpx.TransportError: there is no reply, and asking again could do harm or is no use.
            RefusedWriteError: it may change something, and nothing is to be written now.
        """
        now = rehearsal.rehearsal_now()
        if now is None or is_streamed(request):
            return await self._send(request)
        await request.aread()
        answer = now.answer(plain_request(request), platform_answers)
        if answer is None:
            return await self._send(request)

        async def read(asked: rehearsal.Request) -> rehearsal.Reply:
            response = await self._send(request_like(request, asked))
            await response.aread()
            return plain_reply(response)

        return response_of(await rehearsal.answered_async(answer, read))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        transport = await anext(self._opened_here())
        return await self._policy.send_async(
            request.method,
            str(request.url),
            [_limiter(request)],
            lambda: transport.handle_async_request(request),
        )

    def _opened_here(self) -> AsyncGenerator[httpx.AsyncHTTPTransport, None]:
        """Return what yields the transport of the running event loop, time and again."""
        from asyncio import get_running_loop

        here = get_running_loop()
        if here not in self._opened:
            for loop in list(self._opened):
                if loop.is_closed():
                    self._opened.pop(loop, None)
            self._opened[here] = _opened()
        return self._opened[here]


async def _opened() -> AsyncGenerator[httpx.AsyncHTTPTransport, None]:
    """Yield the same transport again and again, and close it at last.

    That is when the event loop ends, which closes all asynchronous generators that began in it:
    that of a batch, of `async def run` and of a script's own `asyncio.run` alike.
    """
    async with httpx.AsyncHTTPTransport() as transport:
        while True:
            yield transport


def is_streamed(request: httpx.Request) -> bool:
    """Whether a list is asked for as a stream, which shows nothing of what was rehearsed."""
    return request.method == "GET" and "MPT-Streaming" in request.headers


def plain_request(request: httpx.Request) -> rehearsal.Request:
    """Return a request, whose body was read, as a rehearsal takes it."""
    content_type = request.headers.get("Content-Type", "")
    return rehearsal.Request(request.method, str(request.url), request.content, content_type)


def request_like(request: httpx.Request, asked: rehearsal.Request) -> httpx.Request:
    """Return the request that a rehearsal asks for, with the headers of another."""
    headers = {
        name: value
        for name, value in request.headers.items()
        if name not in {"content-length", "content-type", "transfer-encoding"}
    }
    return httpx.Request(
        asked.method,
        asked.url,
        headers=headers,
        content=asked.content or None,
        extensions=request.extensions,
    )


def plain_reply(response: httpx.Response) -> rehearsal.Reply:
    """Return a reply, whose body was read, as a rehearsal takes it."""
    content_type = response.headers.get("Content-Type", "")
    return rehearsal.Reply(response.status_code, response.content, content_type)


def response_of(reply: rehearsal.Reply) -> httpx.Response:
    """Return the reply of a rehearsal as the library takes it."""
    headers = {"Content-Type": reply.content_type}
    return httpx.Response(reply.status, headers=headers, content=reply.content)


# Shared by all clients of the process: the platform counts what a token sends, from wherever.
_limiters: dict[tuple[str, str], Limiter] = {}


def _limiter(request: httpx.Request) -> Limiter:
    """Return the limiter of the host and the token of a request."""
    host = request.url.netloc.decode()
    whose = (host, request.headers.get("Authorization", ""))
    return _limiters.setdefault(whose, Limiter(finds_rate=True, name=host))


def _judge(ended: httpx.Response | BaseException) -> Attempt | None:
    """Return how an attempt ended; None if that is final."""
    if isinstance(ended, BaseException):
        was_not_sent = isinstance(ended, httpx.ConnectError | httpx.ConnectTimeout)
        how = f"did not answer ({type(ended).__name__})"
        return Attempt(how, was_refused=was_not_sent, may_pass=True) if _may_pass(ended) else None
    status = ended.status_code
    asked = asked_pause(ended.headers.get("Retry-After", ""))
    was_refused = status == 429 or (status == 503 and asked is not None)
    if not (was_refused or status in _PASSING):
        return None
    is_too_many = status == 429
    # Without a pause that it asks for, the pace is found out.
    holds_all = status == 503 or (is_too_many and asked is not None)
    return Attempt(f"answered {status}", was_refused, True, asked, holds_all, is_too_many)


def _may_pass(error: BaseException) -> bool:
    """Return whether the connection failed, and not what was asked for or how."""
    # httpx raises its own error from that of httpcore, which was raised as that of TLS was handled.
    is_of_tls = isinstance(getattr(error.__cause__, "__context__", None), SSLError)
    passing = httpx.NetworkError | httpx.TimeoutException | httpx.RemoteProtocolError
    return isinstance(error, passing) and not is_of_tls
