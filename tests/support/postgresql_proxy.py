"""What stands between a client and PostgreSQL: it counts their round trips."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from support.postgresql_front import standing_before

# What the server answers at once: a simple query, and the end of an extended one.
_ASKED = (b"Q", b"S")


class CountingProxy:
    """Hands on all that is said; `trips` is how often the server was asked since it was set."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.trips = 0
        self._sockets: list[socket.socket] = []

    def serve(self) -> None:
        """Take connections until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets += [client, server]
                for target, ends in ((self._asked, (client, server)), (_hand_on, (server, client))):
                    threading.Thread(target=target, args=ends, daemon=True).start()

    def close(self) -> None:
        """End all connections, and take no further one."""
        for each in (self._listening, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _asked(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what a client says, and count where it waits for an answer."""
        said, is_begun = b"", False
        with suppress(OSError):
            while received := client.recv(65536):
                said += received
                while True:
                    # The first messages have no type: TLS is refused by the server, then it begins.
                    head = 1 if is_begun else 0
                    if len(said) < head + 4:
                        break
                    size = head + int.from_bytes(said[head : head + 4])
                    if len(said) < size:
                        break
                    message, said = said[:size], said[size:]
                    if is_begun:
                        self.trips += message[:1] in _ASKED
                    else:
                        is_begun = message[4:8] == (196608).to_bytes(4)
                server.sendall(received)
        with suppress(OSError):
            server.shutdown(socket.SHUT_WR)


def _hand_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while received := one.recv(65536):
            other.sendall(received)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def counting_proxy(url: str) -> Iterator[tuple[CountingProxy, str]]:
    """Stand before the server of an address; give the proxy and the address of it."""
    with standing_before(url, CountingProxy) as (proxy, own):
        yield proxy, f"{own}?sslmode=disable"
