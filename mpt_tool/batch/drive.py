"""Drives a batch migration: item by item, from checkpoint to checkpoint, until it is told to stop.

The items of a window are handled side by side and settled in their order: the checkpoint is the
cursor of the last item that is settled, so that all before it are done.
"""

import inspect
import itertools
import json
import logging
import math
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from mpt_tool.batch.checkpoints import Checkpoints, Tally
from mpt_tool.batch.executors import (
    EventLoop,
    Gate,
    NotBegunError,
    async_handler,
    handle_once,
    handler,
    result_of,
    wait_for,
)
from mpt_tool.errors import (
    ExitCode,
    ItemsFailedError,
    ScriptError,
    StoppedError,
    message_of,
)
from mpt_tool.migration.batch import BatchDataMigration
from mpt_tool.process.signals import Interrupted
from mpt_tool.process.tracebacks import script_traceback
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.redaction import Redact
from mpt_tool.wording import in_items

if TYPE_CHECKING:
    # Not needed, and too slow to import, where there is no batch migration.
    from concurrent.futures import Future

    type _Window = deque[tuple[Any, Any, Future[Any]]]

# How many items each worker has in store, so that none is idle while the first is slow.
_WINDOW_A_WORKER = 4
_LONGEST_MESSAGE = 100
_LISTED_ITEMS = 20
_SURELY_JSON = frozenset({int, str})

log = logging.getLogger(__name__)


class ItemError(Exception):
    """An item failed for good: the message describes it, the cause is what `process` raised."""


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
    begin = checkpoint or Checkpoint(cursor=None, processed=0, since=world.clock())
    begin = begin.model_copy(update={"checksum": script_checksum, "done": False})
    window_size = _window_size(migration)
    # A kill replays what is done beyond the checkpoint, in the window too.
    every = math.inf if world.saves_by_time_alone else max(1, migration.batch_size - window_size)
    seconds = migration.checkpoint_seconds
    checkpoints = Checkpoints(begin, tally, world.save, every, seconds)
    with EventLoop() as loop, checkpoints.saved_in_time():
        walk = _Walk(migration, begin.cursor, checkpoints, tally, world, loop)
        is_done = walk.side_by_side(window_size) if window_size else walk.one_by_one()
    return checkpoints.current().model_copy(update={"done": is_done})


def retry_failed(
    migration: BatchDataMigration[Any], checkpoint: Checkpoint, tally: Tally, world: World
) -> Checkpoint:
    """Handle just the failed items of a checkpoint; return it with those that failed again.

    Raises:
        NotImplementedError: the migration has no `find`.
    """
    if type(migration).find is BatchDataMigration.find:
        name = type(migration).__name__
        raise NotImplementedError(
            f"{name} has no find(cursor), so none is retried: define it, and run this again"
        )
    gate = Gate(world.is_stopped)
    every = math.inf if world.saves_by_time_alone else 1
    seconds = migration.checkpoint_seconds
    checkpoints = Checkpoints(checkpoint, tally, world.save, every, seconds)
    log_failure = _failure_log()
    with EventLoop() as loop, checkpoints.saved_in_time():
        handle = handler(migration, loop, gate)
        for number, failure in enumerate(checkpoint.failures):
            failed = None
            try:
                gate.require_open()
                handle(number, _found(migration, loop, failure.cursor))
            except NotBegunError:
                break
            except Exception as error:  # noqa: BLE001 - whatever the author's code raises
                log_failure(str(failure.cursor), error)
                failed = _failed_item(failure.cursor, error, world.redact)
            checkpoints.settle_first_failure(failed)
    return checkpoints.current()


def _found(migration: BatchDataMigration[Any], loop: EventLoop, cursor: Any) -> Any:
    item = loop.result_of(migration.find(cursor))
    if item is None:
        raise LookupError("find(cursor) found nothing")
    return item


