"""Pings an address when a run begins and when it ends, in the form of healthchecks.io.

That is the address itself for a run that ended well, and `/start` or `/fail` after its path.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from mpt_tool.observers.deliveries import Deliveries, UndeliveredError, UnusableError
from mpt_tool.observers.endings import exit_code_of
from mpt_tool.observers.whereabouts import Whereabouts
from mpt_tool.redaction import Redact
from mpt_tool.reporting import Phase, Run, Silent
from mpt_tool.wording import printable, shortened

_TIME_OUT_SECONDS = 4.0
_LONGEST_REASON = 2_000


class Pinger(Silent):
    """Pings an address.

    Args:
        url: the address.
        where: where the run goes on.
        redact: takes secrets out of why it failed.
        deliveries: what sends pings.
    """

    def __init__(
        self, url: str, where: Whereabouts, redact: Redact, deliveries: Deliveries
    ) -> None:
        self._url = url
        self._where = where
        self._redact = redact
        self._deliveries = deliveries

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Ping at the beginning and at the end of a run."""
        if not isinstance(phase, Run):
            yield
            return
        told = f"{phase.command}\n{self._where}"
        self._ping("/start", told)
        try:
            yield
        except BaseException as error:
            reason = shortened(printable(self._redact(str(error))), _LONGEST_REASON)
            self._ping("/fail", f"exit code {exit_code_of(error)}\n{told}\n{reason}")
            raise
        self._ping("", f"exit code 0\n{told}")

    def _ping(self, suffix: str, body: str) -> None:
        self._deliveries.begin("the ping of this run", lambda: _send(self._url, suffix, body))


def is_address(url: str) -> bool:
    """Whether something can be sent there, as far as its form tells."""
    import httpx

    try:
        address = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return address.scheme in ("http", "https") and bool(address.host)


def _send(url: str, suffix: str, body: str) -> None:
    """Send a ping.

    Raises:
        UndeliveredError: it was not taken.
        UnusableError: that is no address.
    """
    import httpx

    try:
        address = httpx.URL(url)
        address = address.copy_with(path=address.path.rstrip("/") + suffix)
        response = httpx.post(address, content=body.encode(), timeout=_TIME_OUT_SECONDS)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol):
        raise UnusableError("NOTIFY_PING_URL is no address like https://example.com/...") from None
    except httpx.HTTPError as error:
        # What it says may repeat the address.
        raise UndeliveredError(type(error).__name__) from None
    if not response.is_success:
        raise UndeliveredError(f"it was answered {response.status_code}")
