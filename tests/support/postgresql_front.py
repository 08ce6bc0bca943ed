"""Starts what stands between clients and PostgreSQL."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from urllib.parse import parse_qs, urlsplit


class Front(Protocol):
    """Takes clients at a port of loopback."""

    port: int

    def serve(self) -> None:
        """Take clients until it is closed."""

    def close(self) -> None:
        """End all, and take no further client."""


@contextmanager
def standing_before[Kind: Front](
    url: str, kind: Callable[[str], Kind]
) -> Iterator[tuple[Kind, str]]:
    """Let one of a kind stand before the server of an address; give it and its own address.

    Args:
        url: the address of the server, which names the folder of its socket.
        kind: makes one, given the server's socket.
    """
    parts = urlsplit(url)
    [folder] = parse_qs(parts.query)["host"]
    front = kind(f"{folder}/.s.PGSQL.5432")
    serving = threading.Thread(target=front.serve)
    serving.start()
    try:
        yield front, f"postgresql://postgres@127.0.0.1:{front.port}{parts.path}"
    finally:
        front.close()
        serving.join()
