"""What a worker process of ours is: it takes no signal, and ends with the one that started it."""

import os
import signal
import threading
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import connection, parent_process
from pathlib import Path


def begin_child(folder: Path, signals: Iterable[int]) -> None:
    """Make this process such a child; called in its main thread, before anything else.

    Args:
        folder: where it works.
        signals: what it is not to end by, as Ctrl-C reaches all processes of a terminal: it is told
            when there is nothing more to do.
    """
    for number in signals:
        # Not ignored: the programs that a script starts would inherit that.
        signal.signal(number, _go_on)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    # The script may have removed it.
    with suppress(OSError):
        os.chdir(folder)


def _go_on(*_: object) -> None:
    """Let a signal pass."""


def _end_with_parent() -> None:
    """End at once when the parent has, as it would at SIGKILL: what it begins then nobody keeps."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
