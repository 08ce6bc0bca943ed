"""Stops a script from outside: at a signal, as the lock is lost, or when its time is over."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mpt_tool.errors import ExitCode

# None where the system has no such signal.
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
# Whose signals the process handles; they are the process's, so there is one.
_listening: "Stop | None" = None
# In a worker process: whether the one that drives is to stop.
_is_driver_stopping: Callable[[], bool] | None = None
_SECONDS_A_LOOK = 1.0


def is_stopping() -> bool:
    """Whether there was a signal, or the lock was lost, so that nothing long is to be begun."""
    if _is_driver_stopping is not None:
        return _is_driver_stopping()
    return _listening is not None and _listening.cause is not None


def follow(is_driver_stopping: Callable[[], bool]) -> None:
    """Let this process, a worker, stop when the one that drives does."""
    global _is_driver_stopping  # noqa: PLW0603 - it is that of the process
    _is_driver_stopping = is_driver_stopping


def start_aside(thread: threading.Thread) -> None:
    """Start a thread of ours that takes no signal."""
    with started_aside():
        thread.start()


@contextmanager
def started_aside() -> Iterator[None]:
    """Let threads and processes that are started meanwhile take no signal.

    They are the main thread's: one that another thread takes does not wake it, nor reach a script
    that waits for it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # What is started inherits what is blocked.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        # Another thread may take one meanwhile, and that raises here.
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


class Interrupted(KeyboardInterrupt):
    """Raised in a script that is to stop, with what the process is to exit with."""

    # As tracebacks and the history name it: the class is the tool's own affair.
    __module__, __qualname__ = "builtins", "KeyboardInterrupt"

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Stop:
    """What SIGINT, SIGTERM and SIGHUP do to the process.

    The first one raises `Interrupted` in the main thread; while that is deferred it is only noted.
    The second one ends the process at once, as SIGKILL would; but not a SIGHUP, of which a terminal
    that is closed may cause two. One that was ignored from the start, as with `nohup`, stays so.

    Args:
        tell: says to the user at once that the signal was noticed; called in the signal's handler.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.cause: Interrupted | None = None
        """Why to stop, once there is a reason."""
        self._is_lock_lost = False
        self._is_asked = False
        self._is_running = False
        self._raises = True
        self._process = os.getpid()
        self._signals = [signal.SIGINT, signal.SIGTERM]
        if _HANGUP and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
            self._signals.append(_HANGUP)

    def is_set(self) -> bool:
        """Whether there is a reason to stop."""
        return self.cause is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals meanwhile; in any other thread than the main one do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        global _listening  # noqa: PLW0603 - signals are the process's
        earlier = {each: signal.getsignal(each) for each in self._signals}
        _listening = self
        self._listen()
        try:
            yield
        finally:
            # It stays the one to ask: threads of the script outlast the run.
            for each, handler in earlier.items():
                signal.signal(each, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note a signal, or that the lock is lost, while a run goes on: nothing tears it.

        Nor is what follows torn: it gives the lock back, and tells how the run ended.
        """
        self._is_running, self._raises = True, False
        try:
            yield
        finally:
            self._is_running = False

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let a signal raise `Interrupted` meanwhile, at its end at the latest.

        One that came while that was deferred raises it at once.
        """
        self._raises, earlier = True, self._raises
        try:
            self._require_none()
            yield
        finally:
            self._raises = earlier
            # A script may have set handlers of its own.
            if threading.current_thread() is threading.main_thread():
                self._listen()
        self._require_none()

    def _require_none(self) -> None:
        if self.cause:
            raise self.cause

    @contextmanager
    def untold(self) -> Iterator[None]:
        """Say nothing at a signal meanwhile, for what ends with it at once."""
        tell, self._tell = self._tell, lambda _: None
        try:
            yield
        finally:
            self._tell = tell

    @contextmanager
    def asked_by(self, is_asked: Callable[[], bool]) -> Iterator[None]:
        """Act as at SIGTERM if this is asked for meanwhile, from another process or host say.

        Args:
            is_asked: tells whether it is; called every second, in a thread of its own.
        """
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(_SECONDS_A_LOOK):
                if is_asked():
                    if not self.cause:
                        self._is_asked = True
                        _signal_main_thread(signal.SIGTERM)
                    return

        looker = threading.Thread(target=look, name="stop", daemon=True)
        try:
            start_aside(looker)
            yield
        finally:
            ended.set()
            # A signal may have come before it had begun.
            if looker.is_alive():
                looker.join()

    def lose_lock(self) -> None:
        """Act as at a signal if a run goes on, as the lock is lost; may be called from any thread.

        It is no second signal: what is stopping already goes on cleaning up. Before and after the
        run it does nothing, as nothing is written without a look at the lock.
        """
        self._is_lock_lost = True
        _signal_main_thread(signal.SIGINT)

    def give_up(self, reason: str) -> None:
        """Act as at SIGTERM, but say nothing: the run cannot go on now; later it may.

        Args:
            reason: what happened, to follow on "was".
        """
        if not self.cause:
            self.cause = Interrupted(reason, ExitCode.TRY_LATER)

    def _listen(self) -> None:
        for each in self._signals:
            signal.signal(each, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        exit_code = 128 + number
        if os.getpid() != self._process:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            os._exit(exit_code)
        if self._is_lock_lost and number == signal.SIGINT:
            self._is_lock_lost = False
            if self._is_running and not self.cause:
                self._stop("stopped because the lock was lost", ExitCode.FAILED)
        elif not self.cause:
            is_asked = self._is_asked and number == signal.SIGTERM
            name = "mpt-tool stop" if is_asked else signal.Signals(number).name
            cleaning = ": the script is cleaning up" if self._is_running and self._raises else ""
            again = "a signal" if is_asked else "once more"
            self._tell(f"Stopping at {name}{cleaning}; {again} ends at once")
            self._stop(f"stopped by {name}", exit_code)
        elif number != _HANGUP:
            os._exit(exit_code)

    def _stop(self, reason: str, exit_code: int) -> None:
        self.cause = Interrupted(reason, exit_code)
        if self._raises:
            raise self.cause


def _signal_main_thread(number: signal.Signals) -> None:
    """Send a signal to the main thread of this process."""
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        # To the thread itself: it may be waiting for something.
        signal.pthread_kill(main, number)
    else:
        signal.raise_signal(number)
