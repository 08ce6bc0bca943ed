"""What each action of the command does: one call, one view, and an exit code where it is not 0."""

import logging
import os
import sys
from contextlib import ExitStack, redirect_stdout, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import typer

from mpt_tool.cli.session import Output, action, make_context, make_origin, now
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import (
    ExitCode,
    ScriptError,
    SelectionError,
    StorageError,
)
from mpt_tool.project import attempts_if_any, known_attempts, open_store, store_notes

if TYPE_CHECKING:
    from mpt_tool.batch.rehearsal import Sight
    from mpt_tool.redaction import Redact
    from mpt_tool.runner.prepare import Step

log = logging.getLogger(__name__)

DEFAULT_LIMIT = 1000


def run(
    migration_type: MigrationTypeEnum,
    migration_id: str | None,
    wait: float,
    output: Output,
    resume: ResumeEnum = ResumeEnum.IF_UNCHANGED,
) -> None:
    """Run what is pending of this type, or just the one migration."""
    output.say(f"Running {migration_type} migrations...")
    with action(migration_type, output) as project:
        from mpt_tool.project import read_plan
        from mpt_tool.runner import prepare
        from mpt_tool.runner import run as runs
        from mpt_tool.scripts import folder as folders
        from mpt_tool.view import tables
        from mpt_tool.view.progress import LiveReporter, LogReporter
        from mpt_tool.view.terminal import is_live

        shows_progress = is_live(sys.stderr) and not output.quiet
        reporter = LiveReporter(sys.stdout, sys.stderr) if shows_progress else LogReporter()
        context = make_context(project, reporter)
        found = folders.find_sound(project.settings.folder)
        repository = open_store(project)
        with repository.lock(context.origin, wait, project.stop.lose_lock):
            snapshot = repository.load()
            entries = read_plan(found, snapshot)
            prepared = prepare.prepare(entries, migration_type, migration_id, project.root, resume)
            context = replace(context, missing=snapshot.missing)
            outcome = runs.run(prepared, repository, context)
        if outcome.failure:
            typer.echo(tables.summary(outcome))
            raise outcome.failure
        output.say(tables.summary(outcome))
    if migration_type is MigrationTypeEnum.DATA:
        output.say("Migrations completed successfully.")
    else:
        output.say("schema migrations applied successfully.")


@dataclass(frozen=True, slots=True)
class Look:
    """How a dry run looks at a batch migration: at how many items, and whether it rehearses."""

    limit: int = DEFAULT_LIMIT
    rehearses: bool = False


def dry_run(
    migration_type: MigrationTypeEnum,
    migration_id: str | None,
    output: Output,
    resume: ResumeEnum = ResumeEnum.IF_UNCHANGED,
    look: Look | None = None,
) -> None:
    """Show what a run would run, of the one batch migration also its items; change nothing."""
    # What the scripts import is not to leave compiled files behind.
    sys.dont_write_bytecode = True
    with action(migration_type, output) as project:
        from mpt_tool.project import read_plan
        from mpt_tool.runner import prepare
        from mpt_tool.scripts import folder as folders
        from mpt_tool.view import tables

        found = folders.find_sound(project.settings.folder)
        entries = read_plan(found, open_store(project).load())
        # What a script prints while it is loaded is no part of the plan.
        with redirect_stdout(sys.stderr):
            prepared = prepare.prepare(entries, migration_type, migration_id, project.root, resume)
            sight = _look_at(prepared.steps[0], look, project.redact) if migration_id else None
        records = [step.record for step in prepared.steps]
        if output.as_json:
            documents = [tables.record_document(record) for record in records]
            content = {"would_run": documents, **({"items": asdict(sight)} if sight else {})}
            tables.json_document(migration_type, content, sys.stdout)
            return
        typer.echo(tables.dry_run(records, migration_type))
        if sight:
            typer.echo(tables.sight(sight))


def _look_at(step: "Step", look: Look | None, redact: "Redact") -> "Sight | None":
    """Return what a run would handle of a batch migration; None of any other.

    Raises:
        MptToolError: the items cannot be had, or a look was asked for where there are none.
    """
    from mpt_tool.batch.rehearsal import look_at
    from mpt_tool.migration import BatchDataMigration

    if isinstance(step.migration, BatchDataMigration):
        asked = look or Look()
        checkpoint = step.record.checkpoint
        return look_at(step.migration, checkpoint, asked.limit, redact, rehearses=asked.rehearses)
    if look:
        raise SelectionError(f"{step.record.migration_id} is no batch migration: it has no items")
    return None


def fake(migration_id: str, wait: float, output: Output) -> None:
    """Mark a migration as applied without running it."""
    output.say(f"Running migration {migration_id} in fake mode.")
    with action("fake", output) as project:
        from mpt_tool.project import read_plan
        from mpt_tool.runner import run as runs
        from mpt_tool.scripts import folder as folders
        from mpt_tool.view.progress import LogReporter

        context = make_context(project, LogReporter())
        found = folders.find_sound(project.settings.folder)
        repository = open_store(project)
        with repository.lock(context.origin, wait, project.stop.lose_lock):
            entries = read_plan(found, repository.load())
            runs.fake(entries, migration_id, repository, context, project.root)
    output.say(f"Migration {migration_id} applied successfully.")


