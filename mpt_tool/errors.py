"""All errors that the tool raises on purpose, and what the process exits with.

    MptToolError                 exit code 1
    ├── SettingsError            exit code 2: an environment variable or pyproject.toml is wrong
    ├── ScriptError              the migrations folder or a script in it is wrong
    ├── ScriptFailedError        a script raised; the exit code is its own if it asked for one
    ├── StepError                nobody knows whether a durable step was made
    ├── WorkerLostError          the process that handled an item ended, each time
    ├── SelectionError           the asked-for migration cannot be run or faked
    ├── ItemsFailedError         a batch migration came to its end, but items failed
    ├── SeveralFailedError       several targets, or several looks at what was applied, failed
    ├── LockedError              exit code 75: another run holds the lock
    ├── StoppedError             a run was stopped from outside; the exit code says by what
    └── StorageError             the state store cannot be reached, read or written
        ├── UnbegunError         a migration was not begun, for that could not be recorded
        ├── LockLostError        the lock was taken away, so no record is changed any more
        └── NoHistoryError       the store keeps no history

Each is raised once, with a message that says what is wrong, where, and what to do next, and caught
once, in `mpt_tool.cli.session`, which prints the message and exits with `exit_code`.
"""

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process exits with, unless a script asked for a code of its own."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    PENDING = 3
    TRY_LATER = 75
    INTERRUPTED = 130


class MptToolError(Exception):
    """Base of all errors of this tool; `str(error)` is the message for the user.

    Args:
        message: what is wrong, where, and what to do next.
        topic: what `mpt-tool explain` knows about it, if it can have more than one cause.
        then: the command to type next, if one is known.
    """

    exit_code: int = ExitCode.FAILED
    topic: str = ""

    def __init__(self, message: str, topic: str = "", then: str = "") -> None:
        super().__init__(message)
        self.topic = topic or self.topic
        self.then = then


class SettingsError(MptToolError, ValueError):
    """A setting is wrong, or one that is needed is missing (in a script: a `ValueError`)."""

    exit_code = ExitCode.USAGE


class ScriptError(MptToolError):
    """The migrations folder, a file name in it or the content of a script is wrong."""


class ScriptFailedError(MptToolError):
    """The author's code raised, whatever it was, when it was loaded or when it ran.

    What failed is the beginning of the message, and what the cause says the end.
    """

    def __init__(self, what: str, cause: BaseException, topic: str = "") -> None:
        super().__init__(f"{what}: {message_of(cause)}", topic)
        self.__cause__ = cause
        self.exit_code = _exit_code(cause)


class StepError(MptToolError):
    """A durable step was begun, and nobody knows whether it was made: it is not made again."""

    topic = "step-in-doubt"


class WorkerLostError(MptToolError):
    """The process that handled an item of a batch migration ended, each time."""


class SelectionError(MptToolError):
    """The migration that was asked for is unknown, of another type or already applied."""


class ItemsFailedError(MptToolError):
    """A batch migration handled all items that it was to handle, and some of them failed.

    Args:
        failed: how many.
        further: which ones, and what to do, for the user; the history keeps them by themselves.
        topic: as of any error.
    """

    def __init__(self, failed: str, further: str, topic: str = "") -> None:
        super().__init__(f"{failed}{further}", topic)
        self.failed = failed


class SeveralFailedError(MptToolError):
    """Several of those failed that had their turn whatever became of the others.

    Its cause is what scripts raised in them. The exit code is that of the last; but if one was
    stopped on request it is that one's, for all of it has to go on.

    Args:
        message: for the user.
        failures: what each ended with that failed, by its name.
    """

    def __init__(self, message: str, failures: Mapping[str, MptToolError]) -> None:
        super().__init__(message)
        *_, last = sorted(failures.values(), key=_is_asked_for)
        self.exit_code = last.exit_code
        causes = {
            name: error.__cause__
            for name, error in failures.items()
            if isinstance(error, ScriptFailedError) and error.__cause__
        }
        if causes:
            self.__cause__ = BaseExceptionGroup(", ".join(causes), list(causes.values()))


def _is_asked_for(error: MptToolError) -> bool:
    return isinstance(error, StoppedError) and error.is_asked_for


class LockedError(MptToolError):
    """Another run holds the lock; the message names it."""

    exit_code = ExitCode.TRY_LATER
    topic = "locked"


class StoppedError(MptToolError):
    """A run was stopped from outside: by what, before or in what.

    Args:
        message: for the user.
        exit_code: what the process exits with.
        cause: what tells where in a script it was, if it was in one.
    """

    def __init__(self, message: str, exit_code: int, cause: BaseException | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.__cause__ = cause

    @property
    def keeps_progress(self) -> bool:
        """Whether nothing is lost: the run was stopped on request, and goes on when run again."""
        return self.exit_code == ExitCode.TRY_LATER

    @property
    def is_asked_for(self) -> bool:
        """Whether it was stopped on request, and not because its lock was lost."""
        return self.exit_code != ExitCode.FAILED


class StorageError(MptToolError):
    """The state store cannot be reached, cannot be read as state, or refuses a change."""


class UnbegunError(StorageError):
    """A migration was not begun, for its beginning could not be recorded."""


class LockLostError(StorageError):
    """The lock that a run held was taken away: what it would write could undo another's work."""

    topic = "lock-lost"


class NoHistoryError(StorageError):
    """The store keeps no history; the message says how it would."""


def said_by(cause: BaseException) -> str:
    """Return what an exception says, or else its class; a script's may fail to say anything.

    After what a group says follows what its members say.
    """
    try:
        message = str(cause)
        if isinstance(cause, BaseExceptionGroup):
            message += f": {'; '.join(map(message_of, cause.exceptions))}"
    except BaseException:  # noqa: BLE001 - an exception of a script may fail to describe itself
        message = ""
    if isinstance(cause, SystemExit):
        return f"it exited with {message}"
    return message or type(cause).__name__


def message_of(cause: BaseException) -> str:
    """Return what an exception says, for a message that does not tell its class."""
    # What a KeyError says is the bare key.
    is_key = isinstance(cause, KeyError) and cause.args
    return f"{type(cause).__name__}: {said_by(cause)}" if is_key else said_by(cause)


def _exit_code(cause: BaseException) -> int:
    """Return the code that a script asked for, unless the system would cut it to 0."""
    if isinstance(cause, KeyboardInterrupt):
        return int(getattr(cause, "exit_code", ExitCode.INTERRUPTED))
    if isinstance(cause, SystemExit) and isinstance(cause.code, int):
        return cause.code % 256 or ExitCode.FAILED
    return ExitCode.FAILED
