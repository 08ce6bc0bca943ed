"""What fits into a cell of Airtable: first what has to be kept, then as much else as it holds."""

import json
from itertools import accumulate, takewhile
from typing import Any

from mpt_tool.errors import StorageError
from mpt_tool.records import Checkpoint, ErrorReport, FailedItem
from mpt_tool.wording import shortened

LONGEST_TEXT = 100_000


def checkpoint_cell(checkpoint: Checkpoint) -> tuple[str, int]:
    """Return a checkpoint as JSON, and how many of its failed items that tells.

    If it is too long, without why items failed; if it still is, without the last of them.

    Raises:
        StorageError: not even the cursor fits.
    """
    text, count = _as_json(checkpoint), len(checkpoint.failures)
    if len(text) > LONGEST_TEXT:
        bare = tuple(FailedItem(cursor=each.cursor, error="") for each in checkpoint.failures)
        room = LONGEST_TEXT - len(_as_json(checkpoint.model_copy(update={"failures": ()})))
        if room < 0:
            raise StorageError("The column checkpoint has no room for the cursor: shorten it")
        # Each with the comma after it.
        ends = accumulate(len(_as_json(item)) + 1 for item in bare)
        count = sum(1 for _ in takewhile(lambda end: end <= room, ends))
        text = _as_json(checkpoint.model_copy(update={"failures": bare[:count]}))
    return text, count


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


def _as_json(value: Checkpoint | FailedItem | ErrorReport) -> str:
    document: Any = value.model_dump(mode="json", exclude_none=isinstance(value, ErrorReport))
    # What UTF-8 cannot hold, as the name of a file may be, is escaped by this one alone.
    return json.dumps(document, separators=(",", ":"))
