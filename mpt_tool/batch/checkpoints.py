"""Keeps how far a run of a batch migration is, and saves that in time."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from mpt_tool.errors import MptToolError
from mpt_tool.process.log import get_log
from mpt_tool.records import Checkpoint, FailedItem

log = get_log(__name__)


@dataclass(slots=True)
class Tally:
    """How far a batch migration is; read by whoever shows it, while it goes on.

    Args:
        processed: how many items are done, those of earlier runs among them.
        failed: how many failed for good.
        total: how many there are in all, if that is known.
    """

    processed: int = 0
    failed: int = 0
    total: int | None = None

    @classmethod
    def since(cls, checkpoint: Checkpoint | None) -> Self:
        """Return the tally of a run that begins at the checkpoint."""
        return cls(checkpoint.processed, checkpoint.failed) if checkpoint else cls()

    @property
    def handled(self) -> int:
        """How many items lie behind, done or failed."""
        return self.processed + self.failed

    def counts(self) -> dict[str, int]:
        """Return the counts by name, the total if it is known."""
        known = {} if self.total is None else {"total": self.total}
        return {"processed": self.processed, "failed": self.failed, **known}


class Checkpoints:
    """How far one run is, saved every so many items or seconds.

    Args:
        begin: where the run begins.
        tally: what counts the items, those before the beginning among them.
        save: keeps a checkpoint, durably on return.
        every: after how many items one is saved at the latest.
        seconds: after how many seconds one is saved at the latest.
    """

    def __init__(
        self,
        begin: Checkpoint,
        tally: Tally,
        save: Callable[[Checkpoint], None],
        every: float,
        seconds: float,
    ) -> None:
        self._begin = begin
        self.tally = tally
        self._save = save
        self._every = every
        self._seconds = seconds
        self.cursor = begin.cursor
        self._failures = deque(begin.failures)
        # Held while any of this changes, and while it is saved.
        self._turn = threading.Lock()
        self._error: Exception | None = None
        self._note_saved()

    def current(self) -> Checkpoint:
        """Return how far the run is now."""
        tally = self.tally
        counts = {"processed": tally.processed, "failed": tally.failed, "total": tally.total}
        place = {"cursor": self.cursor, "failures": tuple(self._failures)}
        return self._begin.model_copy(update={**counts, **place})

    @contextmanager
    def saved_in_time(self) -> Iterator[None]:
        """Save what is due meanwhile, even while an item is slow, and all if an error ends it.

        Raises:
            Exception: what a save failed with.
        """
        ended = threading.Event()
        saver = threading.Thread(target=self._keep_saving, args=(ended,), daemon=True)
        saver.start()
        try:
            try:
                yield
            finally:
                ended.set()
                saver.join()
            if self._error:
                raise self._error
        except BaseException:
            self._save_at_last()
            raise

    def move_past(self, cursor: Any, failed: FailedItem | None = None) -> None:
        """Move the cursor past an item that is done, or failed for good.

        Raises:
            Exception: what a save failed with.
        """
        with self._turn:
            self.cursor = cursor
            if failed:
                self.tally.failed += 1
                self._failures.append(failed)
            else:
                self.tally.processed += 1
            self._note_change()

    def settle_first_failure(self, failed: FailedItem | None) -> None:
        """Take the first failure away, as its item was retried; if it failed again, add that.

        Raises:
            Exception: what a save failed with.
        """
        with self._turn:
            self._failures.popleft()
            if failed:
                self._failures.append(failed)
            else:
                self.tally.processed += 1
                self.tally.failed -= 1
            self._note_change()

    def _note_change(self) -> None:
        if self._error:
            raise self._error
        self._unsaved += 1
        self._save_if_due()

    def _save_if_due(self) -> None:
        if self._unsaved >= self._every or time.monotonic() >= self._due_at:
            self._save(self.current())
            self._note_saved()

    def _note_saved(self) -> None:
        self._unsaved = 0
        self._due_at = time.monotonic() + self._seconds

    def _keep_saving(self, ended: threading.Event) -> None:
        pause = self._seconds
        # Without a pause each item is followed by a save.
        while pause and not ended.wait(min(pause, threading.TIMEOUT_MAX)):
            with self._turn:
                try:
                    if self._unsaved:
                        self._save_if_due()
                except Exception as error:  # noqa: BLE001 - raised in the thread that walks
                    self._error = error
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
                self._save(self.current())
            except MptToolError as error:
                log.error("What was done since the last checkpoint could not be saved: %s", error)
