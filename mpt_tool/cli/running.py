"""Runs migrations, or shows what would run: what `migrate` and `batch` have in common."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mpt_tool.cli.session import Session
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import ScriptError, SelectionError

if TYPE_CHECKING:
    from mpt_tool.batch.rehearsal import Sight
    from mpt_tool.clients.rehearsal import Rehearsal
    from mpt_tool.project import Project
    from mpt_tool.runner.prepare import Prepared
    from mpt_tool.scripts.folder import Script
    from mpt_tool.view.results import Result

DEFAULT_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Request:
    """Which migrations are to run, and how.

    Args:
        migration_type: all pending ones of this type run,
        migration_id: or just this one.
        wait: for how many seconds another run's lock is waited for.
        is_batch: whether the one has to be a batch migration.
        resume: what becomes of its checkpoint.
        limit: how many of its items a dry run looks at, at most.
        rehearses: whether a dry run processes them, with all writes answered in place of the
            services.
        allows_unguarded: whether it does though nothing keeps the migration from writing.
    """

    migration_type: MigrationTypeEnum
    migration_id: str | None = None
    wait: float = 0.0
    is_batch: bool = False
    resume: ResumeEnum = ResumeEnum.IF_UNCHANGED
    limit: int = DEFAULT_LIMIT
    rehearses: bool = False
    allows_unguarded: bool = False


def run(session: Session, request: Request) -> "Result":
    """Run what is pending of a type, or just the one migration."""
    from mpt_tool.project import plan_of
    from mpt_tool.runner import prepare
    from mpt_tool.runner import run as runs
    from mpt_tool.settings import env_file_exported
    from mpt_tool.view.progress import LiveReporter, LogReporter
    from mpt_tool.view.results import Result
    from mpt_tool.view.terminal import is_live
    from mpt_tool.view.text import summary

    project = session.project
    shows_progress = is_live(sys.stderr) and not session.output.quiet
    reporter = LiveReporter(sys.stdout, sys.stderr) if shows_progress else LogReporter()
    context = session.context(reporter)
    repository, scripts = project.repository, _scripts(project)
    with (
        env_file_exported(project.root),
        repository.lock(context.origin, request.wait, session.stop.lose_lock),
    ):
        snapshot = repository.load()
        prepared = prepare.prepare(
            plan_of(scripts, snapshot),
            request.migration_type,
            request.migration_id,
            project.root,
            request.resume,
        )
        _require_batch(prepared, request)
        context = replace(context, missing=snapshot.missing)
        outcome = runs.run(prepared, repository, context)
    if outcome.failure:
        return Result(outcome, failure=outcome.failure)
    return Result(said=[*summary(outcome), _done(request)])


def dry_run(session: Session, request: Request) -> "Result":
    """Show what a run would run, of the one batch migration also its items; change nothing."""
    from mpt_tool.clients.rehearsal import Rehearsal, write_nothing
    from mpt_tool.project import plan_of
    from mpt_tool.runner import prepare
    from mpt_tool.settings import env_file_exported
    from mpt_tool.view.results import DryRun, Result

    # What the scripts import is not to leave compiled files behind.
    sys.dont_write_bytecode = True
    project = session.project
    repository, scripts = project.repository, _scripts(project)
    entries = plan_of(scripts, repository.load())
    # What a script prints while it is loaded is no part of the plan.
    rehearsal = Rehearsal(answers=request.rehearses)
    write_nothing(rehearsal)
    with redirect_stdout(sys.stderr), env_file_exported(project.root):
        prepared = prepare.prepare(
            entries, request.migration_type, request.migration_id, project.root, request.resume
        )
        _require_batch(prepared, request)
        sight = (
            _look_at_items(session, prepared, request, rehearsal) if request.migration_id else None
        )
    records = [step.record for step in prepared.steps]
    return Result(DryRun(request.migration_type, records, sight))


def _scripts(project: "Project") -> "list[Script]":
    """Return the scripts of a project that has any.

    Raises:
        ScriptError: it has none: another folder is meant, or the image was built without them.
    """
    if scripts := project.scripts():
        return scripts
    raise ScriptError(f"No migration files found in {project.folder}")


def _done(request: Request) -> str:
    if request.is_batch:
        return f"Migration {request.migration_id} applied successfully."
    if request.migration_type is MigrationTypeEnum.DATA:
        return "Migrations completed successfully."
    return "schema migrations applied successfully."


def _require_batch(prepared: "Prepared", request: Request) -> None:
    """Refuse another migration where only a batch migration will do.

    Raises:
        SelectionError: it is none.
    """
    from mpt_tool.runner.work import BatchWork

    if request.is_batch and not isinstance(prepared.steps[0].work, BatchWork):
        raise SelectionError(
            f"Migration {request.migration_id} is no batch migration: it has no items"
        )


def _look_at_items(
    session: Session, prepared: "Prepared", request: Request, rehearsal: "Rehearsal"
) -> "Sight | None":
    """Return what a run would handle of a batch migration; None of any other.

    Raises:
        SelectionError: nothing would keep it from writing.
        ScriptFailedError: the items cannot be had.
    """
    from mpt_tool.batch.rehearsal import look_at
    from mpt_tool.runner.work import BatchWork

    step = prepared.steps[0]
    if not isinstance(step.work, BatchWork):
        return None
    return look_at(
        step.work.migration,
        step.record.checkpoint,
        request.limit,
        session.redact,
        rehearsal,
        allows_unguarded=request.allows_unguarded,
    )
