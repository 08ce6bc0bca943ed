"""Where log events go: to stderr, without secrets, plain or in columns."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpt_tool.redaction import Redact
from mpt_tool.view.terminal import is_live

LOG_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"
_CHATTY_LIBRARIES = ("asyncio", "filelock", "httpcore", "httpx", "urllib3")


@contextmanager
def logs(level: int, redact: Redact) -> Iterator[None]:
    """Send logs to stderr: in columns on a terminal with colour, elsewhere one event a line."""
    handler: logging.Handler
    if is_live(sys.stderr):
        from rich.console import Console
        from rich.logging import RichHandler

        # Without a file of its own the console writes to what stderr is at the moment.
        console = Console(stderr=True, force_terminal=True)
        handler = RichHandler(console=console, show_path=False, log_time_format="%X")
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_OneLineFormatter(LOG_FORMAT))
    root = logging.getLogger()
    make = logging.getLogRecordFactory()
    # Here, not in a formatter of ours: a script may set up logging anew.
    logging.setLogRecordFactory(_redacting(make, redact))
    root.addHandler(handler)
    root.setLevel(level)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A stream that a script has closed loses its log, not the run.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_end_of_thread
    try:
        yield
    finally:
        threading.excepthook = threading.__excepthook__
        logging.captureWarnings(capture=False)
        logging.setLogRecordFactory(make)
        root.removeHandler(handler)


def _log_end_of_thread(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "unknown"
    logging.getLogger("threading").error(
        "Exception in thread %s", name, exc_info=arguments.exc_value
    )


def _redacting(
    make: Callable[..., logging.LogRecord], redact: Redact
) -> Callable[..., logging.LogRecord]:
    """Return a factory of log records that hold no secret, in their tracebacks neither."""

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.msg, record.args = redact(_message(record)), ()
        if record.exc_info:
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return record

    return make_redacted


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - what a script logs may fail to describe itself
        # Of a wrong log call in a script its author is to see the message, not our frames.
        return f"A message that could not be formatted ({type(error).__name__})"


class _OneLineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\\n".join(super().format(record).splitlines())
