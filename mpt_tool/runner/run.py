"""Walks a plan: runs its steps in order, and records how each went."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import (
    ExitCode,
    ItemsFailedError,
    MptToolError,
    ScriptError,
    ScriptFailedError,
    SeveralFailedError,
    StoppedError,
)
from mpt_tool.process.isolation import isolated
from mpt_tool.process.log import get_log
from mpt_tool.process.unawaited import unawaited_noted
from mpt_tool.records import RunRecord
from mpt_tool.reporting import Migrating, Running
from mpt_tool.runner.attempts import attempt_at
from mpt_tool.runner.context import Context
from mpt_tool.runner.ledger import Ledger
from mpt_tool.runner.prepare import Prepared, Step, record_of, targets_left
from mpt_tool.runner.recorder import Recorder, append
from mpt_tool.runner.work import Work
from mpt_tool.scripts import plan
from mpt_tool.scripts.load import load
from mpt_tool.scripts.plan import Entry, RunResult
from mpt_tool.scripts.syntax import checksum
from mpt_tool.scripts.targets import require_targets
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import LONGEST_REPEATED, duration, in_targets, name_of, shortened

# What ends one target and leaves the others their turn.
_ERRORS_OF_TARGET = (ScriptError, ScriptFailedError, ItemsFailedError)

log = get_log(__name__)


def run(prepared: Prepared, repository: StateRepository, context: Context) -> RunResult:
    """Run the steps in order, each recorded before it begins and after it ends.

    The first error, of a script or of the store, ends the run, and so does a signal. It is not
    raised but returned, with what was and what was not reached.
    """
    for migration_id in prepared.skipped:
        log.debug("Skipping applied migration: %s", migration_id)
    began = time.monotonic()
    ids = [step.record.migration_id for step in prepared.steps]
    applied, failure = 0, None
    records = {}
    with context.stop.deferred():
        for step in prepared.steps:
            record, ledger = step.record, Ledger(step.record, step.targets)
            phase = Migrating(record.migration_id, record.type, applied + 1, len(ids))
            try:
                with context.reporter.during(phase):
                    _run_step(step, ledger, phase, repository, context)
            except MptToolError as error:
                failure = error
            if ledger.record is not step.record:
                # The store has kept nothing else of it.
                kept = ledger.record.model_copy(update=dict.fromkeys(context.missing))
                records[ledger.record.migration_id] = kept
            if failure:
                break
            applied += 1
    return RunResult(
        ids[:applied],
        prepared.skipped,
        ids[applied + 1 :],
        time.monotonic() - began,
        ids[applied] if failure else None,
        failure,
        _outcomes(prepared.steps[: applied + 1]),
        records,
    )


def _outcomes(steps: Sequence[Step]) -> dict[str, dict[str, int]]:
    """Return how many items came to each outcome, those of earlier runs among them, by name."""
    return {
        name_of(step.record.migration_id, target): dict(work.tally.outcomes)
        for step in steps
        for target, work in step.works.items()
        if work.tally and work.tally.outcomes
    }


def _run_step(
    step: Step, ledger: Ledger, phase: Migrating, repository: StateRepository, context: Context
) -> None:
    """Run one migration, for each of its targets in turn.

    A target that fails does not keep the others from their turn.

    Raises:
        MptToolError: it is not applied, for one of them at least.
    """
    left, failures = list(step.works), dict[str, MptToolError]()
    last = next(reversed(left), None)
    _warn_of_lost_progress(step, ledger, context)
    for target, work in step.works.items():
        recorder = Recorder(ledger, target, repository, step.path, step.checksum, context)
        try:
            _require_unstopped(recorder, work, context)
            log.info("Running migration: %s", recorder.name)
            running = Running(phase.migration_id, target, phase.number, phase.total, work.tally)
            with context.reporter.during(running):
                if (seconds := recorder.recover()) is None:
                    recorder.start(work.checkpoint)
                    with recorder.failing(work.tally), isolated(), unawaited_noted():
                        # Saving may take long: there may be a reason by now not to begin.
                        _require_unstopped(recorder, work, context)
                        work.do(recorder, context)
                    seconds = recorder.finish(work.tally)
            log.info("Applied migration: %s in %s", recorder.name, duration(seconds))
            left.remove(target)
        except MptToolError as error:
            ends = not isinstance(error, _ERRORS_OF_TARGET) or context.stop.cause
            # Of one alone that ends the run, its end tells.
            if failures or not (ends or target == last):
                is_asked_for = isinstance(error, StoppedError) and error.is_asked_for
                level = logging.INFO if is_asked_for else logging.ERROR
                log.log(level, "%s", shortened(context.redact(str(error)), LONGEST_REPEATED))
            failures[target] = error
            if ends:
                break
    if len(failures) == 1:
        [failure] = failures.values()
        raise failure
    if failures:
        name, of_targets = step.record.migration_id, in_targets(len(left), len(step.targets))
        message = f"Migration {name} is not applied for {of_targets}: {', '.join(left)}"
        raise SeveralFailedError(message, failures)


def _warn_of_lost_progress(step: Step, ledger: Ledger, context: Context) -> None:
    """Say so if the store has no place for how far the migration is."""
    if step.has_progress and ledger.column in context.missing:
        log.warning(
            "The store has no column %s: the progress of %s will not survive its end;"
            " mpt-tool migrate --init adds the column",
            ledger.column,
            step.record.migration_id,
        )


def fake(
    entries: Sequence[Entry],
    migration_id: str,
    target: str,
    repository: StateRepository,
    context: Context,
    root: Path,
    environment: Mapping[str, str],
) -> None:
    """Record a migration as applied without running it, for all targets that it has now, or one.

    It is imported only if neither its record nor its syntax tree tells its type.

    Raises:
        SelectionError: the migration, or the target, is unknown or applied already.
        SettingsError: what it is made for is not set.
        ScriptFailedError: its type cannot be told, as the script cannot be loaded.
        StorageError: it could not be recorded.
    """
    entry = plan.pending_one(entries, migration_id)
    assert entry.script is not None
    targets = require_targets(entry.syntax.targets, environment, migration_id)
    record = record_of(entry, entry.type or load(entry.script, root).type)
    source, now = checksum(root / entry.script.path), context.clock()
    faked = RunRecord().fake(now, context.origin.version)
    left = targets_left(record, targets, target)
    for each in left:
        record = (
            record.with_run(each, faked, targets)
            if each
            else record.fake(now, context.origin.version)
        )
    repository.save(record)
    for each in left:
        attempt = attempt_at(record, each, None, context.origin, source, OutcomeEnum.FAKED, now)
        append(attempt, repository)


def _require_unstopped(recorder: Recorder, work: Work, context: Context) -> None:
    """Return if a migration, or one of its targets, may begin.

    Raises:
        StoppedError: the run was stopped, or has handled as many items as it was to handle.
    """
    not_begun = f"Migration {recorder.name} was not begun"
    if cause := context.stop.cause:
        is_kept = work.checkpoint and work.checkpoint.handled and recorder.keeps_checkpoints
        is_kept = is_kept and cause.exit_code != ExitCode.FAILED
        code = ExitCode.TRY_LATER if is_kept else cause.exit_code
        raise StoppedError(f"{not_begun}: {cause}", code)
    if not context.budget.left:
        reason = "as many items were handled as --limit allows"
        raise StoppedError(f"{not_begun}: {reason}", ExitCode.TRY_LATER)
