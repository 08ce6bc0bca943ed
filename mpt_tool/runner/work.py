"""What a step does: calls the script's `run`, or drives a batch migration over its items."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from mpt_tool.batch.checkpoints import Checkpoints, Tally
from mpt_tool.batch.drive import Batch, all_items, begin_at, checkpoints_of, failed_items
from mpt_tool.batch.items import total_of
from mpt_tool.batch.loop import EventLoop
from mpt_tool.batch.portable import Elsewhere
from mpt_tool.clients.limiter import requests_capped
from mpt_tool.errors import ScriptError
from mpt_tool.migration import BaseMigration, BatchMigration
from mpt_tool.migration.steps import Steps, attach
from mpt_tool.process.limits import time_limit
from mpt_tool.process.log import get_log
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.reporting import Preparing, Verifying
from mpt_tool.runner import calls
from mpt_tool.runner.context import Context
from mpt_tool.runner.ends import require_end, stop_while_verifying
from mpt_tool.runner.recorder import Recorder
from mpt_tool.wording import in_items

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class ScriptWork:
    """Calls `run` of a migration, which goes to its end or fails, and then `verify`.

    Args:
        migration: whose they are.
        checkpoint: what earlier runs made by durable steps, and whether only `verify` is left.
        checksum: of the syntax tree of its script.
    """

    migration: BaseMigration
    checkpoint: Checkpoint | None
    checksum: str | None
    tally: None = None

    def do(self, recorder: Recorder, context: Context) -> None:
        """Call the author's code.

        Raises:
            BaseException: what the author's code raised, or what stopped it.
        """
        migration, begin = self.migration, begin_at(self.checkpoint, context.clock(), self.checksum)
        steps = Steps(begin.steps, lambda: reach(is_done=False))

        def reach(*, is_done: bool) -> None:
            update = {"steps": steps.kept(), "done": is_done}
            recorder.reach(begin.model_copy(update=update))

        attach(migration, steps)
        with context.stop.allowed(), _limit(migration, recorder, context):
            if self.checkpoint and self.checkpoint.done:
                log.info(
                    "Verifying %s, which ran to its end before; to run it anew: mpt-tool migrate"
                    " --%s %s --anew",
                    recorder.name,
                    migration.type,
                    recorder.migration_id,
                )
            else:
                calls.run(migration)
                steps.require_kept()
            if calls.verifies(migration):
                reach(is_done=True)
                with (
                    stop_while_verifying(recorder, context.stop),
                    context.reporter.during(Verifying()),
                ):
                    calls.verify(migration)


@dataclass(frozen=True, slots=True)
class BatchWork:
    """Drives a batch migration over what is left of its items.

    Args:
        migration: what is driven.
        checkpoint: where it begins; None at its first item.
        checksum: of the syntax tree of its script.
        tally: counts its items, those before the checkpoint among them.
        retries_failed: whether the failed items of the checkpoint come first.
        load: makes the migration in another process; None if items are to be processed in this one.
    """

    migration: BatchMigration[Any]
    checkpoint: Checkpoint | None
    checksum: str | None
    tally: Tally
    retries_failed: bool = False
    load: Callable[[], Any] | None = None

    def do(self, recorder: Recorder, context: Context) -> None:
        """Drive the migration to its end.

        Raises:
            StoppedError: it was stopped on the way; its progress is kept, if the store can.
            ItemsFailedError: it came to its end, but items failed.
            BaseException: what the author's code raised.
        """
        self._announce(recorder)
        begin = begin_at(self.checkpoint, context.clock(), self.checksum)
        checkpoints = checkpoints_of(
            self.migration,
            begin,
            self.tally,
            recorder.reach,
            recorder.not_passed(begin) if begin.unpassed or self.retries_failed else None,
            by_time_alone=recorder.saves_by_request,
        )
        with at_work(self, checkpoints, recorder, context) as batch:
            is_done = self.checkpoint is not None and self.checkpoint.done
            if (not is_done or self.tally.failed) and self._begin(batch, recorder, context):
                with all_items(batch, context.budget) as walk:
                    is_done = walk.run() and not context.budget.is_spent
                if is_done:
                    self._warn_of_differences(batch, recorder)
            if checkpoints.has_unsaved_failures:
                checkpoints.save()
            reached = checkpoints.reached()[0].model_copy(update={"done": is_done})
            recorder.note(reached)
            if reached.is_to_be_verified and calls.verifies(self.migration):
                recorder.reach(reached)
                with (
                    stop_while_verifying(recorder, context.stop),
                    context.reporter.during(Verifying()),
                ):
                    calls.verify(self.migration, batch.loop.result_of)
        require_end(recorder, reached, context.stop.cause, context.budget)

    def _begin(self, batch: Batch, recorder: Recorder, context: Context) -> bool:
        """Prepare and count what is to be handled, and handle what failed if that is retried.

        Returns:
            Whether to go on to the other items: not if a stop came before it was prepared.
        """
        with context.reporter.during(Preparing()):
            if not batch.prepare():
                return False
        self.tally.total = total_of(self.migration, batch.loop)
        if self.checkpoint and self.retries_failed:
            with failed_items(batch, _all_failures(recorder, self.checkpoint)) as walk:
                walk.run()
        # One whose failed items fail again is as far as it was.
        return not (self.retries_failed and self.tally.failed)

    def _warn_of_differences(self, batch: Batch, recorder: Recorder) -> None:
        """Warn if no items were handled, or not as many as the source has now."""
        handled = self.tally.handled
        if not handled:
            log.warning("%s has no items: nothing was handled", recorder.name)
        if self.migration.has_source():
            # Some came meanwhile, or some went.
            total = total_of(self.migration, batch.loop)
            if total not in (None, handled):
                told = recorder.name, in_items(handled), in_items(total)
                log.warning("%s handled %s, and its source has %s now", *told)

    def _announce(self, recorder: Recorder) -> None:
        """Log where the run begins."""
        checkpoint = self.checkpoint
        if checkpoint and self.retries_failed:
            log.info("Retrying %s of %s", in_items(checkpoint.failed), recorder.name)
        elif checkpoint and checkpoint.is_to_be_verified:
            log.info("Verifying %s, which came to its end before", recorder.name)
        elif checkpoint and checkpoint.handled:
            log.info("Resuming %s after %s", recorder.name, checkpoint.in_items)


type Work = ScriptWork | BatchWork


@contextmanager
def at_work(
    work: BatchWork, checkpoints: Checkpoints, recorder: Recorder, context: Context
) -> Iterator[Batch]:
    """Return a batch migration at work: in the time and at the pace that it may take."""
    migration, stop = work.migration, context.stop
    elsewhere = work.load and Elsewhere(
        work.load, migration.project_root, stop.give_up, context.batch_executor
    )
    with (
        _limit(migration, recorder, context),
        requests_capped(migration.max_requests_per_second),
        EventLoop() as loop,
    ):
        yield Batch(
            migration,
            checkpoints,
            loop,
            stop.is_set,
            context.redact,
            context.reporter,
            elsewhere,
        )


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


def _limit(
    migration: BaseMigration, recorder: Recorder, context: Context
) -> AbstractContextManager[None]:
    """Return a context that raises once the time that the migration may take is over."""
    seconds, setting = context.time_limits[migration.type], f"{migration.type.upper()}_TIME_LIMIT"
    return time_limit(seconds, setting, recorder.name, context.stop)
