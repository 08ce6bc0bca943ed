"""The file of the local history: an attempt, or failed items, a line."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ValidationError

from mpt_tool.process.log import get_log
from mpt_tool.records import Attempt, FailedItems
from mpt_tool.storage.file_lock import explaining_files

HISTORY_FILE = ".migrations-history.jsonl"
# In which the history is read, from its end.
_BLOCK_SIZE = 64 * 1024

log = get_log(__name__)


def append(
    added: Sequence[Attempt | FailedItems], path: Path, *, outlasts_power: bool = False
) -> None:
    """Add lines to a history file, on lines of their own even after one that was torn.

    Args:
        added: an entry for each line.
        path: of the file.
        outlasts_power: whether a power cut is not to take them away.

    Raises:
        StorageError: it cannot be written.
    """
    lines = b"".join(json.dumps(each.document()).encode() + b"\n" for each in added)
    with explaining_files(path, "written"), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            lines = lines if file.read(1) == b"\n" else b"\n" + lines
        file.write(lines)
        if outlasts_power:
            file.flush()
            os.fsync(file.fileno())


def entries[Entry: BaseModel](kind: type[Entry], path: Path) -> Iterator[Entry]:
    """Return the entries of a kind in a history file, the newest first; nothing without a file.

    Raises:
        StorageError: it cannot be read.
    """
    with explaining_files(path, "read"):
        try:
            return _entries(path.open("rb"), kind)
        except FileNotFoundError:
            return iter(())


def _entries[Entry: BaseModel](file: BinaryIO, kind: type[Entry]) -> Iterator[Entry]:
    """Yield the entries of a kind in an open file, the last one first, and close it."""
    with file:
        for line in filter(None, _lines_from_end(file)):
            entry = _entry(line)
            if isinstance(entry, kind):
                yield entry
            elif entry is None:
                log.debug("A line of %s is no attempt: left out", file.name)


def _entry(line: bytes) -> Attempt | FailedItems | None:
    for kind in (Attempt, FailedItems):
        with suppress(ValidationError):
            return kind.model_validate_json(line)
    return None


def _lines_from_end(file: BinaryIO) -> Iterator[bytes]:
    position, first = file.seek(0, os.SEEK_END), b""
    while position:
        size = min(_BLOCK_SIZE, position)
        position = file.seek(position - size)
        first, *lines = (file.read(size) + first).split(b"\n")
        yield from reversed(lines)
    yield first
