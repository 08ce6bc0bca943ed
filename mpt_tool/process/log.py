"""The tool's own log: what a script does to the logging of the process does not reach it."""

import logging

_root = logging.RootLogger(logging.NOTSET)
_manager = logging.Manager(_root)
# Not those of the process, which a script may disable, and tell to make loggers of another class.
_root.manager = _manager
_manager.loggerClass = logging.Logger


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
