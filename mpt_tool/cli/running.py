"""Runs migrations, or shows what would run: what `migrate` and `batch` have in common."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace

from mpt_tool.batch.rehearsal import look_at
from mpt_tool.cli.options import DEFAULT_LIMIT
from mpt_tool.cli.session import Session
from mpt_tool.clients.read_only import writes_refused
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import ScriptError, SelectionError
from mpt_tool.project import plan_of
from mpt_tool.runner import prepare
from mpt_tool.runner import run as runs
from mpt_tool.runner.work import BatchWork
from mpt_tool.scripts import plan
from mpt_tool.scripts.folder import Script
from mpt_tool.settings import env_file_exported
from mpt_tool.storage.repository import Snapshot
from mpt_tool.view.progress import LiveReporter, LogReporter
from mpt_tool.view.results import DryRun, Result
from mpt_tool.view.terminal import is_live
from mpt_tool.view.text import summary


@dataclass(frozen=True, slots=True)
class Request:
    """Which migrations are to run.

    Args:
        migration_type: all pending ones of this type run,
        migration_id: or just this one.
        is_batch: whether the one has to be a batch migration.
        resume: what becomes of its checkpoint.
    """

    migration_type: MigrationTypeEnum
    migration_id: str | None = None
    is_batch: bool = False
    resume: ResumeEnum = ResumeEnum.IF_UNCHANGED


def run(session: Session, request: Request, wait: float | None) -> Result:
    """Run what is pending of a type, or just the one migration."""
    project = session.project
    shows_progress = is_live(sys.stderr) and not session.output.quiet
    reporter = LiveReporter(sys.stdout, sys.stderr) if shows_progress else LogReporter()
    repository, scripts = project.repository, _scripts(session)
    with (
        env_file_exported(project.root),
        _state_to_run_on(session, request, scripts, wait or 0) as snapshot,
    ):
        prepared = _prepared(session, request, scripts, snapshot)
        context = replace(session.context(reporter), missing=snapshot.missing)
        outcome = runs.run(prepared, repository, context)
    if outcome.failure:
        return Result(outcome, failure=outcome.failure)
    return Result(said=[*summary(outcome), _done(request)])


@contextmanager
def _state_to_run_on(
    session: Session, request: Request, scripts: Sequence[Script], wait: float
) -> Iterator[Snapshot]:
    """Yield the state, under the lock; one that may wait takes none if nothing is pending.

    Raises:
        LockedError: another run holds the lock and did not give it back in time.
        StorageError: the store failed.
    """
    repository = session.project.repository
    gives_up_at = time.monotonic() + wait
    if wait:
        for snapshot in repository.looks(wait):
            pending = plan.pending(plan_of(scripts, snapshot), request.migration_type)
            if not any(request.migration_id in (None, each.migration_id) for each in pending):
                yield snapshot
                return
    with session.lock(max(0.0, gives_up_at - time.monotonic())):
        yield repository.load()


def dry_run(
    session: Session, request: Request, limit: int = DEFAULT_LIMIT, *, rehearses: bool = False
) -> Result:
    """Show what a run would run, of the one batch migration also its items; change nothing.

    Args:
        session: the command at work.
        request: which migrations would run.
        limit: how many items are looked at, at most.
        rehearses: whether they are processed, with all writes refused.
    """
    # What the scripts import is not to leave compiled files behind.
    sys.dont_write_bytecode = True
    repository, scripts = session.project.repository, _scripts(session)
    snapshot = repository.load()
    # What a script prints while it is loaded is no part of the plan.
    with redirect_stdout(sys.stderr), writes_refused(), env_file_exported(session.project.root):
        steps = _prepared(session, request, scripts, snapshot).steps
        sight = None
        if request.migration_id and isinstance(work := steps[0].work, BatchWork):
            checkpoint = steps[0].record.checkpoint
            sight = look_at(work.migration, checkpoint, limit, session.redact, rehearses=rehearses)
    return Result(DryRun(request.migration_type, [step.record for step in steps], sight))


def fake(session: Session, migration_id: str, wait: float | None) -> Result:
    """Mark a migration as applied without running it."""
    project = session.project
    scripts, repository = project.scripts(), project.repository
    with env_file_exported(project.root), session.lock(wait):
        entries = plan_of(scripts, repository.load())
        context = session.context(LogReporter())
        runs.fake(entries, migration_id, repository, context, project.root)
    return Result(said=[f"Migration {migration_id} applied successfully."])


def _scripts(session: Session) -> list[Script]:
    """Return the scripts; `ScriptError` if there are none, as in an image built without them."""
    if scripts := session.project.scripts():
        return scripts
    raise ScriptError(f"No migration files found in {session.project.folder}")


def _prepared(
    session: Session, request: Request, scripts: Sequence[Script], snapshot: Snapshot
) -> prepare.Prepared:
    """Return what is asked for, loaded; `SelectionError` if it is no batch migration but has to."""
    entries, root = plan_of(scripts, snapshot), session.project.root
    migration_id = request.migration_id
    prepared = prepare.prepare(entries, request.migration_type, migration_id, root, request.resume)
    if request.is_batch and not isinstance(prepared.steps[0].work, BatchWork):
        raise SelectionError(f"Migration {migration_id} is no batch migration: it has no items")
    return prepared


def _done(request: Request) -> str:
    if request.is_batch:
        return f"Migration {request.migration_id} applied successfully."
    if request.migration_type is MigrationTypeEnum.DATA:
        return "Migrations completed successfully."
    return "schema migrations applied successfully."
