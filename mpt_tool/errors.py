"""All errors that the tool raises on purpose, and what the process exits with.

    MptToolError                 exit code 1
    ├── SettingsError            exit code 2: an environment variable or pyproject.toml is wrong
    ├── ScriptError              the migrations folder or a script in it is wrong
    ├── ScriptFailedError        a script raised; the exit code is its own if it asked for one
    ├── SelectionError           the asked-for migration cannot be run or faked
    └── StorageError             the state store cannot be reached, read or written

Each is raised once, with a message that says what is wrong, where, and what to do next, and caught
once, in `mpt_tool.cli`, which prints the message and exits with `exit_code`.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process exits with, unless a script asked for a code of its own."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


class MptToolError(Exception):
    """Base of all errors of this tool; `str(error)` is the message for the user."""

    exit_code: int = ExitCode.FAILED


class SettingsError(MptToolError, ValueError):
    """A setting is wrong, or one that is needed is missing (in a script: a `ValueError`)."""

    exit_code = ExitCode.USAGE


class ScriptError(MptToolError):
    """The migrations folder, a file name in it or the content of a script is wrong."""


class ScriptFailedError(MptToolError):
    """The author's code raised, when it was loaded or when it ran.

    Args:
        what: what failed, as the beginning of the message.
        cause: what the author's code raised, whatever it is.
    """

    def __init__(self, what: str, cause: BaseException) -> None:
        super().__init__(f"{what}: {_message(cause)}")
        self.__cause__ = cause
        self.exit_code = _exit_code(cause)


class SelectionError(MptToolError):
    """The migration that was asked for is unknown, of another type or already applied."""


class StorageError(MptToolError):
    """The state store cannot be reached, cannot be read as state, or refuses a change."""


def _message(cause: BaseException) -> str:
    try:
        message = str(cause)
    except Exception:  # noqa: BLE001 - an exception of a script may fail to describe itself
        message = ""
    if isinstance(cause, SystemExit):
        return f"it exited with {message}"
    return message or type(cause).__name__


def _exit_code(cause: BaseException) -> int:
    """Return the code that a script asked for, unless the system would cut it to 0."""
    if isinstance(cause, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(cause, SystemExit) and isinstance(cause.code, int):
        return cause.code % 256 or ExitCode.FAILED
    return ExitCode.FAILED
