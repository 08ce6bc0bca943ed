"""Refuses what may change something while nothing is to be written, whoever sends it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

type BeforeSend = Callable[[str, str], None]
"""Called with the method and the address of a request each time it is sent; raises to refuse it."""

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
# What pyairtable asks by if the address would be too long.
_READ_BY_POST = "/listRecords"

# What was refused, for the whole process: any class or helper of a script may have a client.
_refused: list[str] | None = None


class RefusedWriteError(Exception):
    """A request that may change something was not sent."""


def allow_all(_method: str, _url: str) -> None:
    """Refuse nothing."""


def is_read(method: str, url: str) -> bool:
    """Whether a request changes nothing."""
    method = method.upper()
    return method in _READS or (method == "POST" and url.partition("?")[0].endswith(_READ_BY_POST))


@contextmanager
def writes_refused() -> Iterator[list[str]]:
    """Let no client of the process write meanwhile; return the list of what was refused."""
    global _refused  # noqa: PLW0603 - the process as a whole writes nothing
    earlier, _refused = _refused, []
    try:
        yield _refused
    finally:
        _refused = earlier


def require_allowed(method: str, url: str) -> None:
    """Return if the request may be sent.

    Raises:
        RefusedWriteError: it may change something, and nothing is to be written now.
    """
    if _refused is None or is_read(method, url):
        return
    request = f"{method} {url}"
    _refused.append(request)
    raise RefusedWriteError(f"{request} was refused: a dry run writes nothing")
