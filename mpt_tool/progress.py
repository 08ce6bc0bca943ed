"""The status line: at the bottom of a terminal, what runs, as which of how many, for how long."""

import itertools
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from typing import Any, TextIO, cast

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SECONDS_A_FRAME = 0.1
_ERASE_LINE = "\r\x1b[2K"


class SilentReporter:
    """Shows nothing: the log has a line for the beginning and the end of each migration."""

    @contextmanager
    def running(self, migration_id: str, number: int, total: int) -> Iterator[None]:
        """Do nothing meanwhile."""
        yield


class LiveReporter:
    """Shows on a terminal what runs; what is written to stdout and stderr meanwhile goes above."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._stdout = stdout
        self._stderr = stderr

    @contextmanager
    def running(self, migration_id: str, number: int, total: int) -> Iterator[None]:
        """Show the migration as the one that runs."""
        line = _StatusLine(self._stderr)
        ended = threading.Event()
        drawer = threading.Thread(
            target=_keep_drawing, args=(line, f"[{number}/{total}] {migration_id}", ended)
        )
        drawer.daemon = True
        stdout = line.above(self._stdout) if self._stdout.isatty() else self._stdout
        with redirect_stdout(stdout), redirect_stderr(line.above(self._stderr)):
            drawer.start()
            try:
                yield
            finally:
                ended.set()
                drawer.join()
                line.end()


def _keep_drawing(line: "_StatusLine", what: str, ended: threading.Event) -> None:
    began = time.monotonic()
    for frame in itertools.cycle(_SPINNER):
        line.draw(frame, what, str(timedelta(seconds=int(time.monotonic() - began))))
        if ended.wait(_SECONDS_A_FRAME):
            return


class _StatusLine:
    """The last line of a terminal, below all that is written above it.

    While what is written has not ended its line (a question, dots, a bar that moves), the status
    line stays away.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._is_drawn = False
        self._other_is_open = False

    def draw(self, frame: str, what: str, elapsed: str) -> None:
        """Show what runs, cut to what the width of the terminal leaves for it."""
        from rich.cells import cell_len, set_cell_size

        room = shutil.get_terminal_size().columns - len(f"{frame}  {elapsed}") - 1
        shown = set_cell_size(what, min(room, cell_len(what)))
        with self._lock:
            if self._other_is_open:
                return
            self._erase()
            self._terminal.write(f"{frame} {shown} {elapsed}")
            self._terminal.flush()
            self._is_drawn = True

    def above(self, stream: TextIO) -> TextIO:
        """Return the stream as one whose text goes above the line."""
        return cast(TextIO, _Above(stream, self))

    def write_above(self, stream: TextIO, text: str) -> int:
        """Write what others have to say, untouched."""
        if os.getpid() != self._process:
            # A fork may have copied the lock while it was held: nobody would free the copy.
            return stream.write(text)
        with self._lock:
            self._erase()
            written = stream.write(text)
            stream.flush()
            if text:
                self._other_is_open = not text.endswith("\n")
            return written

    def end(self) -> None:
        """Take the line away, and end the line that another left open."""
        with self._lock:
            self._erase()
            if self._other_is_open:
                self._terminal.write("\n")
                self._other_is_open = False

    def _erase(self) -> None:
        if self._is_drawn:
            self._terminal.write(_ERASE_LINE)
            self._terminal.flush()
            self._is_drawn = False


class _Above:
    """A stream that keeps a status line out of the way of what is written to it."""

    def __init__(self, stream: TextIO, line: _StatusLine) -> None:
        self._stream = stream
        self._line = line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._line.write_above(self._stream, text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))
