"""Runs migrations, or shows what would run: what `migrate` and `batch` have in common."""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import dataclass, replace
from math import inf

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.batch.items import Budget
from mpt_tool.batch.rehearsal import look_at
from mpt_tool.cli.options import DEFAULT_LIMIT
from mpt_tool.cli.session import Session
from mpt_tool.cli.waiting import applied_meanwhile, state_to_run_on
from mpt_tool.clients.rehearsal import Rehearsal, write_nothing
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import (
    ItemsFailedError,
    MptToolError,
    NoHistoryError,
    ScriptError,
    StorageError,
)
from mpt_tool.records import FailedItem
from mpt_tool.reporting import Locking, Silent
from mpt_tool.runner import run as runs
from mpt_tool.runner import some
from mpt_tool.runner.prepare import Prepared, Selection, Step, prepare
from mpt_tool.runner.work import BatchWork
from mpt_tool.scripts.folder import CREATE_ONE, Script
from mpt_tool.scripts.plan import RunResult
from mpt_tool.settings import env_file_exported
from mpt_tool.storage.repository import Snapshot, failures_of
from mpt_tool.view.progress import LiveReporter, LogReporter
from mpt_tool.view.results import DryRun, Result
from mpt_tool.view.status import next_lines
from mpt_tool.view.terminal import is_live
from mpt_tool.view.text import summary
from mpt_tool.wording import in_items, in_outcomes, name_of


def run(
    session: Session, selection: Selection, wait: float | None, limit: int | None = None
) -> Result:
    """Run what is pending of a type, or just the one migration.

    Args:
        session: the command at work.
        selection: which migrations run.
        wait: for how many seconds another run's lock is waited for.
        limit: how many items are handled, at most.
    """
    shows_progress = is_live(sys.stderr) and not (session.output.quiet or session.output.logs_json)
    reporter = (
        LiveReporter(sys.stdout, sys.stderr, session.redact)
        if shows_progress
        else LogReporter(session.output.pipeline)
    )
    outcome: RunResult | None = None
    try:
        with (
            env_file_exported(session.project.root),
            session.observed(_typed(selection), reporter) as observed,
        ):
            repository, scripts = session.store, _scripts(session)
            state = state_to_run_on(session, selection, scripts, wait or 0, observed)
            with state as (snapshot, was_pending):
                if was_pending and (
                    told := applied_meanwhile(session, selection, scripts, snapshot)
                ):
                    return Result(said=[told])
                prepared = _prepared(session, selection, scripts, snapshot)
                context = session.context(observed)
                context = replace(context, missing=snapshot.missing, budget=Budget(limit or inf))
                outcome = runs.run(prepared, repository, context)
            if outcome.failure:
                raise outcome.failure
    except MptToolError as failure:
        if outcome is None or failure is not outcome.failure:
            raise
        return Result(outcome, _next(session, scripts, snapshot, outcome), failure=failure)
    return Result(said=[*summary(outcome), _done(selection)])


def _next(
    session: Session, scripts: Sequence[Script], snapshot: Snapshot, outcome: RunResult
) -> list[str]:
    """Return what to type next after a run that failed; none if its error says that.

    No record is read again for it: the run knows what it left behind.
    """
    if isinstance(outcome.failure, StorageError):
        return []
    records = {**snapshot.records, **outcome.records}
    left = replace(snapshot, records=records, holder=None)
    project = session.project
    entries = project.told_ends(project.plan(scripts, left))
    return next_lines(project.next_command(entries, None))


def handle_some(
    session: Session, selection: Selection, only: Sequence[str], wait: float | None
) -> Result:
    """Handle the items of these cursors of one batch migration, and nothing else of it."""
    tally, failure = Tally(), None
    cursors = [_cursor(given) for given in dict.fromkeys(only)]
    try:
        with (
            env_file_exported(session.project.root),
            session.observed(f"{_typed(selection)} --only", LogReporter()) as observed,
            ExitStack() as held,
        ):
            repository, scripts = session.store, _scripts(session)
            with observed.during(Locking()):
                held.enter_context(session.lock(wait))
            snapshot = repository.load()
            [step] = _prepared(session, selection, scripts, snapshot).steps
            context = replace(session.context(observed), missing=snapshot.missing)
            some.handle_some(step, cursors, tally, repository, context)
    except ItemsFailedError as error:
        failure = error
    outcomes = f": {in_outcomes(tally.outcomes)}" if tally.outcomes else ""
    of_all = in_items(tally.processed, len(cursors) if failure else None)
    return Result(said=[f"Handled {of_all}{outcomes}."], failure=failure)


