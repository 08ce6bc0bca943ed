"""How the files of the local store are looked at, and what keeps them from it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpt_tool.errors import StorageError


@contextmanager
def explaining(path: Path, done: str) -> Iterator[None]:
    """Raise what keeps a file from being read or written as a `StorageError` that names it."""
    try:
        require_regular(path)
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be {done}: {error.strerror}") from error


def require_regular(path: Path) -> None:
    """Refuse a pipe or a device in the place of a file: reading it might never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise StorageError(f"{path} is no regular file: put it out of the way")


def flush_folder(folder: Path) -> None:
    """Make a move within the folder outlast a power cut, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
