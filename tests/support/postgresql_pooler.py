"""A pooler before PostgreSQL that gives each transaction whichever session is free.

As real ones do, it makes up the number of a session that it tells each client, who is to name it in
a request to cancel.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from secrets import token_bytes

from support.postgresql_front import standing_before

# What a client asks first that would have TLS.
_SSL = (80877103).to_bytes(4)
# The number of a session, and its secret.
_KEY = 8


class TransactionPooler:
    """Opens a session of the server for each client; the one that was freed last is given next."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._sessions: list[socket.socket] = []
        self._free: list[socket.socket] = []

    def serve(self) -> None:
        """Take clients until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._attend, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Take no further client, and end the sessions."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for each in (self._listening, *self._sessions):
            each.close()

    def _attend(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            start = _message(client, has_type=False)
            if start[4:8] == _SSL:
                client.sendall(b"N")
                start = _message(client, has_type=False)
            session = socket.socket(socket.AF_UNIX)
            self._sessions.append(session)
            session.connect(self._server)
            session.sendall(start)
            _answer(session, client, told=token_bytes(_KEY))
            # A real one opens a session only when none is free.
            self._free.insert(0, session)
            is_kept = False
            while batch := _batch(client):
                if not is_kept:
                    session = self._free.pop()
                session.sendall(batch)
                is_kept = _answer(session, client) != b"I"
                if not is_kept:
                    self._free.append(session)
            if is_kept:
                session.close()


def _batch(client: socket.socket) -> bytes:
    """Return what a client says until it waits for an answer; nothing if that is its end."""
    batch = b""
    while True:
        message = _message(client)
        if message[:1] == b"X":
            return b""
        batch += message
        if message[:1] in (b"Q", b"S"):
            return batch


def _answer(session: socket.socket, client: socket.socket, told: bytes = b"") -> bytes:
    """Hand on what the server answers, and return in which state of a transaction it is then."""
    while True:
        message = _message(session)
        if message[:1] == b"K":
            message = message[:-_KEY] + told
        client.sendall(message)
        if message[:1] == b"Z":
            return message[-1:]


def _message(said: socket.socket, *, has_type: bool = True) -> bytes:
    """Return the next message; `EOFError` if none comes."""
    head = _exactly(said, 4 + has_type)
    return head + _exactly(said, int.from_bytes(head[-4:]) - 4)


def _exactly(said: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = said.recv(size - len(received))
        if not more:
            raise EOFError
        received += more
    return received


@contextmanager
def transaction_pooler(url: str) -> Iterator[str]:
    """Stand before the server of an address, and give the pooler's own."""
    with standing_before(url, TransactionPooler) as (_, own):
        yield own
