"""How a run ends that comes to no good end: what it says of a stop, and of items that failed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mpt_tool.batch.items import Budget
from mpt_tool.clients.limiter import is_stop
from mpt_tool.errors import ExitCode, ItemsFailedError, StoppedError, StorageError
from mpt_tool.process.signals import Interrupted, Stop
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.runner.recorder import Recorder
from mpt_tool.wording import as_text, in_items

_LISTED_ITEMS = 20


def require_end(
    recorder: Recorder, reached: Checkpoint, cause: Interrupted | None, budget: Budget
) -> None:
    """Return if a batch migration came to its end, without a failed item.

    Args:
        recorder: what knows its name, and whether its progress is kept.
        reached: how far it came.
        cause: why it was to stop, if it was.
        budget: whether it was to handle just some of its items.

    Raises:
        StoppedError: it was stopped on the way.
        ItemsFailedError: it came to its end, but items failed.
    """
    if reached.done and not reached.failed:
        return
    if not cause and not budget.is_spent:
        failed = in_items(reached.failed, reached.handled)
        raise ItemsFailedError(
            f"Migration {recorder.name} failed for {failed}",
            _which_failed(recorder, reached),
            topic="failed-items",
        )
    stopped, code = (str(cause), cause.exit_code) if cause else ("limited", ExitCode.TRY_LATER)
    stopped = f"Migration {recorder.name} was {stopped}"
    if not reached.handled:
        raise StoppedError(f"{stopped} before its first item was done", code)
    failed = f", of which {reached.failed:,} failed" if reached.failed else ""
    stopped = f"{stopped} after {reached.in_items}{failed}"
    if not recorder.keeps_checkpoints:
        raise StoppedError(
            f"{stopped}: the store has no column {recorder.column}, so its progress is lost;"
            " mpt-tool migrate --init adds the column",
            code if cause else ExitCode.FAILED,
        )
    # Just running it again would not come to those that failed.
    command = f"mpt-tool batch {recorder.migration_id} --retry-failed" if reached.done else ""
    raise _kept(stopped, code, command)


@contextmanager
def stop_while_verifying(recorder: Recorder, stop: Stop) -> Iterator[None]:
    """Tell a stop meanwhile as one after which the next run goes on with `verify`.

    Raises:
        StoppedError: the run is to stop.
    """
    try:
        yield
    except BaseException as error:
        if not (is_stop(error) and stop.cause and recorder.keeps_checkpoints):
            raise
        stopped = f"Migration {recorder.name} was {stop.cause} while it was verified"
        raise _kept(stopped, stop.cause.exit_code) from None


def _kept(stopped: str, code: int, command: str = "") -> StoppedError:
    """Return the error of a run that was stopped, and whose progress is kept.

    Args:
        stopped: what was stopped, and where.
        code: what the process would exit with if the progress was lost.
        command: goes on, if just running it again does not.
    """
    again = f": {command}" if command else ""
    return StoppedError(
        f"{stopped}: its progress is kept, run it again to go on{again}",
        # A lock that was lost is a failure all the same.
        ExitCode.FAILED if code == ExitCode.FAILED else ExitCode.TRY_LATER,
    )


def _which_failed(recorder: Recorder, reached: Checkpoint) -> str:
    """Return which items of a migration that came to its end failed, and what to do about it."""
    try:
        failures = recorder.failures(reached)
    except StorageError:
        failures = []
    are_kept = len(failures) == reached.failed
    how = "--retry-failed" if are_kept else "--restart, as not all of them were kept"
    advice = f"Once they can succeed: mpt-tool batch {recorder.migration_id} {how}"
    return f"{listed(failures, reached.failed)}. {advice}"


def listed(failures: Sequence[FailedItem], count: int) -> str:
    """Return in brackets the first of so many failed items, each with its error."""
    told = [f"{as_text(failure.cursor)}: {failure.error}" for failure in failures[:_LISTED_ITEMS]]
    if told and count > len(told):
        told.append(f"and {count - len(told):,} more")
    return f" ({'; '.join(told)})" if told else ""
