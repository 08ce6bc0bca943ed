"""What a step does: calls the script's `run`, or drives a batch migration over its items."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.batch.drive import Batch, all_items, begin_at, checkpoints_of, failed_items
from mpt_tool.batch.executors import sound
from mpt_tool.batch.items import Budget, total_of
from mpt_tool.batch.loop import EventLoop
from mpt_tool.clients.limiter import requests_capped, was_not_begun
from mpt_tool.errors import ExitCode, ItemsFailedError, ScriptError, StoppedError, StorageError
from mpt_tool.migration import BaseMigration, BatchMigration
from mpt_tool.migration.steps import Steps, attach
from mpt_tool.process.limits import time_limit
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import Interrupted, Stop
from mpt_tool.process.unawaited import require_awaited
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.runner.context import Context
from mpt_tool.runner.recorder import Recorder
from mpt_tool.wording import as_text, in_items

_LISTED_ITEMS = 20

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class ScriptWork:
    """Calls `run` of a migration, which goes to its end or fails.

    Args:
        migration: whose it is.
        checkpoint: what earlier runs made by durable steps, and whether only `verify` is left.
        checksum: of the syntax tree of its script.
    """

    migration: BaseMigration
    checkpoint: Checkpoint | None
    checksum: str | None
    tally: None = None

    def do(self, recorder: Recorder, context: Context) -> None:
        """Call the author's code; `sys.exit()` without an error in it is a normal return.

        Raises:
            BaseException: what the author's code raised, or what stopped it.
        """
        begin = begin_at(self.checkpoint, context.clock(), self.checksum)
        steps = Steps(begin.steps, lambda: recorder.reach(reached()))

        def reached() -> Checkpoint:
            return begin.model_copy(update={"steps": steps.kept()})

        attach(self.migration, steps)
        with context.stop.allowed(), _limit(self.migration, recorder, context):
            if self.checkpoint and self.checkpoint.done:
                if _is_verified(self.migration, recorder, context.stop):
                    return
                # From here on it has not run to its end.
                recorder.reach(begin)
            try:
                finish(self.migration.run)
            except SystemExit as error:
                if error.code is not None and not (isinstance(error.code, int) and error.code == 0):
                    raise
            steps.require_kept()
            if verifies(self.migration):
                recorder.reach(reached().model_copy(update={"done": True}))
                with _going_on_with_verify(recorder, context.stop):
                    finish(self.migration.verify, "verify")


@contextmanager
def _going_on_with_verify(recorder: Recorder, stop: Stop) -> Iterator[None]:
    """Tell a stop meanwhile as one after which the next run goes on with that.

    Raises:
        StoppedError: the run is to stop.
    """
    try:
        yield
    except BaseException as error:
        is_stopped = was_not_begun(error) or isinstance(error, KeyboardInterrupt)
        if not (is_stopped and stop.cause and recorder.keeps_checkpoints):
            raise
        stopped = f"Migration {recorder.name} was {stop.cause} while it was verified"
        is_lost = stop.cause.exit_code == ExitCode.FAILED
        raise StoppedError(
            f"{stopped}: its progress is kept, run it again to go on",
            ExitCode.FAILED if is_lost else ExitCode.TRY_LATER,
        ) from None


def _is_verified(migration: BaseMigration, recorder: Recorder, stop: Stop) -> bool:
    """Whether a migration that ran to its end in an earlier run is found to be right now.

    Raises:
        Exception: that cannot be told now, as a service does not answer.
    """
    log.info("Verifying %s, which ran to its end before", recorder.name)
    try:
        with _going_on_with_verify(recorder, stop):
            finish(migration.verify, "verify")
    except StoppedError:
        raise
    except Exception as error:
        if _may_pass(error):
            raise
        log.warning("%s is not as it should be, so it runs again: %s", recorder.name, error)
        return False
    return True


def _may_pass(error: BaseException) -> bool:
    """Whether an error is one of a service or a network, which tells nothing of a migration."""
    status = getattr(error, "status_code", 0)
    is_of_service = isinstance(status, int) and (status == 429 or status >= 500)
    return isinstance(error, OSError) or type(error).__module__ == "httpx" or is_of_service


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

    migration: BatchMigration[Any]
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
        migration, checkpoint, stop = self.migration, self.checkpoint, context.stop
        self._announce(recorder)
        begin = begin_at(checkpoint, context.clock(), self.checksum)
        checkpoints = checkpoints_of(
            migration, begin, self.tally, recorder.reach, by_time_alone=recorder.saves_by_request
        )
        pace = migration.max_requests_per_second
        with _limit(migration, recorder, context), requests_capped(pace), EventLoop() as loop:
            batch = Batch(migration, checkpoints, loop, stop.is_set, context.redact)
            is_done = checkpoint is not None and checkpoint.done
            if (not is_done or self.tally.failed) and batch.prepare():
                self.tally.total = total_of(migration, loop)
                if checkpoint and self.retries_failed:
                    with failed_items(batch, _all_failures(recorder, checkpoint)) as walk:
                        walk.run()
                # One whose failed items fail again is as far as it was.
                if not (self.retries_failed and self.tally.failed):
                    with all_items(batch, context.budget) as walk:
                        is_done = walk.run() and not context.budget.is_spent
                    # What the last item returned may be lost only now.
                    require_awaited()
                    if is_done and not self.tally.handled:
                        log.warning("%s has no items: nothing was handled", recorder.name)
                    if is_done and migration.has_source():
                        self._compare_with_source(batch, recorder)
            if checkpoints.has_unsaved_failures:
                checkpoints.save()
            reached = checkpoints.reached()[0].model_copy(update={"done": is_done})
            recorder.note(reached)
            if is_done and not reached.failed and verifies(migration):
                recorder.reach(reached)
                with _going_on_with_verify(recorder, stop):
                    _require_no_verdict(loop.result_of(_called(migration.verify, "verify")))
                    require_awaited()
        _require_end(recorder, reached, stop.cause, context.budget)

    def _compare_with_source(self, batch: Batch, recorder: Recorder) -> None:
        """Warn if there are not as many items now as were handled: some came, or some went."""
        total = total_of(self.migration, batch.loop)
        if total is not None and total != self.tally.handled:
            log.warning(
                "%s handled %s, and its source has %s now",
                recorder.name,
                in_items(self.tally.handled),
                in_items(total),
            )

    def _announce(self, recorder: Recorder) -> None:
        """Log where the run begins."""
        checkpoint = self.checkpoint
        if checkpoint and self.retries_failed:
            log.info("Retrying %s of %s", in_items(checkpoint.failed), recorder.name)
        elif checkpoint and checkpoint.is_to_be_verified:
            log.info("Verifying %s, which came to its end before", recorder.name)
        elif checkpoint and checkpoint.handled:
            log.info("Resuming %s after %s", recorder.name, checkpoint.in_items)


def _all_failures(recorder: Recorder, checkpoint: Checkpoint) -> Sequence[FailedItem]:
    """Return the failed items of a checkpoint.

    Raises:
        ScriptError: not all of them were kept.
    """
    failures = recorder.failures(checkpoint)
    if len(failures) == checkpoint.failed:
        return failures
    raise ScriptError(
        f"{len(failures):,} of {in_items(checkpoint.failed)} that failed were kept: begin anew by"
        f" mpt-tool batch {recorder.migration_id} --restart"
    )


type Work = ScriptWork | BatchWork


def finish(method: Callable[[], object], name: str = "run") -> None:
    """Call an author's method of this name, and await what it returns, if it has to be.

    Raises:
        ScriptError: the method is a generator, so that nothing of it was run.
        BaseException: what the author's code raised.
    """
    result: Any = _called(method, name)
    if isinstance(result, Awaitable):
        import asyncio

        async def finish(work: Awaitable[Any]) -> Any:
            return await work

        result = asyncio.run(finish(result))
    if name == "verify":
        _require_no_verdict(result)
    # What it may hold is lost only then.
    del result
    require_awaited()


def _require_no_verdict(result: object) -> None:
    """Refuse a `verify` that returns what it found.

    Raises:
        ScriptError: it returned False, which nobody would notice.
    """
    if result is False:
        raise ScriptError("verify() returned False: raise an error that says what is not so")


def _called(method: Callable[[], object], name: str) -> object:
    return sound(method(), name)


def verifies(migration: BaseMigration) -> bool:
    """Whether a migration has a `verify` of its own."""
    return type(migration).verify is not BaseMigration.verify


def _require_end(
    recorder: Recorder,
    reached: Checkpoint,
    cause: Interrupted | None,
    budget: Budget,
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
        raise ItemsFailedError(_failed_items(recorder, reached))
    stopped, code = (str(cause), cause.exit_code) if cause else ("limited", ExitCode.TRY_LATER)
    if not reached.handled:
        message = f"Migration {recorder.name} was {stopped} before its first item was done"
        raise StoppedError(message, code)
    stopped = f"Migration {recorder.name} was {stopped} after {reached.in_items}"
    if not recorder.keeps_checkpoints:
        raise StoppedError(
            f"{stopped}: the store has no column {recorder.column}, so its progress is lost;"
            " mpt-tool migrate --init adds the column",
            code if cause else ExitCode.FAILED,
        )
    again = f": mpt-tool batch {recorder.migration_id} --retry-failed" if reached.done else ""
    raise StoppedError(
        f"{stopped}: its progress is kept, run it again to go on{again}",
        ExitCode.FAILED if code == ExitCode.FAILED else ExitCode.TRY_LATER,
    )


def _failed_items(recorder: Recorder, reached: Checkpoint) -> str:
    """Return which items failed, and what to do about it."""
    try:
        failures = recorder.failures(reached)
    except StorageError:
        failures = []
    listed = [f"{as_text(failure.cursor)}: {failure.error}" for failure in failures[:_LISTED_ITEMS]]
    if listed and reached.failed > len(listed):
        listed.append(f"and {reached.failed - len(listed):,} more")
    migration_id = recorder.migration_id
    are_kept = len(failures) == reached.failed
    how = "--retry-failed" if are_kept else "--restart, as not all of them were kept"
    advice = f"Once they can succeed: mpt-tool batch {migration_id} {how}"
    told = f" ({'; '.join(listed)})" if listed else ""
    failed = in_items(reached.failed, reached.handled)
    return f"Migration {recorder.name} failed for {failed}{told}. {advice}"


def _limit(
    migration: BaseMigration, recorder: Recorder, context: Context
) -> AbstractContextManager[None]:
    """Return a context that raises once the time that the migration may take is over."""
    seconds, setting = context.time_limits[migration.type], f"{migration.type.upper()}_TIME_LIMIT"
    return time_limit(seconds, setting, recorder.name, context.stop)
