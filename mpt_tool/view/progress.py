"""What runs, as which of how many, and how far: the last line of a terminal, or lines of a log."""

import itertools
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TextIO, cast

from mpt_tool.process.log import get_log
from mpt_tool.process.signals import start_aside
from mpt_tool.redaction import Redact
from mpt_tool.reporting import Phase, Progress, Running, Silent
from mpt_tool.view.pipelines import Pipeline
from mpt_tool.view.terminal import ERASE_LINE
from mpt_tool.wording import bar, how_far, in_outcomes, printable

log = get_log(__name__)

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SECONDS_A_FRAME = 0.1
_SECONDS_A_LOG = 30
_RATE_SECONDS = 60
# How much of the name of what runs goes before the bar; of less nobody could tell what it is.
_LEAST_WIDTH = 12


@dataclass(frozen=True)
class LogReporter(Silent):
    """Logs how far a batch migration is, every 30 seconds; of others their beginning and end do.

    What is written while a migration runs is a group of its own in the log of a `pipeline`.
    """

    pipeline: Pipeline | None = None

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Log meanwhile."""
        with ExitStack() as stack:
            if isinstance(phase, Running):
                if self.pipeline:
                    stack.enter_context(self.pipeline.group(phase.name, sys.stderr))
                if phase.tally:
                    stack.enter_context(_meanwhile(_keep_logging, phase.name, phase.tally))
            yield


@contextmanager
def _meanwhile(work: Callable[..., None], *arguments: object) -> Iterator[None]:
    """Have a thread work until the context ends; the last argument is the event that tells so."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(*arguments, ended), daemon=True)
    start_aside(thread)
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _keep_logging(migration_id: str, tally: Progress, ended: threading.Event) -> None:
    course = Course(tally, time.monotonic)
    while not ended.wait(_SECONDS_A_LOG):
        log.info("%s: %s", migration_id, course.describe())


class Course:
    """How a tally grows: the rate of the last minute, what is left at that rate, a standstill.

    Args:
        tally: what grows meanwhile.
        clock: returns seconds that only grow.
    """

    def __init__(self, tally: Progress, clock: Callable[[], float]) -> None:
        self._tally = tally
        self._clock = clock
        self._samples = deque([(clock(), tally.handled)])
        self._grew_at = clock()

    def describe(self) -> str:
        """Return done, total, rate, time left and failures, as far as they can be told."""
        now, tally = self._clock(), self._tally
        handled = tally.handled
        if handled > self._samples[-1][1]:
            self._grew_at = now
        self._samples.append((now, handled))
        while now - self._samples[0][0] > _RATE_SECONDS:
            self._samples.popleft()
        began, first = self._samples[0]
        rate = (handled - first) / (now - began) if now > began else 0.0
        parts = [how_far(handled, tally.total, rate, now - self._grew_at)]
        if tally.failed:
            parts.append(f"{tally.failed:,} failed")
        # A copy, for items go on being counted.
        if outcomes := in_outcomes(dict(tally.outcomes)):
            parts.append(outcomes)
        return ", ".join(parts)

    def bar(self) -> str:
        """Return a bar of what is done; nothing without a total."""
        return bar(self._tally.handled, self._tally.total)


