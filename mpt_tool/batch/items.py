"""The items of a batch migration: each with its cursor, its name in messages, and why it failed."""

import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from mpt_tool.batch.loop import EventLoop
from mpt_tool.clients.limiter import NotBegunError
from mpt_tool.errors import ScriptError, message_of
from mpt_tool.migration.batch import BatchDataMigration
from mpt_tool.process.log import get_log
from mpt_tool.process.tracebacks import script_traceback
from mpt_tool.records import FailedItem
from mpt_tool.redaction import Redact
from mpt_tool.wording import LONGEST_REPEATED, shortened

_LONGEST_MESSAGE = 100
_SURELY_JSON = frozenset({int, str})

log = get_log(__name__)


def items_after(migration: BatchDataMigration[Any], cursor: Any, loop: EventLoop) -> Iterator[Any]:
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
    migration: BatchDataMigration[Any], cursor: Any, loop: EventLoop
) -> Iterator[tuple[Any, Any]]:
    """Yield the items after a cursor, each with its own, which `process` might change.

    Raises:
        ScriptError: `items` returned something else, or the cursor of an item cannot be kept.
    """
    cursor_of = migration.cursor
    for item in items_after(migration, cursor, loop):
        own = cursor_of(item)
        yield item, own if type(own) in _SURELY_JSON else _copy_of(own)


def total_of(migration: BatchDataMigration[Any]) -> int | None:
    """Return how many items there are in all, if the migration knows.

    Raises:
        ScriptError: what `count` returned is no number of items.
    """
    try:
        total: object = migration.count()
    except NotBegunError:
        # A request for it would have had to wait, and the run is to stop.
        return None
    if total is None or (isinstance(total, int) and total >= 0):
        return total
    raise ScriptError(f"count() returned {total!r}: use a whole number, or None")


def name_of(migration: BatchDataMigration[Any], item: Any, cursor: Any) -> str:
    """Return what messages call an item, even if `process` has changed it."""
    if type(migration).describe is BatchDataMigration.describe:
        return str(cursor)
    try:
        return str(migration.describe(item))
    except Exception:  # noqa: BLE001 - the error of the item itself is the one to tell
        return str(cursor)


def failed_item(cursor: Any, error: BaseException, redact: Redact) -> FailedItem:
    """Return what is kept of an item that failed for good."""
    # In this order: a part of a secret would not be known for one.
    return FailedItem(cursor=cursor, error=redact(message_of(error))[:_LONGEST_MESSAGE])


def failure_log(redact: Redact) -> Callable[[str, BaseException], None]:
    """Return a callable(name, error) that logs a failed item, at the first of a kind in full.

    Args:
        redact: takes secrets out of what is logged, before a part of one could be cut off.
    """
    known = set()

    def log_failure(name: str, error: BaseException) -> None:
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        kind = type(error), frame.f_code.co_filename, line
        shown = "" if kind in known else f"\n{script_traceback(error)}"
        known.add(kind)
        message = shortened(redact(message_of(error)), LONGEST_REPEATED)
        log.error("%s failed: %s%s", name, message, shown)

    return log_failure


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
