"""The items of a batch migration: each with its cursor, its name in messages, and why it failed."""

import json
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from mpt_tool.batch.executors import Process, Task
from mpt_tool.batch.loop import EventLoop
from mpt_tool.clients.limiter import was_not_begun
from mpt_tool.clients.releases import hint_at_release
from mpt_tool.errors import ScriptError, message_of
from mpt_tool.migration import BatchMigration
from mpt_tool.process.log import get_log
from mpt_tool.process.tracebacks import script_traceback
from mpt_tool.records import FailedItem
from mpt_tool.redaction import Redact
from mpt_tool.wording import LONGEST_REPEATED, as_text, in_items, shortened

_LONGEST_MESSAGE = 1000
_LONGEST_OUTCOME = 60
_BEYOND_COUNTING = 10**18

log = get_log(__name__)


def items_after(migration: BatchMigration[Any], cursor: Any, loop: EventLoop) -> Iterator[Any]:
    """Return the items after a cursor.

    Raises:
        ScriptError: `items` returned something else.
    """
    items = loop.result_of(migration.items(cursor))
    try:
        return loop.iterate(items)
    except TypeError as error:
        raise ScriptError(
            f"items(cursor) returned {items!r}: return the items, or yield them"
        ) from error


def with_cursors(
    migration: BatchMigration[Any], cursor: Any, loop: EventLoop
) -> Iterator[tuple[Any, Any]]:
    """Yield the items after a cursor, each with its own, which `process` might change.

    Raises:
        ScriptError: `items` returned something else, or the cursor of an item cannot be kept.
    """
    cursor_of = migration.cursor
    for item in items_after(migration, cursor, loop):
        own = cursor_of(item)
        is_plain = type(own) is str or (
            type(own) is int and -_BEYOND_COUNTING < own < _BEYOND_COUNTING
        )
        yield item, own if is_plain else _copy_of(own)


def total_of(migration: BatchMigration[Any], loop: EventLoop) -> int | None:
    """Return how many items there are in all, if the migration knows; an error is a warning."""
    try:
        total: object = loop.result_of(migration.count())
    except BaseException as error:
        # A request for it would have had to wait, and the run is to stop.
        if was_not_begun(error):
            return None
        # The number is worth a message, not the run.
        if not isinstance(error, Exception):
            raise
        log.warning("How many items there are is not known: count() failed: %s", message_of(error))
        return None
    if total is None or (isinstance(total, int) and 0 <= total < _BEYOND_COUNTING):
        return total
    log.warning("count() returned %s: use a whole number, or None", _told(total))
    return None


def name_of(migration: BatchMigration[Any], item: Any, cursor: Any) -> str:
    """Return what messages call an item, even if `process` has changed it."""
    if type(migration).describe is BatchMigration.describe:
        return as_text(cursor)
    try:
        return str(migration.describe(item))
    except Exception:  # noqa: BLE001 - the error of the item itself is the one to tell
        return as_text(cursor)


def processing(migration: BatchMigration[Any]) -> Process:
    """Return what processes an item, or a bundle of items."""
    return migration.process_many if migration.handles_many() else migration.process


def finding(migration: BatchMigration[Any], loop: EventLoop) -> Process:
    """Return a callable(cursor) that finds the item of a cursor and processes it.

    Raises:
        ScriptError: the migration has no `find`.
    """
    if not migration.finds():
        name = type(migration).__name__
        raise ScriptError(
            f"{name} has no find(cursor), so no item can be found again: define it, and run this"
            " again"
        )

    def find_and_process(cursor: Any) -> Any:
        item: Any = loop.result_of(migration.find(cursor))
        if item is None:
            raise LookupError("find(cursor) found nothing")
        return process_alone(migration, item)

    return find_and_process


def process_alone(migration: BatchMigration[Any], item: Any) -> Any:
    """Process one item, whichever way items are processed."""
    return processing(migration)([item] if migration.handles_many() else item)


def failed_item(cursor: Any, error: BaseException, redact: Redact) -> FailedItem:
    """Return what is kept of an item that failed for good."""
    # In this order: a part of a secret would not be known for one.
    return FailedItem(cursor=cursor, error=redact(message_of(error))[:_LONGEST_MESSAGE])


def outcomes_of(task: Task, redact: Redact) -> Sequence[str | None]:
    """Return the outcome of each item of a task that is done; None if none was told."""
    result, parts = task.result, task.parts
    count = len(parts) or 1
    if isinstance(result, str):
        return (_kept_outcome(result, redact),) * count
    if isinstance(result, list | tuple) and parts and len(result) != count:
        raise ScriptError(f"process_many() returned {len(result)} outcomes for {in_items(count)}")
    if isinstance(result, list | tuple) and len(result) == count:
        return [_kept_outcome(one, redact) if isinstance(one, str) else None for one in result]
    if result is not None:
        _tell_no_outcome(type(result).__name__)
    return (None,) * count


@cache
def _tell_no_outcome(kind: str) -> None:
    log.warning("What process() returned is of the type %s, so no outcome: that is text", kind)


# There are few, each of them many times.
@lru_cache
def _kept_outcome(outcome: str, redact: Redact) -> str:
    return shortened(redact(outcome), _LONGEST_OUTCOME)


class Budget:
    """How many items a run may handle, over all of its targets; as many as there are by default."""

    def __init__(self, items: float = math.inf) -> None:
        self.left = items
        self.is_spent = False
        """Whether items were left out, as there was none left."""

    def share_of(self, source: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """Return as many items of a source as may still be handled."""
        return self._taken_from(source) if math.isfinite(self.left) else source

    def _taken_from(self, source: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        for item in source:
            if self.left < 1:
                self.is_spent = True
                return
            self.left -= 1
            yield item


def failure_log(redact: Redact) -> Callable[[str, BaseException], None]:
    """Return a callable(name, error) that logs a failed item, at the first of a kind in full.

    Args:
        redact: takes secrets out of what is logged, before a part of one could be cut off.
    """
    known = set()

    def log_failure(name: str, error: BaseException) -> None:
        # One of ours, of a process that ended, was raised nowhere.
        places = [("", 0)] + [
            (frame.f_code.co_filename, line)
            for frame, line in traceback.walk_tb(error.__traceback__)
        ]
        kind = type(error), *places[-1]
        shown = "" if kind in known or len(places) == 1 else f"\n{script_traceback(error)}"
        known.add(kind)
        message = shortened(redact(message_of(error)), LONGEST_REPEATED)
        log.error("%s failed: %s%s", name, message, shown)
        if shown and (hint := hint_at_release(error)):
            log.warning("%s", hint)

    return log_failure


def _told(value: object) -> str:
    """Return a value for a message; Python refuses to write a number of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return f"a value of the type {type(value).__name__} that is too long to be written"


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
        raise ScriptError(
            f"cursor(item) returned {_told(cursor)}, which is no JSON value"
        ) from error
    if kept != cursor:
        raise ScriptError(f"cursor(item) returned {cursor!r}, which JSON would change")
    return kept
