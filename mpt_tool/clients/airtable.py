"""The connection to Airtable: timed out, paced, and tried again where that is safe.

Airtable takes 5 requests a second and base, 50 a second and key over all bases, answers 429 beyond
that, and then takes none for 30 seconds (https://airtable.com/developers/web/api/rate-limits). So
no more are sent to a base than the setting STORAGE_AIRTABLE_REQUESTS_PER_SECOND allows, and a
request that fails for a passing reason is sent again, as long as the setting
STORAGE_AIRTABLE_RETRY_SECONDS allows. A POST whose reply was lost may have done its work already:
it is not sent again.
"""

import http.client
import io
import math
import random
import re
from dataclasses import replace
from typing import Any

from pyairtable import Api
from requests import ConnectionError, ConnectTimeout, PreparedRequest, Response, Timeout  # noqa: A004 - the one of requests
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ProxyError, SSLError
from urllib3.exceptions import NewConnectionError

from mpt_tool.clients import airtable_answers, rehearsal
from mpt_tool.clients.limiter import Limiter
from mpt_tool.clients.retries import (
    REPEATABLE,
    Attempt,
    BeforeSend,
    Policy,
    allow_all,
    asked_pause,
)
from mpt_tool.clients.settings import AirtableSettings

type TimeOut = tuple[float, float]

TIME_OUT: TimeOut = (10, 60)
REQUESTS_A_SECOND_AND_KEY = 50
LOCK_OUT_SECONDS = 30.0
# Where many processes were locked out together they are not to come back together, either: each
# waits for up to a fifth longer.
_LATER = 1 + random.random() / 5  # noqa: S311 - nothing secret
# The share of what a base takes that is left for others: of five a second, three.
_SHARE_OF_OTHERS = 0.6
# For so long, where Airtable refused one as there were too many: others ask as well.
_OTHERS_SECONDS = 180.0

# The address up to the base: what the limit is for.
_BASE = re.compile(r".*?/v0/(meta/bases/)?(?P<base>[^/?]*)")


def open_api(
    settings: AirtableSettings,
    before_send: BeforeSend = allow_all,
    time_out: TimeOut = TIME_OUT,
    is_urgent: bool = False,
    is_capped: bool = False,
) -> Api:
    """Return a client for the Airtable that the settings name; several threads may use it.

    Args:
        settings: which Airtable, with which key, and how long to try.
        before_send: what may refuse a request, each time that it is about to be sent.
        time_out: seconds to connect, and to wait for a reply.
        is_urgent: whether a request goes before all others, waits for no pause, and is sent once.
        is_capped: whether a migration may cap how many requests a second there are.
    """
    api = Api(
        settings.api_key.get_secret_value(),
        retry_strategy=None,
        endpoint_url=settings.endpoint_url,
    )
    seconds = 0.0 if is_urgent else settings.retry_seconds
    adapter = AirtableAdapter(
        seconds, settings.requests_per_second, before_send, time_out, is_urgent, is_capped
    )
    api.session.mount("https://", adapter)
    api.session.mount("http://", adapter)
    return api


class AirtableAdapter(HTTPAdapter):
    """Sends requests of one process in the pace that Airtable allows, and again if they may be.

    Args:
        retry_seconds: how long after its beginning a request may still wait, or be sent again.
        per_second: how many requests a second a base is to get.
        before_send: what may refuse a request, each time that it is about to be sent.
        time_out: seconds to connect, and to wait for a reply.
        is_urgent: whether its requests go before all others.
        is_capped: whether a migration may cap how many of them there are a second.
    """

    def __init__(
        self,
        retry_seconds: float,
        per_second: float,
        before_send: BeforeSend = allow_all,
        time_out: TimeOut = TIME_OUT,
        is_urgent: bool = False,
        is_capped: bool = False,
    ) -> None:
        super().__init__()
        self._per_second = per_second
        repeatable = REPEATABLE | {"PATCH"}
        self._policy: Policy[Response] = Policy(
            "Airtable", _judge, retry_seconds, repeatable, before_send, is_urgent, is_capped
        )
        self._time_out = time_out

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:  # type: ignore[override] # same call
        """Return the first reply that is final, or the last one there was time for.

        Raises:
            RefusedWriteError: it may change something, and nothing is to be written now.
        """
        now = rehearsal.rehearsal_now()
        answer = now.answer(_plain_request(request), airtable_answers) if now else None
        if answer is None:
            return self._send(request, **kwargs)

        def read(asked: rehearsal.Request) -> rehearsal.Reply:
            return _plain_reply(self._send(_request(asked, request), **kwargs))

        return _response(rehearsal.answered(answer, read), request)

    def _send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        kwargs["timeout"] = kwargs.get("timeout") or self._time_out
        send = super().send
        method, url = str(request.method), str(request.url)

        def attempt() -> Response:
            reply = send(request, **kwargs)
            # Read while a cut in the body still counts as an attempt that failed.
            _ = reply.content
            if reply.status_code == 429:
                # Whoever else uses the base goes on doing so.
                leave_room(url, self._per_second, _OTHERS_SECONDS)
            return reply

        key = request.headers.get("Authorization", "")
        limiters = [_limiter(url, self._per_second), _limiter_of_key(key)]
        return self._policy.send(method, url, limiters, attempt)


