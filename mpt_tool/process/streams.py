"""Keeps stdout and stderr usable: whatever becomes of them, a run goes on and goes on record."""

import errno
import os
import sys
from contextlib import suppress
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NOBODY_READS = frozenset({errno.EBADF, errno.EPIPE, errno.ECONNRESET})


class _OutlastingFile(FileIO):
    """A file that lets go what it cannot write; `error` tells why, unless just nobody reads it."""

    error: OSError | None = None
    is_read = True

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        # The last one is what a terminal that is gone answers.
        self._nobody_reads = _NOBODY_READS | ({errno.EIO} if self.isatty() else set())

    def write(self, data: "ReadableBuffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno in self._nobody_reads:
                self.is_read = False
            else:
                self.error = error
            return memoryview(data).nbytes


class _OutlastingStream(TextIOWrapper):
    """A stream on a descriptor that takes what is written to it, whether or not that arrives.

    It takes over the encoding and the buffering of the original one, which may be closed. What the
    encoding lacks is escaped.
    """

    def __init__(self, number: int, original: TextIOWrapper | None) -> None:
        self.file = _OutlastingFile(number)
        is_unbuffered = original is not None and original.write_through
        super().__init__(
            self.file if is_unbuffered else BufferedWriter(self.file),
            encoding=original.encoding if original else "utf-8",
            errors="backslashreplace",
            line_buffering=original is not None and original.line_buffering,
            write_through=is_unbuffered,
        )


def prepare_streams() -> None:
    """Make stdout and stderr outlast their readers and a full disk, and open what was closed.

    A stream that a script put in their place stays, unless it is closed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The system gives out the lowest number that is free: this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for number, name in enumerate(("stdout", "stderr"), start=1):
        # The second one is what scripts go back to, and keeps the first from being closed.
        stream, original = getattr(sys, name), getattr(sys, f"__{name}__")
        outlasting = _outlasting(number, original)
        setattr(sys, f"__{name}__", outlasting)
        if stream is original or not _is_open(stream):
            setattr(sys, name, outlasting)


def lost_output() -> OSError | None:
    """Return why what was written to stdout is lost, if it is for more than want of a reader."""
    stdout = sys.__stdout__
    if not isinstance(stdout, _OutlastingStream):
        return None
    with suppress(ValueError):
        stdout.flush()
    return stdout.file.error


def is_stdout_read() -> bool:
    """Whether there is still somebody who reads stdout, as far as what was written tells."""
    stdout = sys.__stdout__
    return not isinstance(stdout, _OutlastingStream) or stdout.file.is_read


def _outlasting(number: int, original: TextIOWrapper | None) -> TextIOWrapper:
    if original and _is_open(original):
        file = getattr(original.buffer, "raw", original.buffer)
        if type(file) is not FileIO:
            # It outlasts already, or is a console of Windows.
            return original
    return _OutlastingStream(number, original)


def _is_open(stream: Any) -> bool:
    """Whether what stands for a stream, which may be None or a script's own, can be written to."""
    try:
        return stream is not None and not getattr(stream, "closed", False)
    except ValueError:
        # Somebody took its buffer.
        return False
