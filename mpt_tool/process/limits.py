"""Stops a script whose time is over."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mpt_tool.errors import ExitCode
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import Interrupted, Stop, start_aside
from mpt_tool.wording import duration

_WARNED_AT = 0.8
# Which hardly any script uses.
_OVER: signal.Signals | None = getattr(signal, "SIGVTALRM", None)

log = get_log(__name__)


@contextmanager
def time_limit(seconds: float, setting: str, what: str, stop: Stop) -> Iterator[None]:
    """Raise in the main thread once so many seconds are over; where no signal can, do nothing.

    Args:
        seconds: the limit; 0 for none. When four fifths of it are over, a warning is logged.
        setting: the variable that sets it, for messages.
        what: what is limited, for the warning.
        stop: what is stopped by it already may take as long as it needs.

    Raises:
        Interrupted: the time is over, even if the script swallowed the error that said so.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not (seconds and in_main_thread and _OVER):
        yield
        return
    over = Interrupted(f"it took longer than the {seconds:g} seconds of {setting}", ExitCode.FAILED)
    is_over, ended = False, threading.Event()

    def raise_over(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_over
        if not (ended.is_set() or stop.cause):
            is_over = True
            raise over

    earlier = signal.signal(_OVER, raise_over)
    watcher = _watcher(seconds, setting, what, ended)
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


def _watcher(seconds: float, setting: str, what: str, ended: threading.Event) -> threading.Thread:
    """Return a thread that warns, and then signals to this one, unless it has ended before.

    Not a timer of the system: there is one only, and a script may set it for itself.
    """
    main, warned_at = threading.get_ident(), seconds * _WARNED_AT

    def watch() -> None:
        if ended.wait(warned_at):
            return
        share, left = f"{_WARNED_AT:.0%}".replace("%", " %"), duration(seconds - warned_at)
        message = "%s has taken %s of the %g seconds of %s: it will be stopped in %s"
        log.warning(message, what, share, seconds, setting, left)
        if _OVER and not ended.wait(seconds - warned_at):
            signal.pthread_kill(main, _OVER)

    thread = threading.Thread(target=watch, name=f"limit of {seconds:g} seconds", daemon=True)
    start_aside(thread)
    return thread