def total_of(migration: BatchDataMigration[Any]) -> int | None:
    """Return how many items there are in all, if the migration knows.

    Raises:
        ScriptError: what `count` returned is no number of items.
    """
    total: object = migration.count()
    if total is None or (isinstance(total, int) and total >= 0):
        return total
    raise ScriptError(f"count() returned {total!r}: use a whole number, or None")


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
    is_clean_end = reached.done and not reached.failed
    if cause and not is_clean_end and not reached.handled:
        message = f"Migration {migration_id} was {cause} before its first item was done"
        raise StoppedError(message, cause.exit_code)
    if cause and not is_clean_end:
        was_asked = cause.exit_code != ExitCode.FAILED
        how = "with --retry-failed to go on" if reached.done else "to go on"
        raise StoppedError(
            f"Migration {migration_id} was {cause} after {reached.in_items}:"
            f" its progress is kept, run it again {how}",
            ExitCode.TRY_LATER if was_asked else ExitCode.FAILED,
        )
    if reached.failed:
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
    # A store may have had no room for all of them.
    unknown = reached.failed - len(reached.failures)
    how = "--restart, as not all of them were kept" if unknown else "--retry-failed"
    return (
        f"Migration {migration_id} failed for {in_items(reached.failed, reached.handled)}"
        f" ({'; '.join(listed)}). Once they can succeed:"
        f" mpt-tool migrate --data {migration_id} {how}"
    )


@contextmanager
def preview(
    migration: BatchDataMigration[Any], checkpoint: Checkpoint | None
) -> Iterator[tuple[Iterator[Any], Callable[[Any], None]]]:
    """Return the items that a run would handle, and what handles one: at once, and just once."""
    with EventLoop() as loop:
        items = _items(migration, loop, checkpoint.cursor if checkpoint else None)
        yield items, partial(handle_once, migration, loop)


def _items(migration: BatchDataMigration[Any], loop: EventLoop, cursor: Any) -> Iterator[Any]:
    items = loop.result_of(migration.items(cursor))
    try:
        return loop.iterate(items)
    except TypeError as error:
        raise ScriptError(
            f"items(cursor) returned {items!r}: return the items, or yield them"
        ) from error


class _Walk:
    """One walk over the items after a cursor."""

    def __init__(
        self,
        migration: BatchDataMigration[Any],
        cursor: Any,
        checkpoints: Checkpoints,
        tally: Tally,
        world: World,
        loop: EventLoop,
    ) -> None:
        self._migration = migration
        self._cursor = cursor
        self._checkpoints = checkpoints
        self._tally = tally
        self._world = world
        self._loop = loop
        self._gate = Gate(world.is_stopped)
        self._log_failure = _failure_log()

    def one_by_one(self) -> bool:
        """Handle each item before the next one is taken; return whether none is left."""
        handle = handler(self._migration, self._loop, self._gate)
        for number, (item, cursor) in enumerate(self._items()):
            failure = None
            try:
                handle(number, item)
            except NotBegunError:
                return False
            except Exception as error:  # noqa: BLE001 - whatever the author's code raises
                failure = error
            self._move_past(item, cursor, failure)
        return True

    def side_by_side(self, window_size: int) -> bool:
        """Handle the items of a window at once, settled in order; return whether none is left."""
        window: _Window = deque()
        # Paced items wait for the first one: it may open a client that all need, and those that
        # began meanwhile would then send their requests at once.
        room = 1 if self._migration.max_per_second else window_size
        is_stopped = self._world.is_stopped
        with self._workers() as submit:
            try:
                items = itertools.takewhile(lambda _: not is_stopped(), self._items())
                for number, (item, cursor) in enumerate(items):
                    window.append((item, cursor, submit(number, item)))
                    while window and (len(window) >= room or window[0][-1].done()):
                        self._settle(window)
                    room = window_size
                was_stopped = is_stopped()
                while window:
                    self._settle(window)
            except NotBegunError:
                return False
            finally:
                self._gate.close()
                wait_for([future for *_, future in window])
        return not was_stopped

    @contextmanager
    def _workers(self) -> "Iterator[Callable[[int, Any], Future[Any]]]":
        """Return what begins an item beside others, unless no more are taken by then."""
        from asyncio import Semaphore
        from concurrent.futures import ThreadPoolExecutor

        migration = self._migration
        if inspect.iscoroutinefunction(migration.process):
            process = async_handler(migration, self._gate)
            free = Semaphore(migration.workers)

            async def process_in_turn(number: int, item: Any) -> None:
                async with free:
                    await process(number, item)

            yield lambda number, item: self._loop.submit(process_in_turn(number, item))
        else:
            handle = handler(migration, self._loop, self._gate)
            with ThreadPoolExecutor(migration.workers, thread_name_prefix="worker") as pool:
                yield lambda number, item: pool.submit(handle, number, item)

    def _settle(self, window: "_Window") -> None:
        """Wait for the first item of the window, and move the cursor past it.

        Raises:
            NotBegunError: the item, and all after it, are left for the next run.
        """
        item, cursor, future = window[0]
        failure = None
        try:
            result_of(future)
        except Exception as error:  # noqa: BLE001 - whatever the author's code raises
            failure = error
        self._move_past(item, cursor, failure)
        window.popleft()

    def _items(self) -> Iterator[tuple[Any, Any]]:
        """Yield what comes after the cursor, each with its own, which `process` might change.

        Raises:
            ScriptError: the cursor of an item cannot be kept.
        """
        cursor_of = self._migration.cursor
        for item in _items(self._migration, self._loop, self._cursor):
            cursor = cursor_of(item)
            yield item, cursor if type(cursor) in _SURELY_JSON else _copy_of(cursor)

    def _move_past(self, item: Any, cursor: Any, error: Exception | None) -> None:
        """Move past an item that is done, or failed for good.

        Raises:
            ItemError: it failed, and the walk ends here.
        """
        if error is None:
            self._checkpoints.move_past(cursor)
            return
        name = _name(self._migration, item, cursor)
        if self._migration.on_error == "stop":
            raise ItemError(name) from error
        self._log_failure(name, error)
        self._checkpoints.move_past(cursor, _failed_item(cursor, error, self._world.redact))
        if _has_failed_too_often(self._migration, self._tally):
            many = f"{in_items(self._tally.failed)} failed, more than max_failures"
            raise ItemError(f"{name}, as {many}") from error


