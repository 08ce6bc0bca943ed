"""The figures of a run, as metrics: items, migrations, and what was waited for."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from mpt_tool.reporting import Progress

type Attributes = Mapping[str, str | int | float | bool]


@dataclass(slots=True)
class _Course:
    """A batch migration on its way: its tally, and where that stood when it began."""

    attributes: Attributes
    tally: Progress
    processed: int
    handled: int
    began: float
    ended: float | None = None

    @property
    def rate(self) -> float:
        """How many items a second were handled, from its beginning on."""
        seconds = (self.ended or time.monotonic()) - self.began
        return (self.tally.handled - self.handled) / seconds if seconds else 0.0


class Figures:
    """The figures of one run. Items are not counted here: their tally is read when it is due."""

    def __init__(self) -> None:
        self._courses: list[_Course] = []
        meter = metrics.get_meter("mpt_tool")
        meter.create_observable_counter(
            "mpt_tool.items.processed", [self._processed], "{item}", "Items that this run has done"
        )
        meter.create_observable_up_down_counter(
            "mpt_tool.items.failed",
            [self._failed],
            "{item}",
            "Items that have failed, in earlier runs too, and are not made good",
        )
        meter.create_observable_gauge(
            "mpt_tool.items.rate", [self._rate], "{item}/s", "Items a second, over this run"
        )
        self._migrations = meter.create_counter(
            "mpt_tool.migrations", "{migration}", "Migrations that have ended, by outcome"
        )
        self._refused = meter.create_counter(
            "mpt_tool.requests.refused", "{request}", "Requests that were answered 429"
        )
        self._waits = meter.create_histogram(
            "mpt_tool.requests.wait", "s", "How long requests waited, for a limit or a pause"
        )
        self._lock_waits = meter.create_histogram(
            "mpt_tool.lock.wait", "s", "How long the lock was waited for"
        )

    @contextmanager
    def counting(self, tally: Progress | None, attributes: Attributes) -> Iterator[None]:
        """Tell of the items of a batch migration; of one that ended too, to the end of the run."""
        if tally is None:
            yield
            return
        course = _Course(attributes, tally, tally.processed, tally.handled, time.monotonic())
        self._courses.append(course)
        try:
            yield
        finally:
            course.ended = time.monotonic()

    def note_end(self, outcome: str, attributes: Attributes) -> None:
        """Count a migration that has ended."""
        self._migrations.add(1, {**attributes, "mpt_tool.outcome": outcome})

    def note_refusal(self, service: str) -> None:
        """Count a request that was refused as there were too many."""
        self._refused.add(1, {"mpt_tool.service": service})

    def note_wait(self, service: str, seconds: float) -> None:
        """Note that a request waited."""
        self._waits.record(seconds, {"mpt_tool.service": service})

    def note_lock_wait(self, seconds: float) -> None:
        """Note that the lock was waited for."""
        self._lock_waits.record(seconds)

    def _processed(self, _: CallbackOptions) -> Iterator[Observation]:
        for each in self._courses:
            yield Observation(max(0, each.tally.processed - each.processed), each.attributes)

    def _failed(self, _: CallbackOptions) -> Iterator[Observation]:
        for each in self._courses:
            yield Observation(each.tally.failed, each.attributes)

    def _rate(self, _: CallbackOptions) -> Iterator[Observation]:
        for each in self._courses:
            yield Observation(each.rate, each.attributes)
