"""What each action of the command does: one call, one view, and an exit code where it is not 0."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import (
    ExitCode,
    MptToolError,
    NoHistoryError,
    ScriptError,
    ScriptFailedError,
    SelectionError,
    StorageError,
)

if TYPE_CHECKING:
    from mpt_tool.plan import Entry
    from mpt_tool.records import Attempt, Origin
    from mpt_tool.redaction import Redact
    from mpt_tool.rehearsal import Sight
    from mpt_tool.runner import Context, Reporter, Step
    from mpt_tool.settings import Settings
    from mpt_tool.signals import Stop
    from mpt_tool.storage import StateRepository

log = logging.getLogger(__name__)

DEFAULT_LIMIT = 1000


def _redact_environment() -> "Redact":
    from mpt_tool.redaction import make_redact, secrets_in
    from mpt_tool.settings import read_env_file

    return make_redact(secrets_in({**read_env_file(Path()), **os.environ}))


@dataclass(frozen=True, slots=True)
class Output:
    """How much a command writes, in which form, and what hides secrets in it."""

    as_json: bool
    verbose: bool
    quiet: bool
    redact: "Redact" = field(default_factory=_redact_environment)

    @property
    def log_level(self) -> int:
        """The level from which on events are logged."""
        if self.verbose:
            return logging.DEBUG
        return logging.WARNING if self.quiet else logging.INFO

    def say(self, message: str) -> None:
        """Write a message for people."""
        if not (self.as_json or self.quiet):
            typer.echo(self.redact(message))


@dataclass(frozen=True, slots=True)
class Project:
    """What every action needs."""

    root: Path
    settings: "Settings"
    redact: "Redact"
    stop: "Stop"


@contextmanager
def _action(command: str, output: Output) -> Iterator[Project]:
    """Set up what an action needs, and turn an error of ours into messages and an exit code.

    Raises:
        typer.Exit: the action failed; the messages are written.
    """
    from mpt_tool.logs import logs
    from mpt_tool.settings import load_settings, working_folder
    from mpt_tool.signals import Stop

    redact, stop = output.redact, Stop()
    try:
        with stop.listening(), logs(output.log_level, redact):
            root = working_folder()
            yield Project(root, load_settings(root), redact, stop)
    except MptToolError as error:
        from mpt_tool import render

        if isinstance(error, ScriptFailedError) and error.__cause__:
            from mpt_tool.tracebacks import script_traceback

            typer.echo(redact(script_traceback(error.__cause__)), err=True, nl=False)
        if output.as_json:
            render.json_document(command, {"error": redact(str(error))}, sys.stdout)
        typer.echo(redact(f"Error running {command} command: {error}"), err=True)
        typer.echo("Aborted.", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Aborted.", err=True)
        raise typer.Exit(stop.cause.exit_code if stop.cause else ExitCode.INTERRUPTED) from None


def _open(project: Project) -> "StateRepository":
    from mpt_tool.storage import open_repository

    return open_repository(project.settings, project.root)


def _now() -> datetime:
    return datetime.now(UTC)


def _origin(project: Project) -> "Origin":
    """Return who makes a change: a run of its own, of this process."""
    import getpass
    import platform
    from importlib.metadata import version

    from mpt_tool.records import Origin

    redact, service_version = project.redact, project.settings.service_version
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container may run as a user that has no name.
        user = str(os.getuid())
    return Origin(
        run_id=os.urandom(6).hex(),
        user=redact(user),
        host=redact(platform.node()),
        process=os.getpid(),
        version=redact(service_version) if service_version else service_version,
        tool_version=version("mpt-tool"),
    )


def _context(project: Project, reporter: "Reporter") -> "Context":
    from mpt_tool.runner import Context

    settings = project.settings
    limits = {
        MigrationTypeEnum.DATA: settings.data_time_limit,
        MigrationTypeEnum.SCHEMA: settings.schema_time_limit,
    }
    origin = _origin(project)
    return Context(origin, _now, project.redact, project.stop, limits, reporter)


def run(
    migration_type: MigrationTypeEnum,
    migration_id: str | None,
    wait: float,
    output: Output,
    resume: ResumeEnum = ResumeEnum.IF_UNCHANGED,
) -> None:
    """Run what is pending of this type, or just the one migration."""
    output.say(f"Running {migration_type} migrations...")
    with _action(migration_type, output) as project:
        from mpt_tool import render, runner, scripts
        from mpt_tool.progress import LiveReporter, LogReporter
        from mpt_tool.terminal import is_live

        shows_progress = is_live(sys.stderr) and not output.quiet
        reporter = LiveReporter(sys.stdout, sys.stderr) if shows_progress else LogReporter()
        context = _context(project, reporter)
        found = scripts.find_sound(project.settings.folder)
        repository = _open(project)
        with repository.lock(context.origin, wait, project.stop.lose_lock):
            entries = runner.read_plan(found, repository)
            prepared = runner.prepare(entries, migration_type, migration_id, project.root, resume)
            outcome = runner.run(prepared, repository, context)
        if outcome.failure:
            typer.echo(render.summary(outcome))
            raise outcome.failure
        output.say(render.summary(outcome))
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
    with _action(migration_type, output) as project:
        from mpt_tool import render, runner, scripts

        entries = runner.read_plan(scripts.find_sound(project.settings.folder), _open(project))
        # What a script prints while it is loaded is no part of the plan.
        with redirect_stdout(sys.stderr):
            prepared = runner.prepare(entries, migration_type, migration_id, project.root, resume)
            sight = _look_at(prepared.steps[0], look, project.redact) if migration_id else None
        records = [step.record for step in prepared.steps]
        if output.as_json:
            documents = [render.record_document(record) for record in records]
            content = {"would_run": documents, **({"items": asdict(sight)} if sight else {})}
            render.json_document(migration_type, content, sys.stdout)
            return
        typer.echo(render.dry_run(records, migration_type))
        if sight:
            typer.echo(render.sight(sight))


def _look_at(step: "Step", look: Look | None, redact: "Redact") -> "Sight | None":
    """Return what a run would handle of a batch migration; None of any other.

    Raises:
        MptToolError: the items cannot be had, or a look was asked for where there are none.
    """
    from mpt_tool.migration import BatchDataMigration
    from mpt_tool.rehearsal import look_at

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
    with _action("fake", output) as project:
        from mpt_tool import runner, scripts
        from mpt_tool.progress import LogReporter

        context = _context(project, LogReporter())
        found = scripts.find_sound(project.settings.folder)
        repository = _open(project)
        with repository.lock(context.origin, wait, project.stop.lose_lock):
            entries = runner.read_plan(found, repository)
            runner.fake(entries, migration_id, repository, context, project.root)
    output.say(f"Migration {migration_id} applied successfully.")


def scaffold(
    migration_type: MigrationTypeEnum, migration_id: str, output: Output, *, batch: bool = False
) -> None:
    """Create a script."""
    output.say(f"Scaffolding migration: {migration_id}.")
    with _action(f"new{migration_type}", output) as project:
        from mpt_tool import scripts

        path = scripts.scaffold(
            project.settings.folder, migration_id, migration_type, _now(), batch=batch
        )
    output.say(f"Migration file: {path.name} has been created.")


def unlock(holder: str, output: Output) -> None:
    """Take the lock away from a holder that cannot be alive."""
    with _action("unlock", output) as project:
        _open(project).unlock(holder)
    output.say(f"Took the lock away from {holder}.")


def initialize(wait: float, output: Output) -> None:
    """Create what the store lacks."""
    output.say("Initializing migration tool...")
    with _action("init", output) as project, ExitStack() as held:
        repository = _open(project)
        # A store that is still to be created has no place for a lock.
        with suppress(StorageError):
            origin = _origin(project)
            held.enter_context(repository.lock(origin, wait, project.stop.lose_lock))
        created = repository.initialize()
    for name in created:
        output.say(f"Created {name}.")
    output.say("Migration tool initialized successfully.")


def list_(output: Output) -> None:
    """Show all migrations and where they stand."""
    output.say("Listing migrations...")
    with _action("list", output) as project:
        from mpt_tool import render, runner, scripts

        folder = project.settings.folder
        found = scripts.find(folder) if os.path.lexists(folder) else []
        repository = _open(project)
        entries = runner.read_plan(found, repository, partial(_attempts_if_any, repository))
        store_notes = _store_notes(project, repository, entries)
        if output.as_json:
            documents = [render.entry_document(entry) for entry in entries]
            content = {"migrations": documents, "notes": store_notes}
            render.json_document("list", content, sys.stdout)
            return
        if entries:
            render.status_table(entries, sys.stdout)
        else:
            typer.echo("No migrations found.")
        for note in store_notes:
            typer.echo(f"Note: {note}.")


def _attempts_if_any(repository: "StateRepository") -> "Sequence[Attempt]":
    try:
        return _known_attempts(repository)
    except StorageError as error:
        log.warning("What was changed since it was applied cannot be told: %s", error)
        return []


def _known_attempts(repository: "StateRepository") -> "Sequence[Attempt]":
    try:
        return repository.attempts()
    except NoHistoryError as error:
        log.debug("%s", error)
        return []


def _store_notes(
    project: Project, repository: "StateRepository", entries: "Sequence[Entry]"
) -> list[str]:
    """Return what the store lacks that would be used."""
    from mpt_tool import plan
    from mpt_tool.inspection import inspect

    would_be_used = {
        "version": lambda: bool(project.settings.service_version),
        "checkpoint": lambda: any(
            entry.script and inspect(entry.script.path).is_batch
            for entry in plan.all_pending(entries, None)
        ),
    }
    return [
        f"the store has no column {column}, so that is not recorded; --init adds it"
        for column in sorted(repository.missing)
        if would_be_used[column]()
    ]


def pending(migration_type: MigrationTypeEnum | None, output: Output) -> None:
    """List what is pending; exit with 3 if anything is."""
    with _action("pending", output) as project:
        from mpt_tool import plan, render, runner, scripts

        found = scripts.find_sound(project.settings.folder)
        entries = plan.all_pending(runner.read_plan(found, _open(project)), migration_type)
        if output.as_json:
            documents = [render.entry_document(entry) for entry in entries]
            render.json_document("pending", {"pending": documents}, sys.stdout)
        elif entries:
            render.status_table(entries, sys.stdout)
        else:
            output.say("Nothing is pending.")
        raise typer.Exit(ExitCode.PENDING if entries else ExitCode.DONE)


def history(migration_id: str | None, output: Output) -> None:
    """Show all attempts in a table, or those at one migration in full."""
    with _action("history", output) as project:
        from mpt_tool import render

        attempts = [
            attempt
            for attempt in _open(project).attempts()
            if migration_id in (None, attempt.migration_id)
        ]
        if output.as_json:
            documents = [attempt.document() for attempt in attempts]
            render.json_document("history", {"attempts": documents}, sys.stdout)
        elif not attempts:
            of_one = f" at {migration_id}" if migration_id else ""
            typer.echo(project.redact(f"No attempts{of_one} found."))
        elif migration_id is None:
            render.history_table(attempts, sys.stdout)
        else:
            typer.echo("\n\n".join(render.attempt_details(attempt) for attempt in attempts))


def check(output: Output, *, strict: bool) -> None:
    """Report everything that is wrong with the scripts; if strict, held against the store too."""
    output.say("Checking migrations...")
    with _action("check", output) as project:
        from mpt_tool import render, runner, scripts

        found = scripts.find(project.settings.folder)
        findings = scripts.check(found)
        if strict:
            repository = _open(project)
            entries = runner.read_plan(found, repository, partial(_known_attempts, repository))
            findings += scripts.drift(entries, _store_notes(project, repository, entries))
        if output.as_json:
            documents = [asdict(finding) for finding in findings]
            render.json_document("check", {"findings": documents}, sys.stdout)
            raise typer.Exit(ExitCode.FAILED if findings else ExitCode.DONE)
        for finding in findings:
            typer.echo(render.finding_line(finding))
        if findings:
            raise ScriptError(f"{len(findings)} problem(s) found in {project.settings.folder}")
    output.say("Migrations check passed successfully.")