def scaffold(
    migration_type: MigrationTypeEnum, migration_id: str, output: Output, *, batch: bool = False
) -> None:
    """Create a script."""
    output.say(f"Scaffolding migration: {migration_id}.")
    with action(f"new{migration_type}", output) as project:
        from mpt_tool.scripts import scaffold as scaffolding

        path = scaffolding.scaffold(
            project.settings.folder, migration_id, migration_type, now(), batch=batch
        )
    output.say(f"Migration file: {path.name} has been created.")


def unlock(holder: str, output: Output) -> None:
    """Take the lock away from a holder that cannot be alive."""
    with action("unlock", output) as project:
        open_store(project).unlock(holder)
    output.say(f"Took the lock away from {holder}.")


def initialize(wait: float, output: Output) -> None:
    """Create what the store lacks."""
    output.say("Initializing migration tool...")
    with action("init", output) as project, ExitStack() as held:
        repository = open_store(project)
        # A store that is still to be created has no place for a lock.
        with suppress(StorageError):
            origin = make_origin(project)
            held.enter_context(repository.lock(origin, wait, project.stop.lose_lock))
        created = repository.initialize()
    for name in created:
        output.say(f"Created {name}.")
    output.say("Migration tool initialized successfully.")


def list_(output: Output) -> None:
    """Show all migrations and where they stand."""
    output.say("Listing migrations...")
    with action("list", output) as project:
        from mpt_tool.project import read_plan
        from mpt_tool.scripts import folder as folders
        from mpt_tool.view import tables

        folder = project.settings.folder
        found = folders.find(folder) if os.path.lexists(folder) else []
        repository = open_store(project)
        snapshot = repository.load()
        entries = read_plan(found, snapshot, partial(attempts_if_any, repository))
        notes = store_notes(project, snapshot.missing, entries)
        if output.as_json:
            documents = [tables.entry_document(entry) for entry in entries]
            content = {"migrations": documents, "notes": notes}
            tables.json_document("list", content, sys.stdout)
            return
        if entries:
            tables.status_table(entries, sys.stdout)
        else:
            typer.echo("No migrations found.")
        for note in notes:
            typer.echo(f"Note: {note}.")


def pending(migration_type: MigrationTypeEnum | None, output: Output) -> None:
    """List what is pending; exit with 3 if anything is."""
    with action("pending", output) as project:
        from mpt_tool.project import read_plan
        from mpt_tool.scripts import folder as folders
        from mpt_tool.scripts import plan
        from mpt_tool.view import tables

        found = folders.find_sound(project.settings.folder)
        entries = plan.all_pending(read_plan(found, open_store(project).load()), migration_type)
        if output.as_json:
            documents = [tables.entry_document(entry) for entry in entries]
            tables.json_document("pending", {"pending": documents}, sys.stdout)
        elif entries:
            tables.status_table(entries, sys.stdout)
        else:
            output.say("Nothing is pending.")
        raise typer.Exit(ExitCode.PENDING if entries else ExitCode.DONE)


def history(migration_id: str | None, output: Output) -> None:
    """Show all attempts in a table, or those at one migration in full."""
    with action("history", output) as project:
        from mpt_tool.view import tables

        attempts = [
            attempt
            for attempt in open_store(project).attempts()
            if migration_id in (None, attempt.migration_id)
        ][::-1]
        if output.as_json:
            documents = [attempt.document() for attempt in attempts]
            tables.json_document("history", {"attempts": documents}, sys.stdout)
        elif not attempts:
            of_one = f" at {migration_id}" if migration_id else ""
            typer.echo(project.redact(f"No attempts{of_one} found."))
        elif migration_id is None:
            tables.history_table(attempts, sys.stdout)
        else:
            typer.echo("\n\n".join(tables.attempt_details(attempt) for attempt in attempts))


def check(output: Output, *, strict: bool) -> None:
    """Report everything that is wrong with the scripts; if strict, held against the store too."""
    output.say("Checking migrations...")
    with action("check", output) as project:
        from mpt_tool.project import read_plan
        from mpt_tool.scripts import check as checks
        from mpt_tool.scripts import folder as folders
        from mpt_tool.view import tables

        found = folders.find(project.settings.folder)
        findings = checks.check(found)
        if strict:
            repository = open_store(project)
            snapshot = repository.load()
            entries = read_plan(found, snapshot, partial(known_attempts, repository))
            findings += checks.drift(entries, store_notes(project, snapshot.missing, entries))
        if output.as_json:
            documents = [asdict(finding) for finding in findings]
            tables.json_document("check", {"findings": documents}, sys.stdout)
            raise typer.Exit(ExitCode.FAILED if findings else ExitCode.DONE)
        for finding in findings:
            typer.echo(tables.finding_line(finding))
        if findings:
            raise ScriptError(f"{len(findings)} problem(s) found in {project.settings.folder}")
    output.say("Migrations check passed successfully.")