@dataclass(frozen=True, slots=True)
class Look:
    """How a dry run looks at the items of a batch migration.

    Args:
        limit: how many are looked at, at most.
        rehearses: whether they are processed, with all writes answered in place of the services.
        allows_unguarded: whether they are though nothing keeps the migration from writing.
    """

    limit: int = DEFAULT_LIMIT
    rehearses: bool = False
    allows_unguarded: bool = False


def dry_run(session: Session, selection: Selection, look: Look | None = None) -> Result:
    """Show what a run would run, of the one batch migration also its items; change nothing.

    Args:
        session: the command at work.
        selection: which migrations would run.
        look: how it looks at items.
    """
    look = look or Look()
    # What the scripts import is not to leave compiled files behind.
    sys.dont_write_bytecode = True
    repository, scripts = session.project.repository, _scripts(session)
    snapshot = repository.load()
    # What a script prints while it is loaded is no part of the plan.
    rehearsal = Rehearsal(answers=look.rehearses)
    write_nothing(rehearsal)
    command = f"{_typed(selection)} {'--rehearse' if look.rehearses else '--dry-run'}"
    with (
        redirect_stdout(sys.stderr),
        env_file_exported(session.project.root),
        session.observed(command, Silent(), just_looks=True),
    ):
        steps = _prepared(session, selection, scripts, snapshot).steps
        works = steps[0].works if selection.migration_id else {}
        sights = {
            target: look_at(
                work.migration,
                work.checkpoint,
                look.limit,
                session.redact,
                rehearsal,
                failures=_failures_of(session, steps[0], target) if look.rehearses else (),
                rehearses=look.rehearses,
                allows_unguarded=look.allows_unguarded,
            )
            for target, work in works.items()
            if isinstance(work, BatchWork)
        }
    would_run = [(step.record, [target for target in step.works if target]) for step in steps]
    return Result(DryRun(selection.migration_type, would_run, sights))


def _failures_of(session: Session, step: Step, target: str) -> Sequence[FailedItem]:
    """Return the items that failed in earlier runs, as far as they were kept."""
    work, repository = step.works[target], session.project.repository
    if not work.checkpoint:
        return ()
    with suppress(NoHistoryError):
        return failures_of(repository, step.record.migration_id, target, work.checkpoint)
    return ()


def fake(session: Session, migration_id: str, target: str, wait: float | None) -> Result:
    """Mark a migration as applied without running it, or as applied for one of its targets."""
    project = session.project
    scripts, repository = project.scripts(), session.store
    with env_file_exported(project.root), session.lock(wait):
        entries = project.plan(scripts, repository.load())
        context = session.context(LogReporter())
        runs.fake(
            entries, migration_id, target, repository, context, project.root, project.environment
        )
    return Result(said=[f"Migration {name_of(migration_id, target)} applied successfully."])


def _scripts(session: Session) -> list[Script]:
    """Return the scripts; `ScriptError` if there are none, as in an image built without them."""
    if scripts := session.project.scripts():
        return scripts
    folder = session.project.folder
    strays = session.project.strays()
    left_alone = "".join(f"; {stray}" for stray in strays)
    raise ScriptError(
        f"No migration files found in {folder}{left_alone}",
        topic="nothing-found",
        then="mpt-tool migrate --check" if strays else CREATE_ONE,
    )


def _prepared(
    session: Session, selection: Selection, scripts: Sequence[Script], snapshot: Snapshot
) -> Prepared:
    project = session.project
    entries = project.plan(scripts, snapshot)
    return prepare(entries, selection, project.root, project.environment)


def _cursor(given: str) -> object:
    """Return a cursor, given as `failures --json` shows it or as plain text."""
    try:
        return json.loads(given)
    except (ValueError, RecursionError):
        return given


def _typed(selection: Selection) -> str:
    """Return what was typed to run that, without the knobs."""
    command = "batch" if selection.is_batch else f"migrate --{selection.migration_type}"
    return f"{command} {selection.migration_id}" if selection.migration_id else command


def _done(selection: Selection) -> str:
    if selection.is_batch:
        name = name_of(selection.migration_id or "", selection.target)
        return f"Migration {name} applied successfully."
    if selection.migration_type is MigrationTypeEnum.DATA:
        return "Migrations completed successfully."
    return "schema migrations applied successfully."
