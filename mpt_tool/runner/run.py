"""Walks a plan: runs its steps in order, and records how each went."""

import time
from collections.abc import Sequence
from pathlib import Path

from mpt_tool.errors import MptToolError, StoppedError
from mpt_tool.process.isolation import isolated
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import Stop
from mpt_tool.runner.context import Context
from mpt_tool.runner.prepare import Prepared, Step, record_of
from mpt_tool.runner.recorder import Recorder
from mpt_tool.scripts import plan
from mpt_tool.scripts.load import load
from mpt_tool.scripts.plan import Entry, RunResult
from mpt_tool.scripts.syntax import checksum
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import LONGEST_REPEATED, duration, shortened

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
    with context.stop.deferred():
        for number, step in enumerate(prepared.steps):
            try:
                _require_unstopped(ids[number], context.stop)
                log.info("Running migration: %s", ids[number])
                with context.reporter.running(ids[number], number + 1, len(ids), step.work.tally):
                    seconds = _run_step(step, repository, context)
                log.info("Applied migration: %s in %s", ids[number], duration(seconds))
            except MptToolError as error:
                log.error("%s", shortened(context.redact(str(error)), LONGEST_REPEATED))
                seconds = time.monotonic() - began
                return RunResult(
                    ids[:number], prepared.skipped, ids[number + 1 :], seconds, ids[number], error
                )
    return RunResult(ids, prepared.skipped, [], time.monotonic() - began)


def fake(
    entries: Sequence[Entry],
    migration_id: str,
    repository: StateRepository,
    context: Context,
    root: Path,
) -> None:
    """Record a migration as applied without running it.

    It is imported only if neither its record nor its syntax tree tells its type.

    Raises:
        SelectionError: the migration is unknown or applied already.
        ScriptFailedError: its type cannot be told, as the script cannot be loaded.
        StorageError: it could not be recorded.
    """
    entry = plan.pending_one(entries, migration_id)
    assert entry.script is not None
    record = record_of(entry, entry.type or load(entry.script, root).type)
    path = root / entry.script.path
    Recorder(record, path, checksum(path), repository, context).fake()


def _run_step(step: Step, repository: StateRepository, context: Context) -> float:
    """Run one migration: record that it starts, do its work, and record how that went.

    Returns:
        How many seconds it took.

    Raises:
        ScriptFailedError: the author's code failed.
        ItemsFailedError: items of a batch migration failed.
        StoppedError: a batch migration was stopped; its progress is kept.
        StorageError: the record could not be saved, before or after the author's code ran.
    """
    recorder = Recorder(step.record, step.path, step.checksum, repository, context)
    if (seconds := recorder.recover()) is not None:
        return seconds
    recorder.start()
    try:
        # Saving may take long: there may be a reason by now not to begin what takes hours.
        _require_unstopped(recorder.migration_id, context.stop)
        with isolated():
            step.work.do(recorder, context)
    except BaseException as error:  # noqa: BLE001 - raised as ours, once it is recorded
        failure = recorder.fail(error, step.counts)
        raise failure from failure.__cause__
    return recorder.finish(step.counts)


def _require_unstopped(migration_id: str, stop: Stop) -> None:
    if cause := stop.cause:
        raise StoppedError(f"Migration {migration_id} was not begun: {cause}", cause.exit_code)
