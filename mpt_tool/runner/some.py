"""Handles some items of a batch migration out of their turn; it is as far afterwards as before."""

import math
from collections.abc import Sequence
from typing import Any

from mpt_tool.batch.checkpoints import Checkpoints, Tally
from mpt_tool.batch.drive import Batch, begin_at, some_items
from mpt_tool.errors import ItemsFailedError, SelectionError, StoppedError
from mpt_tool.process.isolation import isolated
from mpt_tool.process.unawaited import unawaited_noted
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.reporting import Preparing, Running
from mpt_tool.runner.context import Context
from mpt_tool.runner.ends import listed
from mpt_tool.runner.ledger import Ledger
from mpt_tool.runner.prepare import Step
from mpt_tool.runner.recorder import Recorder
from mpt_tool.runner.work import BatchWork, at_work
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import in_items


def handle_some(
    step: Step, cursors: Sequence[Any], tally: Tally, repository: StateRepository, context: Context
) -> None:
    """Handle the items of these cursors; of the record only the durable steps change.

    Args:
        step: the migration whose items they are.
        cursors: those of the items.
        tally: counts them.
        repository: keeps the record and the history.
        context: who handles them, and when.

    Raises:
        SelectionError: the migration has several targets, and it is not said which is meant.
        ItemsFailedError: items failed.
        ScriptFailedError: the author's code raised elsewhere, or what ends any run.
        StoppedError: the run was stopped.
        StorageError: a durable step could not be kept.
    """
    if len(step.works) > 1:
        raise SelectionError(f"--only is for one of {', '.join(step.works)}: say which by --target")
    [(target, work)] = step.works.items()
    assert isinstance(work, BatchWork)
    ledger = Ledger(step.record, step.targets)
    recorder = Recorder(ledger, target, repository, step.path, step.checksum, context)
    begin = begin_at(work.checkpoint, context.clock(), step.checksum)
    # It stays that of the script which came so far.
    is_begun = target in step.begun
    before = (work.checkpoint or begin).model_copy(update={"tried": not is_begun})

    def save(reached: Checkpoint, _failed: Sequence[FailedItem]) -> None:
        recorder.reach(before.model_copy(update={"steps": reached.steps}))

    steps = recorder.not_passed(begin)
    checkpoints = Checkpoints(begin, tally, save, math.inf, math.inf, steps)
    with (
        context.reporter.during(Running(recorder.migration_id, target, 1, 1, tally)),
        context.stop.deferred(),
        recorder.trying(tally, before, is_begun=is_begun),
        isolated(),
        unawaited_noted(),
        at_work(work, checkpoints, recorder, context) as batch,
    ):
        failures = _handle(batch, cursors, context)
        if tally.handled < len(cursors):
            _require_unstopped(recorder.name, tally.handled, len(cursors), context)
        if failures:
            failed = f"{recorder.name} failed for {in_items(len(failures), len(cursors))}"
            raise ItemsFailedError(f"Migration {failed}", listed(failures, len(failures)))


def _handle(batch: Batch, cursors: Sequence[Any], context: Context) -> list[FailedItem]:
    """Handle the items of these cursors, unless the run is to stop; return those that failed."""
    failures: list[FailedItem] = []
    with context.reporter.during(Preparing()):
        is_prepared = batch.prepare()
    if is_prepared:
        with some_items(batch, cursors, failures) as walk:
            walk.run()
    return failures


def _require_unstopped(name: str, handled: int, total: int, context: Context) -> None:
    """Raise `StoppedError` if the run was stopped after so many items of the migration."""
    if cause := context.stop.cause:
        message = f"{in_items(handled, total)} of {name} were handled: {cause}"
        raise StoppedError(message, cause.exit_code)
