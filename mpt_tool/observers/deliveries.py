"""Sends what is told over a network in the background, and waits for it a few seconds at the end.

Nothing of it changes what the run comes to: what cannot be sent is a warning in the log.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from mpt_tool.process.log import get_log
from mpt_tool.process.signals import start_aside

# Of each delivery, from its beginning: after that it is not tried again.
TRY_SECONDS = 4.0
# Of all that is not delivered yet at the end of the run, together.
WAIT_SECONDS = 8.0
_PAUSE_SECONDS = 0.5

log = get_log(__name__)


class UndeliveredError(Exception):
    """It could not be delivered; the message says why, without the address. It is tried again."""


class UnusableError(Exception):
    """It can never be delivered; the message says why, without the address."""


class Deliveries:
    """The deliveries of one run."""

    def __init__(self) -> None:
        self._begun: list[tuple[str, threading.Thread]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        ends_at = time.monotonic() + WAIT_SECONDS
        for what, thread in self._begun:
            thread.join(max(0.0, ends_at - time.monotonic()))
            if thread.is_alive():
                log.warning("Not sent within %g seconds: %s", WAIT_SECONDS, what)

    def begin(self, what: str, work: Callable[[], None]) -> None:
        """Begin a delivery.

        Args:
            what: what messages call it; of the same name one comes after the other.
            work: delivers it, or raises `UndeliveredError` or `UnusableError`.
        """
        earlier = [thread for other, thread in self._begun if other == what]
        arguments = what, work, earlier
        thread = threading.Thread(target=_deliver, args=arguments, name=what, daemon=True)
        self._begun.append((what, thread))
        start_aside(thread)


def result_within[Result](seconds: float, work: Callable[[], Result]) -> Result | None:
    """Return what the work results in; None if it takes longer, and goes on alone, or raises."""
    results: list[Result] = []

    def do() -> None:
        with suppress(Exception):
            results.append(work())

    worker = threading.Thread(target=do, daemon=True)
    start_aside(worker)
    worker.join(seconds)
    return results[0] if results else None


def _deliver(what: str, work: Callable[[], None], earlier: Sequence[threading.Thread]) -> None:
    for each in earlier:
        each.join()
    gives_up_at = time.monotonic() + TRY_SECONDS
    while True:
        try:
            work()
        except UndeliveredError as error:
            if time.monotonic() + _PAUSE_SECONDS > gives_up_at:
                log.warning("Not sent: %s: %s", what, error)
                return
        except UnusableError as error:
            log.warning("Not sent: %s: %s", what, error)
            return
        except Exception as error:  # noqa: BLE001 - a library failed, the run does not
            log.warning("Not sent: %s: %s", what, type(error).__name__)
            return
        else:
            return
        time.sleep(_PAUSE_SECONDS)
