"""A threaded HTTP server on the loopback interface, with faults on demand and a request log.

What it serves is up to a subclass: see `airtable_server` and `mpt_server`.
"""

import json
import re
import socket
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

_POLL_SECONDS = 0.01


@dataclass
class Request:
    """A request as it arrived, and what became of it.

    `path` is percent-decoded; `segments` are its parts, split before decoding, so that a part may
    contain a slash. `status` is None while there is no reply, and stays so if none was sent.
    """

    method: str
    path: str
    segments: tuple[str, ...]
    query: Mapping[str, list[str]]
    body: Any
    token: str
    time: float
    status: int | None = None

    def matches(self, method: str | None, path: str) -> bool:
        """Return whether it has this method (None: any) and the regexp is found in its path."""
        return method in (None, self.method) and re.search(path, self.path) is not None


@dataclass(frozen=True)
class Reply:
    """What is sent back; the body is encoded at once, so that later changes do not reach it."""

    status: int
    content: bytes
    headers: Mapping[str, str]

    @classmethod
    def of(cls, status: int, body: object, headers: Mapping[str, str] | None = None) -> Self:
        """Return a reply with a body of text as it is, of anything else as JSON."""
        if isinstance(body, str):
            kind, content = "text/plain", body
        else:
            kind, content = "application/json", json.dumps(body)
        content_type = {"Content-Type": f"{kind}; charset=utf-8"}
        return cls(status, content.encode(), content_type | dict(headers or {}))


class ApiError(Exception):
    """Ends the handling of a request with an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass
class _Fault:
    """What goes wrong with the next `times` requests that match."""

    method: str | None = None
    path: str = ""
    times: int = 1
    reply: Reply | None = None
    delay: float = 0.0
    drop: bool = False
    after_write: bool = True


class LoopbackServer(ABC):
    """Serves HTTP/1.1 with keep-alive on a free port of 127.0.0.1, for holders of a bearer token.

    Requests are handled one at a time, under the lock that also guards the helpers: neither ever
    sees half of a change. Use it as a context manager; on exit the port and all connections are
    closed and no thread is left.

    Args:
        token: the only bearer token that is let in.
        clock: returns the seconds since the epoch that the server goes by.
    """

    def __init__(self, token: str, clock: Callable[[], float]) -> None:
        self.token = token
        self._clock = clock
        self._lock = threading.RLock()
        self._faults: list[_Fault] = []
        self._requests: list[Request] = []
        self._stopped = threading.Event()
        self._listener = _Listener(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(
            target=self._listener.serve_forever, args=(_POLL_SECONDS,), daemon=True
        )

    @property
    def url(self) -> str:
        """The address of the server, without a path."""
        return f"http://127.0.0.1:{self._listener.server_port}"

    def start(self) -> None:
        """Begin to answer requests."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port and all connections; replies that are being held back are sent at once."""
        self._stopped.set()
        self._listener.shutdown()
        self._thread.join()
        self._listener.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def answer(
        self,
        status: int,
        body: object = "",
        *,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        path: str = "",
        times: int = 1,
        after_write: bool = False,
    ) -> None:
        """Answer the next matching requests with this; they have no effect, or have `after_write`.

        Args:
            status: the status of the reply.
            body: its body: text is sent as it is, anything else as JSON.
            headers: headers to add to it.
            method: the method to match, None for any.
            path: a regexp to be found in the path.
            times: how many requests this happens to.
            after_write: whether the request takes effect all the same.
        """
        reply = Reply.of(status, body, headers)
        self._queue(_Fault(method, path, times, reply=reply, after_write=after_write))

    def delay(
        self, seconds: float, *, method: str | None = None, path: str = "", times: int = 1
    ) -> None:
        """Hold the replies to the next matching requests back; they take effect at once."""
        self._queue(_Fault(method, path, times, delay=seconds))

    def drop(
        self,
        *,
        method: str | None = None,
        path: str = "",
        times: int = 1,
        after_write: bool = False,
    ) -> None:
        """Close the connection instead of replying to the next matching requests.

        They have no effect, or with `after_write` all of it: then only the reply is lost.
        """
        self._queue(_Fault(method, path, times, drop=True, after_write=after_write))

    def requests(self, method: str | None = None, path: str = "") -> list[Request]:
        """Return the requests so far in their order: of one method, with the regexp in the path."""
        with self._lock:
            return [request for request in self._requests if request.matches(method, path)]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()

    @abstractmethod
    def handle(self, request: Request) -> Reply:
        """Return the reply to an authenticated request; called under the lock.

        Raises:
            ApiError: the request is refused.
        """

    @abstractmethod
    def unauthenticated(self) -> Reply:
        """Return the reply to a request with a wrong token or none."""

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return self._clock()

    def reply_to(self, request: Request) -> Reply | None:
        """Let the request take effect and return the reply, or None to close the connection."""
        with self._lock:
            self._requests.append(request)
            fault = self._take_fault(request)
            own = self._handle(request) if fault.after_write else None
            reply = None if fault.drop else fault.reply or own
            request.status = reply.status if reply else None
        self._stopped.wait(fault.delay)
        return reply

    def _handle(self, request: Request) -> Reply:
        if request.token != self.token:
            return self.unauthenticated()
        try:
            return self.handle(request)
        except ApiError as error:
            return error.reply

    def _queue(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _take_fault(self, request: Request) -> _Fault:
        for fault in self._faults:
            if fault.times and request.matches(fault.method, fault.path):
                fault.times -= 1
                return fault
        return _Fault()


class _Handler(BaseHTTPRequestHandler):
    """Translates between HTTP and the server's requests and replies."""

    protocol_version = "HTTP/1.1"
    # A reply is one write: in several, the acknowledgements would slow down a kept connection.
    wbufsize = -1
    disable_nagle_algorithm = True

    def __init__(self, owner: LoopbackServer, *args: Any) -> None:
        self._owner = owner
        super().__init__(*args)

    def do_GET(self) -> None:
        reply = self._owner.reply_to(self._request())
        if reply is None:
            self.close_connection = True
        else:
            self._send(reply)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _request(self) -> Request:
        url = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return Request(
            method=self.command,
            path=unquote(url.path),
            segments=tuple(unquote(part) for part in url.path.strip("/").split("/")),
            query=parse_qs(url.query, keep_blank_values=True),
            body=json.loads(content) if content else None,
            token=self.headers.get("Authorization", "").removeprefix("Bearer "),
            time=self._owner.now(),
        )

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        # A reply that announces more than it sends is one that is cut off.
        if "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time of the header `Date`: what the server goes by."""
        return super().date_time_string(self._owner.now() if timestamp is None else timestamp)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: tests look at the requests instead."""


class _Listener(ThreadingHTTPServer):
    """Closes the connections that clients keep open, so that closing it leaves no thread."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: Callable[..., BaseHTTPRequestHandler]
    ) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        for connection in tuple(self._connections):
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RD)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback, unless the client merely hung up on a late reply."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
