"""How a phase ended, as those are told who did not see it."""

from mpt_tool.enums import OccasionEnum
from mpt_tool.errors import ExitCode, LockedError, StoppedError


def occasion_of(error: BaseException | None) -> OccasionEnum:
    """Return what a run came to that ended with an error, or with none.

    Stopped is what a signal, `--limit` or another run's lock kept from going on; that its lock was
    lost, or its time was over, is a failure.
    """
    if error is None:
        return OccasionEnum.FINISHED
    is_stop = isinstance(error, StoppedError | LockedError | KeyboardInterrupt)
    was_asked_for = is_stop or isinstance(error.__cause__, KeyboardInterrupt)
    if was_asked_for and exit_code_of(error) != ExitCode.FAILED:
        return OccasionEnum.STOPPED
    return OccasionEnum.FAILED


def exit_code_of(error: BaseException | None) -> int:
    """Return what the command exits with."""
    if error is None:
        return ExitCode.DONE
    default = ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.FAILED
    return int(getattr(error, "exit_code", default))
