"""Keeps how far a run of a batch migration is, and saves that in time."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from mpt_tool.errors import MptToolError
from mpt_tool.migration.steps import Steps, place_of
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import start_aside
from mpt_tool.records import Checkpoint, FailedItem, KeptStep, counted

# Further ones are counted together: a migration may return what differs with each item.
_MOST_OUTCOMES = 50
_OTHER_OUTCOME = "other"

log = get_log(__name__)

type Save = Callable[[Checkpoint, Sequence[FailedItem]], None]
"""Keeps a checkpoint and, before it, the items that failed since the last one, durably."""


@dataclass(slots=True)
class Tally:
    """How far a batch migration is; read by whoever shows it, while it goes on.

    Args:
        processed: how many items are done, those of earlier runs among them.
        failed: how many failed for good.
        total: how many there are in all, if that is known.
        outcomes: how many came to each outcome that `process` returned.
        last_error: what the last one raised that failed for good in this run, if any did.
    """

    processed: int = 0
    failed: int = 0
    total: int | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    last_error: Exception | None = None

    @classmethod
    def since(cls, checkpoint: Checkpoint | None) -> Self:
        """Return the tally of a run that begins at the checkpoint."""
        if checkpoint is None:
            return cls()
        return cls(checkpoint.processed, checkpoint.failed, outcomes=Counter(checkpoint.outcomes))

    @property
    def handled(self) -> int:
        """How many items lie behind, done or failed."""
        return self.processed + self.failed

    def counts(self) -> dict[str, int]:
        """Return the counts by name, the total if it is known."""
        return counted(self.processed, self.failed, self.total)


class Checkpoints:
    """How far one run is, saved every so many items or seconds.

    Args:
        begin: where the run begins.
        tally: what counts the items, those before the beginning among them.
        save: keeps a checkpoint.
        every: after how many items one is saved at the latest.
        seconds: after how many seconds one is saved at the latest.
        not_passed: the items that failed before and whose durable steps still hold, by number.
    """

    def __init__(
        self,
        begin: Checkpoint,
        tally: Tally,
        save: Save,
        every: float,
        seconds: float,
        not_passed: Mapping[int, FailedItem] | None = None,
    ) -> None:
        self._begin = begin
        self.tally = tally
        self._save_checkpoint = save
        # Without a pause each item is followed by a save.
        self._every = every if seconds else 1
        self._seconds = seconds
        self.cursor = begin.cursor
        not_passed = not_passed or {}
        of_failed = (step for item in not_passed.values() for step in item.steps)
        self.steps = Steps(begin.steps, self.save, of_failed)
        """The durable steps of the run, saved as they are taken."""
        # The numbers of those that failed before it was begun anew, by the cursor.
        self._unpassed = {
            place_of(item.cursor): number
            for number, item in not_passed.items()
            if number < begin.retried
        }
        self._is_done = begin.done
        self._retried = begin.retried
        self._walk_from = (time.monotonic(), tally.handled)
        self._unsaved_failures: list[FailedItem] = []
        # Held while any of this changes, and while it is saved.
        self._turn = threading.Lock()
        self._error: Exception | None = None
        self._note_saved()

    def reached(self) -> tuple[Checkpoint, Sequence[FailedItem]]:
        """Return how far the run is now, and the failed items that are not saved yet."""
        tally = self.tally
        update = {
            "cursor": self.cursor,
            "processed": tally.processed,
            "failed": tally.failed,
            "total": tally.total,
            "retried": self._retried,
            "outcomes": dict(tally.outcomes),
            "steps": self.steps.kept(),
            "unpassed": _ranges(self._unpassed.values()),
            "done": self._is_done and tally.failed > 0,
            "rate": self._rate(),
        }
        return self._begin.model_copy(update=update), tuple(self._unsaved_failures)

    def _rate(self) -> float | None:
        """Return how many items a second were handled since the walk began; None if none was."""
        began, handled = self._walk_from
        seconds, count = time.monotonic() - began, self.tally.handled - handled
        return round(count / seconds, 3) if seconds > 0 and count > 0 else None

    @property
    def has_unsaved_failures(self) -> bool:
        """Whether items failed since the last save."""
        return bool(self._unsaved_failures)

    def save(self) -> None:
        """Save how far the run is now.

        Raises:
            Exception: what the save failed with.
        """
        with self._turn:
            self._save()

    @contextmanager
    def saved_in_time(self) -> Iterator[None]:
        """Save what is due meanwhile, even while an item is slow, and all if an error ends it.

        Raises:
            Exception: what a save failed with.
        """
        self._walk_from = (time.monotonic(), self.tally.handled)
        ended = threading.Event()
        saver = threading.Thread(target=self._keep_saving, args=(ended,), daemon=True)
        try:
            try:
                start_aside(saver)
                yield
            finally:
                ended.set()
                saver.join()
            if self._error:
                raise self._error
        except BaseException:
            self._save_at_last()
            raise

    def move_past(self, cursor: Any, outcomes: Sequence[str | None]) -> None:
        """Move the cursor past an item that is done, or past the last one of a bundle.

        Args:
            cursor: where that one stands.
            outcomes: that of each item; None where it told none.

        Raises:
            Exception: what a save failed with.
        """
        with self._turn:
            self._move_to(cursor)
            self._take_steps(cursor)
            self._note_done(outcomes)

    def count(self, outcomes: Sequence[str | None]) -> None:
        """Count an item that was handled out of its turn; the cursor stays, and so do its steps.

        Raises:
            Exception: what a save failed with.
        """
        with self._turn:
            self._note_done(outcomes)

    def move_past_failed(self, failed: FailedItem) -> None:
        """Move the cursor past an item that failed for good.

        Raises:
            Exception: what a save failed with.
        """
        with self._turn:
            self._move_to(failed.cursor)
            self.tally.failed += 1
            self._note_failed(failed)

    def settle_first_failure(
        self, cursor: Any, failed: FailedItem | None, outcomes: Sequence[str | None]
    ) -> None:
        """Take the first failure away, as its item was retried; if it failed again, add that.

        Raises:
            Exception: what a save failed with.
        """
        with self._turn:
            self._retried += 1
            if failed:
                self._note_failed(failed)
            else:
                self.tally.failed -= 1
                self._take_steps(cursor)
                self._note_done(outcomes)

    def _move_to(self, cursor: Any) -> None:
        # There was an item left after all: there may be more.
        self.cursor, self._is_done = cursor, False

    def _take_steps(self, cursor: Any) -> tuple[KeptStep, ...]:
        """Take away the steps of an item that is over, and return them."""
        if self._unpassed:
            self._unpassed.pop(place_of(cursor), None)
        return self.steps.take(cursor)

    def _note_done(self, outcomes: Sequence[str | None]) -> None:
        self.tally.processed += len(outcomes)
        counted = self.tally.outcomes
        for outcome in outcomes:
            if outcome and outcome in counted:
                counted[outcome] += 1
            elif outcome:
                counted[outcome if len(counted) < _MOST_OUTCOMES else _OTHER_OUTCOME] += 1
        self._note_change(len(outcomes))

    def _note_failed(self, failed: FailedItem) -> None:
        steps = self._take_steps(failed.cursor)
        self._unsaved_failures.append(failed.model_copy(update={"steps": steps}))
        self._note_change(1)

    def _note_change(self, items: int) -> None:
        if self._error:
            raise self._error
        self._unsaved += items
        if self._unsaved >= self._every:
            self._save()

    def _save(self) -> None:
        try:
            self._save_checkpoint(*self.reached())
        except Exception as error:
            # It ends the run, whatever the author's code makes of it.
            self._error = error
            raise
        self._note_saved()

    def _note_saved(self) -> None:
        self._unsaved_failures.clear()
        self._unsaved = 0
        self._due_at = time.monotonic() + self._seconds

    def _keep_saving(self, ended: threading.Event) -> None:
        pause = self._seconds
        while pause and not ended.wait(min(pause, threading.TIMEOUT_MAX)):
            with self._turn:
                try:
                    if self._unsaved and time.monotonic() >= self._due_at:
                        self._save()
                except Exception:  # noqa: BLE001 - raised in the thread that walks
                    return
            rest = self._due_at - time.monotonic()
            pause = rest if rest > 0 else self._seconds

    def _save_at_last(self) -> None:
        """Keep what there is although the run ends with an error, which goes before any other."""
        # The saver may be at work still, if the error came while its end was waited for.
        with self._turn:
            if not self.tally.handled:
                return
            try:
                self._save()
            except MptToolError as error:
                log.error("What was done since the last checkpoint could not be saved: %s", error)


def _ranges(numbers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return the first and the last of each of the numbers that follow one another."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        first, last = ranges[-1] if ranges else (number, number)
        if ranges and number == last + 1:
            ranges[-1] = (first, number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
