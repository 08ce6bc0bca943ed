"""Holds back all requests to a host while it asks for a pause."""

import threading
import time
from collections import defaultdict
from datetime import UTC
from email.utils import parsedate_to_datetime

_LONGEST_BY_DATE = 3600.0


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
    """Return the seconds that a Retry-After header asks for, itself or by a date, if any."""
    if retry_after.replace(".", "", 1).isdecimal():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - time.time()
    # Its clock or ours may be wrong.
    return min(max(0.0, seconds), _LONGEST_BY_DATE)
