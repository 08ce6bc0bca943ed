"""Where log events go: to stderr, without secrets; plain, in columns, or as JSON."""

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mpt_tool.enums import LogFormatEnum
from mpt_tool.process.item import name_in_hand
from mpt_tool.process.log import get_log, set_factory
from mpt_tool.redaction import Redact
from mpt_tool.view.terminal import ERASE_LINE, is_live
from mpt_tool.wording import printable

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

LOG_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"
_CHATTY_LIBRARIES = ("asyncio", "filelock", "httpcore", "httpx", "urllib3")


def start_logs(level: int, redact: Redact, form: LogFormatEnum) -> None:
    """Send logs to stderr: in columns on a terminal with colour, elsewhere one event a line.

    As JSON, each event is an object in a line, wherever it goes.

    Ours and those of scripts and libraries each by a handler of their own: a script may put others
    in place of the latter. What Python itself writes of an exception that nobody handles is logged.
    It stays so to the end of the process: threads and what `atexit` calls outlast the command.
    """
    own, root = get_log(), logging.getLogger()
    own.handlers = [_handler(redact, form)]
    root.addHandler(_handler(redact, form))
    own.setLevel(level)
    root.setLevel(level)
    for name in _CHATTY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    # In a formatter of ours it would not help where a script sets up logging anew.
    logging.setLogRecordFactory(_redacting(logging.getLogRecordFactory(), redact))
    set_factory(_redacting(logging.LogRecord, redact))
    # A stream that a script has closed loses its log, not the run.
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_end_of_thread
    sys.unraisablehook = _log_ignored


def teller() -> Callable[[str], None]:
    """Return what writes a warning past all streams: one may be in the middle of a write."""
    if is_live(sys.stderr):
        # In place of what runs, and of the ^C beside it.
        before, form = ERASE_LINE, "%(message)s."
    else:
        before, form = "\n" if sys.stderr.isatty() else "", LOG_FORMAT
    formatter = logging.Formatter(form)

    def tell(message: str) -> None:
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, message, None, None)
        own = get_log().handlers[0].formatter
        if isinstance(own, _JsonFormatter):
            event = own.format(record)
        else:
            event = before + formatter.format(record)
        with suppress(OSError):
            os.write(2, f"{event}\n".encode())

    return tell


def _handler(redact: Redact, form: LogFormatEnum) -> logging.Handler:
    handler: logging.Handler
    if form is LogFormatEnum.JSON:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonFormatter(redact))
    elif is_live(sys.stderr):
        from rich.console import Console
        from rich.logging import RichHandler

        # Without a file of its own the console writes to what stderr is at the moment.
        console = Console(stderr=True, force_terminal=True)
        handler = RichHandler(console=console, show_path=False, log_time_format="%X")
        handler.setFormatter(_Formatter("%(message)s", redact, between_lines="\n"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_Formatter(LOG_FORMAT, redact, between_lines="\\n"))
    return handler


def _log_end_of_thread(arguments: threading.ExceptHookArgs) -> None:
    # As Python has it: sys.exit() ends the thread, and that is all.
    if arguments.exc_type is not SystemExit:
        name = arguments.thread.name if arguments.thread else "unknown"
        get_log("threading").error("Exception in thread %s", name, exc_info=arguments.exc_value)


def _log_ignored(arguments: "UnraisableHookArgs") -> None:
    """Log what was raised where it can end nothing: in `__del__`, or by what `atexit` calls."""
    if sys.is_finalizing():
        # Nothing can be imported any more, as a traceback needs.
        return
    what, where = arguments.err_msg or "Exception ignored in", arguments.object
    get_log("python").error(
        "%s%s", what, "" if where is None else f": {where!r}", exc_info=arguments.exc_value
    )


def _redacting(
    make: Callable[..., logging.LogRecord], redact: Redact
) -> Callable[..., logging.LogRecord]:
    """Return a factory of log records that name their item, and hold no secret anywhere."""

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        message = _message(record)
        if item := name_in_hand():
            record.item = redact(item)
            message = f"{item}: {message}"
        record.msg, record.args = redact(message), ()
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


class _JsonFormatter(logging.Formatter):
    """Writes an event without secrets as one JSON object, in which nothing begins a line."""

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        details = [getattr(record, "traceback", None), record.exc_text, record.stack_info]
        event = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "item": getattr(record, "item", None),
            "traceback": "\n".join(filter(None, details)),
        }
        return json.dumps({key: self._redact(text) for key, text in event.items() if text})


class _Formatter(logging.Formatter):
    """Writes an event without secrets, and without what would move a cursor or begin a line."""

    def __init__(self, fmt: str, redact: Redact, between_lines: str) -> None:
        super().__init__(fmt)
        self._redact = redact
        self._between_lines = between_lines

    def format(self, record: logging.LogRecord) -> str:
        lines = self._redact(super().format(record)).splitlines()
        return self._between_lines.join(map(printable, lines))