def _plain_request(request: PreparedRequest) -> rehearsal.Request:
    """Return a request as a rehearsal takes it."""
    body = request.body or b""
    content = body.encode() if isinstance(body, str) else body
    return rehearsal.Request(str(request.method), str(request.url), content)


def _request(asked: rehearsal.Request, like: PreparedRequest) -> PreparedRequest:
    """Return the request that a rehearsal asks for, with the headers of another."""
    request = like.copy()
    request.prepare_method(asked.method)
    request.prepare_url(asked.url, None)
    request.prepare_body(asked.content or None, None)
    if not asked.content:
        request.headers.pop("Content-Length", None)
    return request


def _plain_reply(response: Response) -> rehearsal.Reply:
    """Return a reply as a rehearsal takes it."""
    content_type = response.headers.get("Content-Type", "")
    return rehearsal.Reply(response.status_code, response.content, content_type)


def _response(reply: rehearsal.Reply, request: PreparedRequest) -> Response:
    """Return the reply of a rehearsal as the library takes it."""
    response = Response()
    response.status_code = reply.status
    response.reason = http.client.responses.get(reply.status, "")
    response.headers["Content-Type"] = reply.content_type
    response.encoding = "utf-8"
    response.raw = io.BytesIO(reply.content)
    response.url, response.request = str(request.url), request
    return response


# Shared by all clients of the process: Airtable counts what a base gets, whoever sends it.
_limiters: dict[str, Limiter] = {}


def _limiter(url: str, per_second: float) -> Limiter:
    """Return the limiter of the base that a request goes to."""
    match = _BASE.match(url)
    base = match["base"] if match else ""
    count = math.ceil(per_second)
    # Counted from the reply: the request reached Airtable before, nobody knows when.
    new = Limiter(
        count, count / per_second, counts_from_end=True, name=f"Airtable base {base}".rstrip()
    )
    return _limiters.setdefault(match[0] if match else url, new)


def leave_room(url: str, per_second: float, seconds: float) -> None:
    """Send requests to the base of this address further apart, for so many seconds.

    What others send to it counts for Airtable, too, and is not known here.

    Args:
        url: an address in the base.
        per_second: how many requests a second the base is to get otherwise.
        seconds: for how long.
    """
    # A little more, so that it is never one too many.
    apart = 1.04 / (per_second * (1 - _SHARE_OF_OTHERS))
    _limiter(url, per_second).leave_room(apart, seconds)


_limiters_of_keys: dict[str, Limiter] = {}


def _limiter_of_key(authorization: str) -> Limiter:
    """Return the limiter of what a key may ask of all bases together."""
    new = Limiter(REQUESTS_A_SECOND_AND_KEY, 1, counts_from_end=True, name="Airtable")
    return _limiters_of_keys.setdefault(authorization, new)


def _judge(ended: Response | BaseException) -> Attempt | None:
    """Return how an attempt ended; None if that is final."""
    if isinstance(ended, BaseException):
        how = f"did not answer ({type(ended).__name__})"
        return Attempt(how, _was_not_sent(ended), may_pass=True) if _may_pass(ended) else None
    status = ended.status_code
    attempt = Attempt(
        f"answered {status}", may_pass=True, asked=asked_pause(ended.headers.get("Retry-After", ""))
    )
    if status == 429:
        asked = LOCK_OUT_SECONDS if attempt.asked is None else attempt.asked
        return replace(attempt, was_refused=True, holds_all=True, asked=asked * _LATER)
    if status >= 500:
        # Not refused: 503 also stands for what took Airtable too long.
        return replace(attempt, holds_all=status == 503 and attempt.asked is not None)
    return None


def _was_not_sent(error: BaseException) -> bool:
    """Return whether there never was a connection."""
    # What requests raises holds urllib3's error, which has the reason.
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, ConnectTimeout) or isinstance(reason, NewConnectionError)


def _may_pass(error: BaseException) -> bool:
    """Return whether the connection failed, and not what was asked for or how."""
    passing = isinstance(error, ConnectionError | Timeout | ChunkedEncodingError)
    return passing and not isinstance(error, SSLError | ProxyError)
