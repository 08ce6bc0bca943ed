"""Puts back what a script may have changed in the process that others depend on."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mpt_tool.streams import prepare_streams


@contextmanager
def isolated() -> Iterator[None]:
    """Put back the working folder, the umask, the streams and the set-up of logging at the end.

    A process that the script forked and let go on is ended there: it is not to record anything.
    """
    process = os.getpid()
    folder = Path.cwd()
    # It can be read only by setting it.
    umask = os.umask(0o077)
    os.umask(umask)
    root = logging.getLogger()
    known = root.manager.loggerDict.values()
    loggers = [each for each in known if isinstance(each, logging.Logger)]
    kept = [(each, _attributes(each)) for each in (root, *loggers, *root.handlers)]
    make, disabled, level = logging.getLogRecordFactory(), root.manager.disable, root.level
    try:
        yield
    finally:
        if os.getpid() != process:
            sys.stderr.flush()
            os._exit(1)
        for each, attributes in kept:
            vars(each).update(attributes)
        logging.setLogRecordFactory(make)
        logging.disable(disabled)
        # This makes all loggers look anew which events they let through.
        root.setLevel(level)
        os.umask(umask)
        prepare_streams()
        # The script may have removed it.
        with suppress(OSError):
            os.chdir(folder)


def _attributes(each: logging.Filterer) -> dict[str, Any]:
    """Return the attributes of a logger or handler; what is added to its lists is not in it."""
    return {
        name: value[:] if isinstance(value, list) else value for name, value in vars(each).items()
    }
