"""What may refuse a request of a client before it is sent, and one that refuses all writes."""

from collections.abc import Callable

READS = frozenset({"GET", "HEAD", "OPTIONS"})

Guard = Callable[[str, str], None]
"""Called with the method and the address of a request each time it is sent; raises to refuse it."""


class RefusedWriteError(Exception):
    """A request that may change something was not sent."""


def allow_all(_method: str, _url: str) -> None:
    """Refuse nothing."""


class WriteGuard:
    """A `Guard` that lets reads through, refuses everything else and remembers it."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def __call__(self, method: str, url: str) -> None:
        """Return if the request is a read.

        Raises:
            RefusedWriteError: it is none.
        """
        if method.upper() not in READS:
            self.refused.append(f"{method.upper()} {url}")
            raise RefusedWriteError(f"{method.upper()} {url} was refused: this is a rehearsal")
