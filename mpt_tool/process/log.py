"""The tool's own log: what a script does to the logging of the process does not reach it."""

import logging
from collections.abc import Callable
from typing import Any

_LEVELS = {
    getattr(logging, name): name for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
}


class _Logger(logging.Logger):
    """Makes its records itself: of those of the process a script may set the factory."""

    make: Callable[..., logging.LogRecord] = logging.LogRecord

    def makeRecord(  # noqa: N802 - the library calls it so
        self,
        name: str,
        level: int,
        fn: str,
        lno: int,
        msg: object,
        args: Any,
        exc_info: Any,
        func: str | None = None,
        extra: object = None,
        sinfo: str | None = None,
    ) -> logging.LogRecord:
        """Return the record of an event, with the usual name of its level."""
        record = _Logger.make(name, level, fn, lno, msg, args, exc_info, func, sinfo)
        record.levelname = _LEVELS[level]
        if isinstance(extra, dict):
            vars(record).update(extra)
        return record


_root = _Logger("root", logging.NOTSET)
_manager = logging.Manager(_root)  # type: ignore[arg-type] # it needs no more than a logger
# Not those of the process, which a script may disable, and tell to make loggers of another class.
_root.manager = _manager
_manager.loggerClass = _Logger


def set_factory(make: Callable[..., logging.LogRecord]) -> None:
    """Let a callable make the records of our loggers; it is called as `logging.LogRecord`."""
    _Logger.make = staticmethod(make)


def get_log(name: str = "") -> logging.Logger:
    """Return the logger of one of our modules, or the one above them all."""
    return _manager.getLogger(name) if name else _root


class _ToTheProcess(logging.Handler):
    """Hands events to the logging of the process where no command runs: in an author's tests."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)


_root.addHandler(_ToTheProcess())