def _has_failed_too_often(migration: BatchDataMigration[Any], tally: Tally) -> bool:
    limit = migration.max_failures
    if isinstance(limit, float):
        # The share of the first few items tells nothing.
        enough = tally.handled >= migration.batch_size
        return enough and tally.failed > limit * tally.handled
    return tally.failed > limit


def _window_size(migration: BatchDataMigration[Any]) -> int:
    """Return how many items are begun before the first of them is settled; 0 for one by one."""
    workers = migration.workers
    if workers == 1:
        return 0
    # Half a batch at most: a save is due each half batch, and a kill replays no more than one.
    return max(workers, min(workers * _WINDOW_A_WORKER, migration.batch_size // 2))


def _failure_log() -> Callable[[str, Exception], None]:
    """Return what logs that an item failed, with the script's traceback at the first of a kind."""
    known = set()

    def log_failure(name: str, error: Exception) -> None:
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        kind = type(error), frame.f_code.co_filename, line
        shown = "" if kind in known else f"\n{script_traceback(error)}"
        known.add(kind)
        log.error("%s failed: %s%s", name, message_of(error), shown)

    return log_failure


def _failed_item(cursor: Any, error: Exception, redact: Redact) -> FailedItem:
    # In this order: a part of a secret would not be known for one.
    return FailedItem(cursor=cursor, error=redact(message_of(error))[:_LONGEST_MESSAGE])


def _name(migration: BatchDataMigration[Any], item: Any, cursor: Any) -> str:
    """Return what messages call an item, even if `process` has changed it."""
    if type(migration).describe is BatchDataMigration.describe:
        return str(cursor)
    try:
        return str(migration.describe(item))
    except Exception:  # noqa: BLE001 - the error of the item itself is the one to tell
        return str(cursor)


def _copy_of(cursor: Any) -> Any:
    """Return the cursor as a checkpoint will give it back; `process` may change the original.

    Raises:
        ScriptError: it is no JSON value, or the one for the beginning.
    """
    if cursor is None:
        raise ScriptError("cursor(item) returned None, which stands for the beginning")
    try:
        kept = json.loads(json.dumps(cursor, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ScriptError(f"cursor(item) returned {cursor!r}, which is no JSON value") from error
    if kept != cursor:
        raise ScriptError(f"cursor(item) returned {cursor!r}, which JSON would change")
    return kept
