"""Walks a plan: runs its steps in order, and records how each went."""

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
    StoppedError,
    TargetsFailedError,
)
from mpt_tool.process.isolation import isolated
from mpt_tool.process.log import get_log
from mpt_tool.records import RunRecord
from mpt_tool.runner.attempts import attempt_at
from mpt_tool.runner.context import Context
from mpt_tool.runner.ledger import Ledger
from mpt_tool.runner.prepare import Prepared, Step, record_of
from mpt_tool.runner.recorder import Recorder, append
from mpt_tool.runner.work import Work
from mpt_tool.scripts import plan
from mpt_tool.scripts.load import load
from mpt_tool.scripts.plan import Entry, RunResult
from mpt_tool.scripts.syntax import checksum, read_syntax
from mpt_tool.scripts.targets import require_targets
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import LONGEST_REPEATED, duration, name_of, shortened

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
    with context.stop.deferred():
        for step in prepared.steps:
            failure = _run_step(step, applied + 1, len(ids), repository, context)
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
    step: Step, number: int, total: int, repository: StateRepository, context: Context
) -> MptToolError | None:
    """Run one migration, for each of its targets in turn; return why it is not applied, if so.

    A target that fails does not keep the others from their turn.
    """
    ledger, failures = Ledger(step.record, step.targets, repository), {}
    for target, work in step.works.items():
        recorder = Recorder(ledger, target, step.path, step.checksum, context)
        try:
            _require_unstopped(recorder.name, context)
            log.info("Running migration: %s", recorder.name)
            with context.reporter.running(recorder.name, number, total, work.tally):
                seconds = _run_work(work, recorder, context)
            log.info("Applied migration: %s in %s", recorder.name, duration(seconds))
        except MptToolError as error:
            log.error("%s", shortened(context.redact(str(error)), LONGEST_REPEATED))
            if not isinstance(error, _ERRORS_OF_TARGET) or context.stop.cause:
                return error
            failures[target] = error
    if len(failures) < 2:
        return next(iter(failures.values()), None)
    return TargetsFailedError(ledger.record.migration_id, len(step.targets), failures)


def fake(
    entries: Sequence[Entry],
    migration_id: str,
    repository: StateRepository,
    context: Context,
    root: Path,
    environment: Mapping[str, str],
) -> None:
    """Record a migration as applied without running it, for all targets that it has now.

    It is imported only if neither its record nor its syntax tree tells its type.

    Raises:
        SelectionError: the migration is unknown or applied already.
        SettingsError: what it is made for is not set.
        ScriptFailedError: its type cannot be told, as the script cannot be loaded.
        StorageError: it could not be recorded.
    """
    entry = plan.pending_one(entries, migration_id)
    assert entry.script is not None
    declared = read_syntax(entry.script.path).targets
    targets = require_targets(declared, environment, migration_id) if declared else ()
    record = record_of(entry, entry.type or load(entry.script, root).type)
    path, now = root / entry.script.path, context.clock()
    for target in targets:
        run = record.run_of(target) or RunRecord()
        if not run.applied_at:
            faked = run.fake(now, context.origin.version)
            record = record.with_run(target, faked, targets)
    if not targets:
        record = record.fake(now, context.origin.version)
    repository.save(record)
    append(
        attempt_at(record, "", None, context.origin, checksum(path), OutcomeEnum.FAKED, now),
        repository,
    )


def _run_work(work: Work, recorder: Recorder, context: Context) -> float:
    """Do the work for one target: record that it starts, do it, and record how that went.

    Returns:
        How many seconds it took.

    Raises:
        ScriptFailedError: the author's code failed.
        ItemsFailedError: items of a batch migration failed.
        StoppedError: a batch migration was stopped; its progress is kept.
        StorageError: the record could not be saved, before or after the author's code ran.
    """
    if (seconds := recorder.recover()) is not None:
        return seconds
    recorder.start()
    try:
        # Saving may take long: there may be a reason by now not to begin what takes hours.
        _require_unstopped(recorder.name, context)
        with isolated():
            work.do(recorder, context)
    except BaseException as error:  # noqa: BLE001 - raised as ours, once it is recorded
        failure = recorder.fail(error, work.tally)
        raise failure from failure.__cause__
    return recorder.finish(work.tally)


def _require_unstopped(name: str, context: Context) -> None:
    """Return if what has this name may begin.

    Raises:
        StoppedError: the run was stopped, or has handled as many items as it was to handle.
    """
    if cause := context.stop.cause:
        raise StoppedError(f"Migration {name} was not begun: {cause}", cause.exit_code)
    if not context.budget.left:
        reason = "as many items were handled as --limit allows"
        raise StoppedError(f"Migration {name} was not begun: {reason}", ExitCode.TRY_LATER)
