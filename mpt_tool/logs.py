"""Where log events go: to stderr, without secrets, plain or in columns."""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mpt_tool.redaction import Redact
from mpt_tool.terminal import is_live

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
        handler.setFormatter(_RedactingFormatter("%(message)s", redact))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_OneLineFormatter(LOG_FORMAT, redact))
    root = logging.getLogger()
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
        root.removeHandler(handler)


def _log_end_of_thread(arguments: threading.ExceptHookArgs) -> None:
    name = arguments.thread.name if arguments.thread else "unknown"
    logging.getLogger("threading").error(
        "Exception in thread %s", name, exc_info=arguments.exc_value
    )


class _RedactingFormatter(logging.Formatter):
    def __init__(self, form: str, redact: Redact) -> None:
        super().__init__(form)
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        try:
            text = super().format(record)
        except Exception as error:  # noqa: BLE001 - what a script logs may fail to describe itself
            # Of a wrong log call in a script its author is to see the message, not our frames.
            reason = type(error).__name__
            record.msg, record.args = f"A message that could not be formatted ({reason})", ()
            text = super().format(record)
        return self._redact(text)


class _OneLineFormatter(_RedactingFormatter):
    def format(self, record: logging.LogRecord) -> str:
        # Joined last: a secret of several lines could not be told once it stands in one.
        return "\\n".join(super().format(record).splitlines())
