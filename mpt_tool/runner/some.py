"""Handles some items of a batch migration out of their turn; it is as far afterwards as before."""

import math
from collections.abc import Sequence
from typing import Any

from mpt_tool.batch.checkpoints import Checkpoints, Tally
from mpt_tool.batch.drive import Batch, some_items
from mpt_tool.batch.loop import EventLoop
from mpt_tool.clients.limiter import requests_capped
from mpt_tool.errors import SelectionError, StoppedError
from mpt_tool.process.isolation import isolated
from mpt_tool.process.unawaited import unawaited_noted
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.runner.context import Context
from mpt_tool.runner.ledger import Ledger
from mpt_tool.runner.prepare import Step
from mpt_tool.runner.recorder import Recorder
from mpt_tool.runner.work import BatchWork
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import in_items


def handle_some(
    step: Step, cursors: Sequence[Any], repository: StateRepository, context: Context
) -> Tally:
    """Handle the items of these cursors; return how many there were, and their outcomes.

    Of the record only the durable steps change. The history tells of the attempt.

    Raises:
        SelectionError: the migration has several targets, and it is not said which is meant.
        ScriptFailedError: an item failed.
        StoppedError: the run was stopped.
        StorageError: a durable step could not be kept.
    """
    if len(step.works) > 1:
        raise SelectionError(f"--only is for one of {', '.join(step.works)}: say which by --target")
    [(target, work)] = step.works.items()
    assert isinstance(work, BatchWork)
    recorder = Recorder(
        Ledger(step.record, step.targets), target, repository, step.path, step.checksum, context
    )
    began, tally, stop = context.clock(), Tally(), context.stop
    begin = work.checkpoint or Checkpoint(cursor=None, processed=0, since=began)

    def save(reached: Checkpoint, _failed: Sequence[FailedItem]) -> None:
        recorder.reach(begin.model_copy(update={"steps": reached.steps}))

    checkpoints = Checkpoints(begin, tally, save, math.inf, math.inf)
    pace = work.migration.max_requests_per_second
    try:
        with (
            stop.deferred(),
            isolated(),
            unawaited_noted(),
            requests_capped(pace),
            EventLoop() as loop,
        ):
            batch = Batch(work.migration, checkpoints, loop, stop.is_set, context.redact)
            if batch.prepare():
                with some_items(batch, cursors) as walk:
                    walk.run()
        if (cause := stop.cause) and tally.processed < len(cursors):
            stopped = f"{in_items(tally.processed, len(cursors))} of {recorder.name}"
            raise StoppedError(f"{stopped} were handled: {cause}", cause.exit_code)
    except BaseException as error:  # noqa: BLE001 - raised as ours, once it is recorded
        failure = recorder.failure_of(error)
        recorder.note_try(began, tally, failure)
        raise failure from failure.__cause__
    recorder.note_try(began, tally)
    return tally
