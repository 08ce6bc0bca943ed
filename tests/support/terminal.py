"""A real terminal: a command on a pty, and the screen as the person before it sees it."""

import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pexpect
import pyte

_ESCAPE = b"\x1b"
_ESCAPE_SEQUENCE = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_HANGS_SECONDS = 15
# Taller than what any test writes, so that nothing is scrolled away.
_LINES = 300


class Terminal:
    """Runs a command on a pty and follows its screen; a command that is left running is ended.

    Args:
        command: the program and its arguments.
        root: the folder to run it in.
        environment: all of its variables; TERM is added if it has none.
        columns: the width of the terminal.
        lines: its height.
        redirect: what a shell is to redirect away from the terminal, as in `2>stderr.txt`.
    """

    def __init__(
        self,
        command: Sequence[str],
        root: Path,
        environment: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = _LINES,
        redirect: str = "",
    ) -> None:
        self.written = b""
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._child: pexpect.spawn[bytes] = pexpect.spawn(
            "/bin/sh",
            ["-c", f"exec {shlex.join(command)} {redirect}"],
            cwd=root,
            env={"TERM": "xterm-256color", **environment},
            dimensions=(lines, columns),
            timeout=_HANGS_SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self._child.close(force=True)

    @property
    def lines(self) -> list[str]:
        """The screen's lines without trailing blanks, down to the last that has any text."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n")

    @property
    def text(self) -> str:
        """The screen's lines as one text."""
        return "\n".join(self.lines)

    @property
    def screen(self) -> pyte.Screen:
        """The screen as it is now, each character with its colours."""
        return self._screen

    @property
    def written_lines(self) -> list[str]:
        """What the command wrote, line by line, before the terminal broke any, without escapes."""
        plain = _ESCAPE_SEQUENCE.sub(b"", self.written).decode()
        return [line.rstrip("\r") for line in plain.split("\n")]

    @property
    def has_escapes(self) -> bool:
        """Whether the command ever wrote an escape sequence: a colour or a move of the cursor."""
        return _ESCAPE in self.written

    @property
    def shows_cursor(self) -> bool:
        """Whether the cursor is there for the person to type at."""
        return not self._screen.cursor.hidden

    def colour_of(self, text: str, *, beside: str) -> str:
        """Return the colour of a text, on the first line that has the other text too."""
        row, line = next(
            (row, line) for row, line in enumerate(self._screen.display) if beside in line
        )
        colour: str = self._screen.buffer[row][line.index(text)].fg
        return colour

    def wait_for(self, pattern: str) -> str:
        """Read on until the screen shows what the pattern describes, and return that."""
        hangs_at = time.monotonic() + _HANGS_SECONDS
        while not (match := re.search(pattern, self.text)):
            if not self._read() or time.monotonic() > hangs_at:
                raise AssertionError(f"{pattern!r} was not shown:\n{self.text}")
        return match[0]

    def shows(self, pattern: str) -> bool:
        """Whether the screen shows what the pattern describes."""
        return bool(re.search(pattern, self.text))

    def follow(self) -> Iterator[None]:
        """Yield each time that the screen may show something new, to the command's end."""
        while self._read():
            yield

    def press(self, keys: str) -> None:
        """Type on the keyboard; `\\x03` is Ctrl-C."""
        self._child.send(keys)

    def hang_up(self) -> int:
        """Go away, as a window does that is closed; return the exit code as `wait` does."""
        self._child.ptyproc.fileobj.close()  # type: ignore[attr-defined] # not in the stubs
        return self._exit_code()

    def wait(self) -> int:
        """Read to the command's end and return its exit code, negative if a signal ended it."""
        hangs_at = time.monotonic() + _HANGS_SECONDS
        while self._read():
            if time.monotonic() > hangs_at:
                raise AssertionError(f"the command did not end:\n{self.text}")
        return self._exit_code()

    def _exit_code(self) -> int:
        self._child.wait()
        status, signal = self._child.exitstatus, self._child.signalstatus
        return status if status is not None else -int(signal or 0)

    def _read(self) -> bool:
        """Show what was written since; return whether more may come."""
        try:
            written = self._child.read_nonblocking(65536, _HANGS_SECONDS)
        except pexpect.EOF:
            return False
        except pexpect.TIMEOUT:
            raise AssertionError(f"nothing was written any more:\n{self.text}") from None
        self.written += written
        self._stream.feed(written)
        return True


class Gate:
    """Holds up a script until the test has seen what it waits for.

    Args:
        path: where the named pipe is made that the script reads.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        # Open at both ends, so that neither side waits for the other to open it.
        self._pipe = os.open(path, os.O_RDWR)
        self.wait = f"open({str(path)!r}).readline()"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        os.close(self._pipe)

    def open(self) -> None:
        """Let the script pass once."""
        os.write(self._pipe, b"\n")
