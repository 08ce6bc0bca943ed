"""Puts back what a script may have changed in the process that others depend on."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mpt_tool.process.streams import prepare_streams


@contextmanager
def isolated() -> Iterator[None]:
    """Put back the folder, the umask, signals, streams, hooks and the set-up of logging at the end.

    A process that the script forked and let go on is ended there: it is not to record anything.
    """
    own, folder = _generation, Path.cwd()
    # It can be read only by setting it.
    umask = os.umask(0o077)
    os.umask(umask)
    root = logging.getLogger()
    known = root.manager.loggerDict.values()
    loggers = [each for each in known if isinstance(each, logging.Logger)]
    kept = [(each, _attributes(each)) for each in (root, *loggers, *root.handlers)]
    hooks = threading.excepthook, sys.unraisablehook, sys.excepthook
    make, disabled = logging.getLogRecordFactory(), root.manager.disable
    try:
        with _signals_kept():
            yield
    finally:
        end_if_forked(own)
        for each, attributes in kept:
            vars(each).update(attributes)
        threading.excepthook, sys.unraisablehook, sys.excepthook = hooks
        logging.setLogRecordFactory(make)
        # This makes all loggers look anew which events they let through.
        logging.disable(disabled)
        os.umask(umask)
        prepare_streams()
        # The script may have removed it.
        with suppress(OSError):
            os.chdir(folder)


_generation = 0


def _note_fork() -> None:
    global _generation  # noqa: PLW0603 - it is that of the process
    _generation += 1


# To ask the system for the number of the process after each item would take a fifth of all that is
# done for one. Windows has no forks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def generation() -> int:
    """Return of which generation of forks this process is, since the tool was imported."""
    return _generation


def end_if_forked(of: int) -> None:
    """End this process, if not of this generation: a child is neither to go on nor to record."""
    if _generation != of:
        sys.stderr.flush()
        os._exit(1)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back at the end which signals are blocked, and let no alarm of the script ring later."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not (in_main_thread and hasattr(signal, "pthread_sigmask")):
        yield
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    on_alarm = signal.getsignal(signal.SIGALRM)
    try:
        yield
    finally:
        for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
            signal.setitimer(timer, 0)
        # What it blocked and never took would end the process once it is let through.
        taken = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        while pending := signal.sigpending() - taken:
            signal.sigwait(pending)
        signal.signal(signal.SIGALRM, on_alarm)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _attributes(each: logging.Filterer) -> dict[str, Any]:
    """Return the attributes of a logger or handler; what is added to its lists is not in it."""
    return {
        name: value[:] if isinstance(value, list) else value for name, value in vars(each).items()
    }
