"""Stops a script whose time is over."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mpt_tool.errors import ExitCode
from mpt_tool.process.signals import Stop

WARNED_AT = 0.8


# Which hardly any script uses.
_OVER: signal.Signals | None = getattr(signal, "SIGVTALRM", None)


class TimeLimitError(KeyboardInterrupt):
    """Raised in a script whose time is over; no `except Exception` on the way swallows it."""

    exit_code = ExitCode.FAILED


@contextmanager
def time_limit(seconds: float, warn: Callable[[], None], stop: Stop) -> Iterator[None]:
    """Raise in the main thread once so many seconds are over; where no signal can, do nothing.

    Args:
        seconds: the limit; 0 for none.
        warn: called once, in a thread of its own, when four fifths of the time are over.
        stop: what is stopped by it already may take as long as it needs.

    Raises:
        TimeLimitError: the time is over, even if the script swallowed the error that said so.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not (seconds and in_main_thread and _OVER):
        yield
        return
    main = threading.get_ident()
    over = TimeLimitError(f"it took longer than the limit of {seconds:g} seconds")
    is_over = False
    ended = threading.Event()

    def raise_over(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_over
        if not (ended.is_set() or stop.cause):
            is_over = True
            raise over

    def watch(number: signal.Signals) -> None:
        if ended.wait(seconds * WARNED_AT):
            return
        warn()
        if not ended.wait(seconds * (1 - WARNED_AT)):
            signal.pthread_kill(main, number)

    # Not by a timer of the system: there is one only, and a script may set it for itself.
    name = f"limit of {seconds:g} seconds"
    watcher = threading.Thread(target=watch, args=(_OVER,), name=name, daemon=True)
    earlier = signal.signal(_OVER, raise_over)
    # A thread takes none of the signals that the script waits for: it inherits what is blocked.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    watcher.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        # The script may have blocked it.
        is_over = is_over or (_OVER in signal.sigpending() and not stop.cause)
        signal.signal(_OVER, earlier)
    if is_over:
        raise over
