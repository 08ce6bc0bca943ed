"""What a step does: calls the script's `run`, or drives a batch migration over its items."""

from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.batch.drive import all_items, begin_at, checkpoints_of, failed_items
from mpt_tool.batch.items import total_of
from mpt_tool.errors import ExitCode, ItemsFailedError, ScriptError, StoppedError
from mpt_tool.migration import BaseMigration, BatchDataMigration
from mpt_tool.process.limits import time_limit
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import Interrupted
from mpt_tool.records import Checkpoint
from mpt_tool.runner.context import Context
from mpt_tool.runner.recorder import Recorder
from mpt_tool.wording import in_items

_LISTED_ITEMS = 20

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class ScriptWork:
    """Calls `run` of a migration, which goes to its end or fails."""

    migration: BaseMigration
    tally: None = None

    def do(self, recorder: Recorder, context: Context) -> None:
        """Call the author's code; `sys.exit()` without an error in it is a normal return.

        Raises:
            BaseException: what the author's code raised, or what stopped it.
        """
        with context.stop.allowed(), _limit(self.migration, recorder, context):
            try:
                _finish(self.migration.run())
            except SystemExit as error:
                if error.code is not None and not (isinstance(error.code, int) and error.code == 0):
                    raise


@dataclass(frozen=True, slots=True)
class BatchWork:
    """Drives a batch migration over what is left of its items.

    Args:
        migration: what is driven.
        checkpoint: where it begins; None at its first item.
        checksum: of the syntax tree of its script.
        tally: counts its items, those before the checkpoint among them.
        retries_failed: whether the failed items of the checkpoint come first.
    """

    migration: BatchDataMigration[Any]
    checkpoint: Checkpoint | None
    checksum: str | None
    tally: Tally
    retries_failed: bool = False

    def do(self, recorder: Recorder, context: Context) -> None:
        """Drive the migration to its end.

        Raises:
            StoppedError: it was stopped on the way; its progress is kept, if the store can.
            ItemsFailedError: it came to its end, but items failed.
            BaseException: what the author's code raised.
        """
        migration, stop = self.migration, context.stop
        self._announce(recorder)
        begin = begin_at(self.checkpoint, context.clock(), self.checksum)
        checkpoints = checkpoints_of(
            migration, begin, self.tally, recorder.reach, by_time_alone=recorder.saves_by_request
        )
        is_done = self.checkpoint is not None and self.checkpoint.done
        with _limit(migration, recorder, context):
            self.tally.total = total_of(migration)
            if self.retries_failed:
                with failed_items(migration, checkpoints, stop.is_set, context.redact) as walk:
                    walk.run()
            if not (self.retries_failed and self.tally.failed):
                with all_items(migration, checkpoints, stop.is_set, context.redact) as walk:
                    is_done = walk.run()
            reached = checkpoints.current().model_copy(update={"done": is_done})
            recorder.note(reached)
        _require_end(recorder, reached, stop.cause)

    def _announce(self, recorder: Recorder) -> None:
        """Log where the run begins, and whether its progress will be kept."""
        migration_id, checkpoint = recorder.migration_id, self.checkpoint
        if not recorder.keeps_checkpoints:
            log.warning(
                "The store has no column checkpoint: the progress of %s will not survive its end;"
                " mpt-tool migrate --init adds the column",
                migration_id,
            )
        if checkpoint and self.retries_failed:
            log.info("Retrying %s of %s", in_items(checkpoint.failed), migration_id)
        elif checkpoint:
            log.info("Resuming %s after %s", migration_id, checkpoint.in_items)


type Work = ScriptWork | BatchWork


def _finish(result: object) -> None:
    """Await what `run` returned, if it has to be.

    Raises:
        ScriptError: `run` is a generator, so that nothing of it was run.
        BaseException: what the author's code raised.
    """
    if isinstance(result, Generator | AsyncGenerator):
        raise ScriptError("run() holds a yield, so nothing of it was run: remove the yield")
    if isinstance(result, Awaitable):
        import asyncio

        async def finish() -> None:
            await result

        asyncio.run(finish())


def _require_end(recorder: Recorder, reached: Checkpoint, cause: Interrupted | None) -> None:
    """Return if a batch migration came to its end, without a failed item.

    Args:
        recorder: what knows its id, and whether its progress is kept.
        reached: how far it came.
        cause: why it was to stop, if it was.

    Raises:
        StoppedError: it was stopped on the way.
        ItemsFailedError: it came to its end, but items failed.
    """
    if reached.done and not reached.failed:
        return
    migration_id = recorder.migration_id
    if not cause:
        raise ItemsFailedError(_failed_items(migration_id, reached))
    if not reached.handled:
        message = f"Migration {migration_id} was {cause} before its first item was done"
        raise StoppedError(message, cause.exit_code)
    stopped = f"Migration {migration_id} was {cause} after {reached.in_items}"
    if not recorder.keeps_checkpoints:
        raise StoppedError(
            f"{stopped}: the store has no column checkpoint, so its progress is lost;"
            " mpt-tool migrate --init adds the column",
            cause.exit_code,
        )
    was_asked = cause.exit_code != ExitCode.FAILED
    again = f": mpt-tool batch {migration_id} --retry-failed" if reached.done else ""
    raise StoppedError(
        f"{stopped}: its progress is kept, run it again to go on{again}",
        ExitCode.TRY_LATER if was_asked else ExitCode.FAILED,
    )


def _failed_items(migration_id: str, reached: Checkpoint) -> str:
    listed = [f"{failure.cursor}: {failure.error}" for failure in reached.failures]
    if len(listed) > _LISTED_ITEMS:
        listed[_LISTED_ITEMS:] = [f"and {len(listed) - _LISTED_ITEMS:,} more"]
    # A store may have had no room for all of them.
    unknown = reached.failed - len(reached.failures)
    how = "--restart, as not all of them were kept" if unknown else "--retry-failed"
    return (
        f"Migration {migration_id} failed for {in_items(reached.failed, reached.handled)}"
        f" ({'; '.join(listed)}). Once they can succeed:"
        f" mpt-tool batch {migration_id} {how}"
    )


def _limit(
    migration: BaseMigration, recorder: Recorder, context: Context
) -> AbstractContextManager[None]:
    """Return a context that raises once the time that the migration may take is over."""
    seconds, setting = context.time_limits[migration.type], f"{migration.type.upper()}_TIME_LIMIT"
    return time_limit(seconds, setting, recorder.migration_id, context.stop)
