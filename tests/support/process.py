"""The installed command at work, while the test looks on and interferes."""

import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from .project import Project, Result, content

HANGS_SECONDS = 30
_POLL_SECONDS = 0.02
_DYING_SECONDS = 5


class Process:
    """Runs `mpt-tool` in a project's root, away from any terminal; killed if it is left running.

    Args:
        project: where it runs.
        arguments: those of the command.
        env: variables beyond those of the project.
        anew: whether it is to import its libraries itself, as a user's does.
    """

    def __init__(
        self,
        project: Project,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        anew: bool = False,
    ) -> None:
        with ExitStack() as opened:
            self._stdout = opened.enter_context(tempfile.TemporaryFile())
            self._stderr = opened.enter_context(tempfile.TemporaryFile())
            # At SIGABRT it tells its stacks.
            env = {"PYTHONFAULTHANDLER": "1", **(env or {})}
            self._child = project.start(arguments, self._stdout, self._stderr, env=env, anew=anew)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.kill()
        self._opened.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    @property
    def stdout(self) -> str:
        """What it has written to stdout so far."""
        return content(self._stdout)

    @property
    def stderr(self) -> str:
        """What it has written to stderr so far."""
        return content(self._stderr)

    def wait_for(self, text: str) -> None:
        """Return once the text was logged or written to stderr."""

        def is_there() -> bool:
            ended = self._child.poll() is not None
            there = text in self.stderr
            assert there or not ended, f"ended without {text!r}:\n{self.stderr}"
            return there

        wait_until(is_there)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._child.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power cut would, and wait until it is gone."""
        self._child.kill()
        self._child.wait()

    def wait(self) -> Result:
        """Wait for its end and return what it left; the exit code is negative after a signal."""
        try:
            exit_code = self._child.wait(HANGS_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it hangs:\n{self._stacks()}") from None
        return Result(exit_code, self.stdout, self.stderr)

    def wait_until(self, is_so: Callable[[], bool], pause: float) -> None:
        """Return once it is so, or the command has ended; look so many seconds apart."""
        hangs_at = time.monotonic() + HANGS_SECONDS
        while self.is_running and not is_so():
            assert time.monotonic() < hangs_at, f"that never came to be:\n{self._stacks()}"
            time.sleep(pause)

    def _stacks(self) -> str:
        """End it, and return what it has written, and what each of its threads was about."""
        self._child.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_DYING_SECONDS)
        return self.stderr


def is_there(process: int) -> bool:
    """Whether a process has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look again and again until it is so."""
    hangs_at = time.monotonic() + HANGS_SECONDS
    while not is_so():
        assert time.monotonic() < hangs_at, "that never came to be"
        time.sleep(_POLL_SECONDS)