@dataclass(frozen=True)
class LiveReporter(Silent):
    """Shows on a terminal what runs; what is written to stdout and stderr meanwhile goes above.

    Args:
        stdout: what a script prints to.
        stderr: the terminal.
        redact: takes secrets out of what is shown.
    """

    stdout: TextIO
    stderr: TextIO
    redact: Redact

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Show the migration as the one that runs."""
        if not isinstance(phase, Running):
            yield
            return
        line = _StatusLine(self.stderr, self.redact)
        with ExitStack() as stack:
            stack.enter_context(redirect_stderr(line.above(self.stderr)))
            # A script before this one may have closed it.
            if not self.stdout.closed and self.stdout.isatty():
                stack.enter_context(redirect_stdout(line.above(self.stdout)))
            stack.callback(line.end)
            what = f"[{phase.number}/{phase.total}] {phase.name}"
            stack.enter_context(_meanwhile(_keep_drawing, line, what, phase.tally))
            yield


def _keep_drawing(
    line: "_StatusLine", what: str, tally: Progress | None, ended: threading.Event
) -> None:
    began = time.monotonic()
    course = Course(tally, time.monotonic) if tally else None
    for frame in itertools.cycle(_SPINNER):
        elapsed = str(timedelta(seconds=int(time.monotonic() - began)))
        bar, end = (course.bar(), f"{course.describe()} {elapsed}") if course else ("", elapsed)
        line.draw(frame, what, bar, end)
        if ended.wait(_SECONDS_A_FRAME):
            return


class _StatusLine:
    """The last line of a terminal, below all that is written above it.

    While what is written has not ended its line (a question, dots, a bar that moves), the status
    line stays away.

    Args:
        terminal: where it is.
        redact: takes secrets out of what it tells.
    """

    def __init__(self, terminal: TextIO, redact: Redact) -> None:
        self._terminal = terminal
        self._redact = redact
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._is_drawn = False
        self._other_is_open = False
        self._above: list[_Above] = []

    def draw(self, frame: str, what: str, bar: str, end: str) -> None:
        """Show what runs on one line: where that is too narrow, cut, and without the bar."""
        columns = shutil.get_terminal_size().columns - 1
        # Of targets and outcomes others may have written the names.
        what, end = (printable(self._redact(text)) for text in (what, end))
        room = columns - len(f"{frame}  {end}")
        if bar and len(bar) + _LEAST_WIDTH < room:
            end = f"{bar} {end}"
            room -= len(bar) + 1
        if room < min(len(what), _LEAST_WIDTH):
            what = ""
        parts = (frame, _cut(what, room), end)
        shown = _cut(" ".join(filter(None, parts)), columns)
        with self._lock:
            if self._other_is_open:
                return
            self._erase()
            self._terminal.write(shown)
            self._terminal.flush()
            self._is_drawn = True

    def above(self, stream: TextIO) -> TextIO:
        """Return the stream as one whose text goes above the line."""
        above = _Above(stream, self)
        self._above.append(above)
        return cast(TextIO, above)

    def write_above(self, stream: TextIO, text: str) -> None:
        """Write what others have to say, untouched."""
        if os.getpid() != self._process:
            # A fork may have copied the lock while it was held: nobody would free the copy.
            stream.write(text)
            return
        with self._lock:
            self._erase()
            stream.write(text)
            stream.flush()
            self._other_is_open = not text.endswith("\n")

    def end(self) -> None:
        """Take the line away, and end the lines that others left open."""
        for above in self._above:
            above.flush_all()
        with self._lock:
            self._erase()
            if self._other_is_open:
                self._terminal.write("\n")
                self._other_is_open = False

    def _erase(self) -> None:
        if self._is_drawn:
            self._terminal.write(ERASE_LINE)
            self._terminal.flush()
            self._is_drawn = False


def _cut(text: str, width: int) -> str:
    """Return the beginning of the text that takes no more than so many columns."""
    from rich.cells import cell_len, set_cell_size

    return set_cell_size(text, max(0, min(width, cell_len(text))))


class _Above:
    """A stream that keeps a status line out of the way of what is written to it.

    As on any terminal, a line is shown once it has ended or is flushed: so those of several threads
    do not mix.
    """

    def __init__(self, stream: TextIO, line: _StatusLine) -> None:
        self._stream = stream
        self._line = line
        # By thread, what is not shown yet of its line.
        self._begun: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        self._begun[thread] = self._begun.get(thread, "") + text
        if "\n" in text or "\r" in text:
            self._show(thread)
        return len(text)

    def flush(self) -> None:
        self._show(threading.get_ident())
        self._stream.flush()

    def flush_all(self) -> None:
        """Show what threads have written that may have ended."""
        for thread in list(self._begun):
            self._show(thread)

    def _show(self, thread: int) -> None:
        if begun := self._begun.pop(thread, ""):
            self._line.write_above(self._stream, begun)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def close(self) -> None:
        """Leave it open: the status line and what comes after need it too."""
