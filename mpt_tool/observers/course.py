"""How far a run is, and when it last moved."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mpt_tool.reporting import (
    Answered,
    Event,
    Locking,
    Migrating,
    Phase,
    Running,
    Sending,
    Silent,
)
from mpt_tool.wording import in_items

_TOO_MANY_REQUESTS = 429
_FIRST_FAULT_OF_A_SERVER = 500


class Course(Silent):
    """How far a run is.

    It moves as an item is handled, a checkpoint saved, a request of a script answered (but not that
    there are too many, nor that the service is out of order), and as any other phase begins or
    ends.

    Args:
        clock: returns seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._applied = self._total = 0
        self._running: Running | None = None
        self._handled = 0
        self._moved_at = clock()
        # What it waits for, if that is known.
        self._waits_for = ""

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Note that a phase begins, and that it ends."""
        if isinstance(phase, Sending):
            yield
            return
        self._move("the lock of the store" if isinstance(phase, Locking) else "")
        if isinstance(phase, Migrating):
            self._total = phase.total
        elif isinstance(phase, Running):
            self._running, self._handled = phase, 0
        try:
            yield
        finally:
            self._move()
        if isinstance(phase, Migrating):
            self._applied += 1
            self._running = None

    def note(self, event: Event) -> None:
        """Note that a request was answered."""
        if not isinstance(event, Answered) or not event.sending.is_of_script:
            return
        if event.status == _TOO_MANY_REQUESTS or event.status >= _FIRST_FAULT_OF_A_SERVER:
            self._waits_for = f"{event.sending.service}, which answered {event.status}"
        else:
            self._move()

    def standstill(self) -> float:
        """Return for how many seconds it has not moved."""
        tally = self._running and self._running.tally
        if tally and tally.handled != self._handled:
            self._handled = tally.handled
            self._move()
        return self._clock() - self._moved_at

    @property
    def waits_for(self) -> str:
        """What it waits for; empty if that is not known."""
        return self._waits_for

    def __str__(self) -> str:
        """Return how far it is, in one line."""
        if not self._total:
            return "nothing was begun"
        told = f"{self._applied:,} of {self._total:,} applied"
        if self._running is None:
            return told
        told += f", then {self._running.name}"
        if (tally := self._running.tally) is None:
            return told
        failed = f", {tally.failed:,} failed" if tally.failed else ""
        return f"{told}: {in_items(tally.handled, tally.total)}{failed}"

    def _move(self, waits_for: str = "") -> None:
        self._moved_at, self._waits_for = self._clock(), waits_for
