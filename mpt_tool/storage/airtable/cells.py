"""What fits into a cell of Airtable, and how what does not is shortened or divided."""

import json
from collections.abc import Iterator
from typing import Any

from mpt_tool.errors import StorageError
from mpt_tool.records import ErrorReport, FailedItem, FailedItems
from mpt_tool.wording import shortened

LONGEST_TEXT = 100_000


def json_cell(column: str, value: Any) -> str:
    """Return a value as JSON.

    Raises:
        StorageError: it does not fit.
    """
    # What UTF-8 cannot hold, as the name of a file may be, is escaped by this one alone.
    text = json.dumps(value, separators=(",", ":"))
    if len(text) > LONGEST_TEXT:
        raise StorageError(
            f"The column {column} has room for {LONGEST_TEXT:,} characters, not for {len(text):,}:"
            " make cursors, and what once() keeps, shorter"
        )
    return text


def fitting(items: FailedItems) -> Iterator[FailedItems]:
    """Yield the failed items in parts, each of which fits into a cell."""
    first, part, length = items.first, list[FailedItem](), 0
    for item in items.failed:
        added = len(_as_json(item)) + 1
        if part and length + added > LONGEST_TEXT - 2:
            yield items.model_copy(update={"first": first, "failed": tuple(part)})
            first, part, length = first + len(part), [], 0
        part.append(item)
        length += added
    yield items.model_copy(update={"first": first, "failed": tuple(part)})


def error_cell(error: ErrorReport) -> str:
    """Return an error as JSON; if it is too long, without the middle of its messages and frames."""
    text, length = _as_json(error), LONGEST_TEXT
    while len(text) > LONGEST_TEXT:
        # Again and again: escaped, a character may take twelve, and there may be causes.
        length //= 2
        text = _as_json(_shortened(error, length))
    return text


def _shortened(error: ErrorReport, length: int) -> ErrorReport:
    """Return an error with so many characters of its message at most, and its causes with fewer."""
    update = {
        "message": shortened(error.message, length),
        "frames": tuple(shortened(frame, length // 10) for frame in error.frames[-10:]),
        "cause": _shortened(error.cause, length // 2) if error.cause and length else None,
    }
    return error.model_copy(update=update)


def _as_json(value: FailedItem | ErrorReport) -> str:
    return json.dumps(value.model_dump(mode="json", exclude_none=True), separators=(",", ":"))
