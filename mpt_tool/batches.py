"""Drives a batch migration: item by item, from checkpoint to checkpoint, until it is told to stop.

The items of a window are handled side by side and settled in their order: the checkpoint is the
cursor of the last item that is settled, so that all before it are done.
"""

import inspect
import itertools
import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from mpt_tool.errors import (
    ExitCode,
    ItemsFailedError,
    MptToolError,
    ScriptError,
    StoppedError,
    message_of,
)
from mpt_tool.handling import EventLoop, NotBegunError, async_handler, handle_once, handler
from mpt_tool.migration.batch import BatchDataMigration
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.redaction import Redact
from mpt_tool.signals import Interrupted

if TYPE_CHECKING:
    # Not needed, and too slow to import, where there is no batch migration.
    from concurrent.futures import Future

    type _Window = deque[tuple[Any, Future[Any]]]

# How many items each worker has in store, so that none is idle while the first is slow.
_WINDOW_A_WORKER = 4
_LONGEST_MESSAGE = 100
_LISTED_ITEMS = 20

log = logging.getLogger(__name__)


class ItemError(Exception):
    """An item failed for good; the cause is what `process` raised.

    Args:
        name: how the migration describes the item.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


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

    @property
    def handled(self) -> int:
        """How many items lie behind, done or failed."""
        return self.processed + self.failed

    def counts(self) -> dict[str, int]:
        """Return the counts by name, the total if it is known."""
        known = {} if self.total is None else {"total": self.total}
        return {"processed": self.processed, "failed": self.failed, **known}


@dataclass(frozen=True, slots=True)
class World:
    """What a drive needs of the world around it.

    Args:
        save: keeps a checkpoint, durably on return.
        is_stopped: whether to stop taking new items.
        clock: returns the time of day.
        redact: takes secrets out of what is kept.
        saves_by_time_alone: whether a save is too dear for one every `batch_size` items.
    """

    save: Callable[[Checkpoint], None]
    is_stopped: Callable[[], bool]
    clock: Callable[[], datetime]
    redact: Redact
    saves_by_time_alone: bool = False


def drive(
    migration: BatchDataMigration[Any],
    checkpoint: Checkpoint | None,
    script_checksum: str | None,
    tally: Tally,
    world: World,
) -> Checkpoint:
    """Handle the items after the checkpoint; return how far it came, `done` if none is left.

    Saved are checkpoints on the way and one before an error is raised, not the one returned.

    Raises:
        ItemError: an item failed for good, and that ends the run.
        ScriptError: a cursor is no JSON value.
        Exception: what else the author's code raised.
    """
    with EventLoop() as loop:
        walk = _Walk(migration, checkpoint, script_checksum, tally, world, loop)
        try:
            if migration.workers > 1:
                walk.side_by_side()
            else:
                walk.one_by_one()
        except BaseException:
            walk.save_at_last()
            raise
        return walk.checkpoint()


def retry_failed(
    migration: BatchDataMigration[Any], checkpoint: Checkpoint, tally: Tally, world: World
) -> Checkpoint:
    """Handle just the failed items of a checkpoint; return it with those that failed again.

    Raises:
        NotImplementedError: the migration has no `find`.
    """
    if type(migration).find is BatchDataMigration.find:
        name = type(migration).__name__
        raise NotImplementedError(f"{name} has no find(cursor), so none is retried")
    with EventLoop() as loop:
        handle = handler(migration, loop, partial(_require_open, world))
        failures = deque(checkpoint.failures)
        saved_at = time.monotonic()
        for _ in range(len(failures)):
            if world.is_stopped():
                break
            failure = failures.popleft()
            try:
                handle(migration.find(failure.cursor))
            except NotBegunError:
                break
            except Exception as error:  # noqa: BLE001 - whatever the author's code raises
                failures.append(_failed_item(failure.cursor, error, world.redact))
            else:
                tally.processed += 1
                tally.failed -= 1
            counts = {"processed": tally.processed, "failed": tally.failed}
            checkpoint = checkpoint.model_copy(update={**counts, "failures": tuple(failures)})
            is_due = time.monotonic() - saved_at >= migration.checkpoint_seconds
            if is_due or not world.saves_by_time_alone:
                world.save(checkpoint)
                saved_at = time.monotonic()
    return checkpoint


def require_end(migration_id: str, reached: Checkpoint, cause: Interrupted | None) -> None:
    """Return if a batch migration came to its end, without a failed item.

    Args:
        migration_id: its id, for messages.
        reached: how far it came.
        cause: why it was to stop, if it was.

    Raises:
        StoppedError: it was stopped on the way; its progress is kept.
        ItemsFailedError: it came to its end, but items failed.
    """
    is_clean_end = reached.done and not reached.failures
    if cause and not is_clean_end:
        was_asked = cause.exit_code != ExitCode.FAILED
        raise StoppedError(
            f"Migration {migration_id} was {cause} after {reached} items:"
            " its progress is kept, run it again to go on",
            ExitCode.TRY_LATER if was_asked else ExitCode.FAILED,
        )
    if reached.failures:
        raise ItemsFailedError(_failed_items(migration_id, reached))
    if not reached.done:
        raise StoppedError(
            f"No failed item of {migration_id} is left, but it is not at its end:"
            f" mpt-tool migrate --data {migration_id} goes on",
            ExitCode.TRY_LATER,
        )


def _failed_items(migration_id: str, reached: Checkpoint) -> str:
    listed = [f"{failure.cursor}: {failure.error}" for failure in reached.failures]
    if len(listed) > _LISTED_ITEMS:
        listed[_LISTED_ITEMS:] = [f"and {len(listed) - _LISTED_ITEMS:,} more"]
    handled = reached.processed + reached.failed
    return (
        f"Migration {migration_id} failed for {reached.failed:,} of {handled:,} items"
        f" ({'; '.join(listed)}). Once they can succeed:"
        f" mpt-tool migrate --data {migration_id} --retry-failed"
    )


@contextmanager
def preview(
    migration: BatchDataMigration[Any], checkpoint: Checkpoint | None
) -> Iterator[tuple[Iterator[Any], Callable[[Any], None]]]:
    """Return the items that a run would handle, and what handles one: at once, and just once."""
    with EventLoop() as loop:
        items = loop.iterate(migration.items(checkpoint.cursor if checkpoint else None))
        yield items, partial(handle_once, migration, loop)


class _Walk:
    """The state of one drive."""

    def __init__(
        self,
        migration: BatchDataMigration[Any],
        checkpoint: Checkpoint | None,
        script_checksum: str | None,
        tally: Tally,
        world: World,
        loop: "EventLoop",
    ) -> None:
        self._migration = migration
        self._tally = tally
        self._world = world
        self._loop = loop
        self._checksum = script_checksum
        self._since = checkpoint.since if checkpoint else world.clock()
        self._cursor = checkpoint.cursor if checkpoint else None
        self._failures = list(checkpoint.failures) if checkpoint else []
        self._done = False
        self._takes_no_more = False
        self._window_size = _window_size(migration)
        # A kill replays what is done beyond the checkpoint, in the window too.
        self._save_every = max(1, migration.batch_size - self._window_size)
        self._note_saved()

    def checkpoint(self) -> Checkpoint:
        """Return how far the walk is now.

        Raises:
            ScriptError: the cursor is no JSON value.
        """
        _require_json(self._cursor)
        return Checkpoint(
            cursor=self._cursor,
            processed=self._tally.processed,
            failed=self._tally.failed,
            total=self._tally.total,
            since=self._since,
            checksum=self._checksum,
            done=self._done,
            failures=tuple(self._failures),
        )

    def save_at_last(self) -> None:
        """Keep the checkpoint although the walk ends with an error, which goes before any other."""
        try:
            if self._tally.handled:
                self._world.save(self.checkpoint())
        except MptToolError as error:
            log.error("What was done since the last checkpoint could not be saved: %s", error)

    def one_by_one(self) -> None:
        """Handle each item before the next one is taken."""
        tally, is_stopped = self._tally, self._world.is_stopped
        handle = handler(self._migration, self._loop, self._require_open)
        cursor = self._migration.cursor
        for item in self._items():
            if is_stopped():
                return
            try:
                handle(item)
            except NotBegunError:
                return
            except Exception as error:  # noqa: BLE001 - whatever the author's code raises
                self._fail(item, error)
            else:
                tally.processed += 1
            self._cursor = cursor(item)
            self._save_if_due()
        self._done = True

    def side_by_side(self) -> None:
        """Handle the items of a window at once; settle them in their order."""
        from concurrent.futures import wait

        window: _Window = deque()
        # Paced items wait for the first one: it may open a client that all need, and those that
        # began meanwhile would then send their requests at once.
        room = 1 if self._migration.max_per_second else self._window_size
        is_stopped = self._world.is_stopped
        with self._workers() as submit:
            try:
                items = self._items()
                for item in itertools.takewhile(lambda _: not is_stopped(), items):
                    window.append((item, submit(item)))
                    while window and (len(window) >= room or window[0][1].done()):
                        self._settle(window)
                    room = self._window_size
                was_stopped = is_stopped()
                while window:
                    self._settle(window)
                self._done = not was_stopped
            except NotBegunError:
                pass
            finally:
                self._takes_no_more = True
                wait(future for _, future in window)

    @contextmanager
    def _workers(self) -> "Iterator[Callable[[Any], Future[Any]]]":
        """Return what begins an item beside others, unless no more are taken by then."""
        from asyncio import Semaphore
        from concurrent.futures import ThreadPoolExecutor

        migration = self._migration
        if inspect.iscoroutinefunction(migration.process):
            process = async_handler(migration, self._require_open)
            free = Semaphore(migration.workers)

            async def begin(item: Any) -> None:
                async with free:
                    self._require_open()
                    await process(item)

            yield lambda item: self._loop.submit(begin(item))
        else:
            handle = handler(migration, self._loop, self._require_open)

            def begin_in_thread(item: Any) -> None:
                self._require_open()
                handle(item)

            with ThreadPoolExecutor(migration.workers, thread_name_prefix="worker") as pool:
                yield lambda item: pool.submit(begin_in_thread, item)

    def _require_open(self) -> None:
        if self._takes_no_more:
            raise NotBegunError
        _require_open(self._world)

    def _settle(self, window: "_Window") -> None:
        """Wait for the first item of the window, and move the cursor past it.

        Raises:
            NotBegunError: the item, and all after it, are left for the next run.
        """
        item, future = window[0]
        try:
            future.result()
        except NotBegunError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the author's code raises
            self._fail(item, error)
        else:
            self._tally.processed += 1
        self._cursor = self._migration.cursor(item)
        window.popleft()
        self._save_if_due()

    def _save_if_due(self) -> None:
        if self._tally.handled >= self._due_count or time.monotonic() >= self._due_at:
            self._world.save(self.checkpoint())
            self._note_saved()

    def _note_saved(self) -> None:
        self._due_at = time.monotonic() + self._migration.checkpoint_seconds
        self._due_count = (
            math.inf if self._world.saves_by_time_alone else self._tally.handled + self._save_every
        )

    def _items(self) -> Iterator[Any]:
        """Yield what comes after the cursor; refuse the first item if its cursor cannot be kept."""
        items = self._loop.iterate(self._migration.items(self._cursor))
        for first in items:
            cursor = self._migration.cursor(first)
            if json.loads(_require_json(cursor)) != cursor:
                raise ScriptError(f"cursor(item) returned {cursor!r}, which JSON would change")
            yield first
            yield from items

    def _fail(self, item: Any, error: Exception) -> None:
        """Keep a failed item, or end the walk.

        Raises:
            ItemError: the walk ends here.
        """
        migration, tally = self._migration, self._tally
        name = migration.describe(item)
        if migration.on_error == "stop":
            raise ItemError(name) from error
        log.error("%s failed: %s", name, message_of(error))
        tally.failed += 1
        cursor = migration.cursor(item)
        self._failures.append(_failed_item(cursor, error, self._world.redact))
        if self._has_failed_too_often():
            self._cursor = cursor
            raise ItemError(f"{name}, with {tally.failed} failed items") from error

    def _has_failed_too_often(self) -> bool:
        limit, tally = self._migration.max_failures, self._tally
        if isinstance(limit, float):
            # The share of the first few items tells nothing.
            enough = tally.handled >= self._migration.batch_size
            return enough and tally.failed > limit * tally.handled
        return tally.failed > limit


def _window_size(migration: BatchDataMigration[Any]) -> int:
    """Return how many items are begun before the first of them is settled; 0 for one by one."""
    workers = migration.workers
    if workers == 1:
        return 0
    # Room for all workers, and for as many saves of the checkpoint as windows.
    return max(workers, min(workers * _WINDOW_A_WORKER, migration.batch_size // 2))


def _require_open(world: World) -> None:
    if world.is_stopped():
        raise NotBegunError


def _failed_item(cursor: Any, error: Exception, redact: Redact) -> FailedItem:
    # In this order: a part of a secret would not be known for one.
    return FailedItem(cursor=cursor, error=redact(message_of(error))[:_LONGEST_MESSAGE])


def _require_json(cursor: Any) -> str:
    """Return the cursor as JSON.

    Raises:
        ScriptError: it is no JSON value.
    """
    try:
        return json.dumps(cursor, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ScriptError(f"cursor(item) returned {cursor!r}, which is no JSON value") from error
