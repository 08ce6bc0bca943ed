"""Holds back all requests to a host while it asks for a pause."""

import threading
import time
from collections import defaultdict


class Pauses:
    """Until when each host wants no request; shared by all threads and clients of a process."""

    def __init__(self) -> None:
        self._until: defaultdict[str, float] = defaultdict(float)
        self._turn = threading.Lock()

    def ask(self, host: str, seconds: float) -> None:
        """Hold back what is to be sent to the host from now on."""
        with self._turn:
            self._until[host] = max(self._until[host], time.monotonic() + seconds)

    def wait(self, host: str) -> None:
        """Return once the host takes requests again."""
        while (seconds := self._until[host] - time.monotonic()) > 0:
            time.sleep(seconds)


def asked_pause(retry_after: str) -> float | None:
    """Return the seconds that a Retry-After header asks for; None if it names a date or nothing."""
    return float(retry_after) if retry_after.replace(".", "", 1).isdecimal() else None
