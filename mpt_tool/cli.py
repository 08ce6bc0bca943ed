"""The command line: options in, one call, one view, an exit code out."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import (
    INTERRUPTED,
    MigrationFailedError,
    MptToolError,
    ScriptError,
    ScriptLoadError,
)

if TYPE_CHECKING:
    from rich.console import Console

    from mpt_tool.redaction import Redact
    from mpt_tool.settings import Settings

DONE, FAILED = 0, 1
RUN, CREATE, INSPECT, OUTPUT = "Run", "Create", "Inspect", "Output"
EXAMPLES = """\
[bold]Examples[/bold]

mpt-tool migrate --new-data sync_users      create migrations/<timestamp>_sync_users.py

mpt-tool migrate --new-schema add_column    create one that runs before the release

mpt-tool migrate --schema                   run all pending schema migrations

mpt-tool migrate --data                     run all pending data migrations

mpt-tool migrate --data sync_users          run just this one

mpt-tool migrate --data --dry-run           show what would run

mpt-tool migrate --fake sync_users          mark it as applied without running it

mpt-tool migrate --list --json              show where every migration stands

mpt-tool migrate --check                    look for mistakes in the folder

mpt-tool migrate --init                     create the state file or table
"""

app = typer.Typer(
    help="Scaffold, run and audit migrations of MPT extensions.",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
)

NoColor = Annotated[
    bool, typer.Option("--no-color", help="Write without colour.", rich_help_panel=OUTPUT)
]


def main() -> None:
    """Run the command line; the entry point of both console scripts."""
    if isinstance(sys.stdout, TextIOWrapper):
        # A name may hold what the encoding of the stream lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Python has no stream where the caller closed it.
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    if "--no-color" in sys.argv or os.environ.get("NO_COLOR"):
        # For Typer's help and errors, and for whatever a script starts.
        os.environ.update(NO_COLOR="1", TERM="dumb")
    elif os.environ.keys() & {"GITHUB_ACTIONS", "PY_COLORS"} and not os.environ.get("FORCE_COLOR"):
        # Typer takes these for a wish for colour, even where nothing is a terminal.
        from typer import rich_utils

        rich_utils.FORCE_TERMINAL = None
    try:
        app()
    finally:
        _flush()


def _flush() -> None:
    """Write out what is left; a reader that has gone, as `head` goes, is no mistake."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mpt-tool {version('mpt-tool')}")
        raise typer.Exit


@app.callback()
def root_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
    no_color: NoColor = False,
) -> None:
    """Scaffold, run and audit migrations of MPT extensions."""


def _pending_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Complete MIGRATION_ID: what is pending, of the type that is to run."""
    for migration_type in MigrationTypeEnum:
        if context.params.get(migration_type):
            return _complete(incomplete, migration_type)
    return []


def _fakeable_ids(incomplete: str) -> list[str]:
    """Complete --fake: what is pending, of either type."""
    return _complete(incomplete, None)


@app.command(epilog=EXAMPLES)
def migrate(
    migration_id: Annotated[
        str | None,
        typer.Argument(
            metavar="MIGRATION_ID",
            help="With --data or --schema: run just this migration.",
            autocompletion=_pending_ids,
        ),
    ] = None,
    data: Annotated[
        bool, typer.Option("--data", help="Run pending data migrations.", rich_help_panel=RUN)
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Run pending schema migrations.", rich_help_panel=RUN)
    ] = False,
    fake: Annotated[
        str | None,
        typer.Option(
            "--fake",
            "--manual",
            metavar="MIGRATION_ID",
            help="Mark a migration as applied without running it.",
            rich_help_panel=RUN,
            autocompletion=_fakeable_ids,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="With --data or --schema: load what would run and show it; change nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    new_data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Create a data migration script.", rich_help_panel=CREATE
        ),
    ] = None,
    new_schema: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Create a schema migration script.", rich_help_panel=CREATE
        ),
    ] = None,
    init: Annotated[
        bool,
        typer.Option(
            "--init",
            help="Create the state file, or the table or the columns that it lacks.",
            rich_help_panel=CREATE,
        ),
    ] = False,
    list_: Annotated[
        bool,
        typer.Option(
            "--list", help="List all migrations and their status.", rich_help_panel=INSPECT
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check all scripts without importing them.", rich_help_panel=INSPECT
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="With --list, --check or --dry-run: write one JSON document.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    no_color: NoColor = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Log more.", rich_help_panel=OUTPUT)
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Write only results and errors.", rich_help_panel=OUTPUT),
    ] = False,
) -> None:
    """Create, run and inspect migrations: exactly one action at a time."""
    output = Output(as_json=as_json, verbose=verbose, quiet=quiet)
    run = _dry_run if dry_run else _run
    actions: dict[str, tuple[bool, Callable[[], None]]] = {
        "--data": (data, lambda: run(MigrationTypeEnum.DATA, migration_id, output)),
        "--schema": (schema, lambda: run(MigrationTypeEnum.SCHEMA, migration_id, output)),
        "--fake": (fake is not None, lambda: _fake(str(fake), output)),
        "--new-data": (
            new_data is not None,
            lambda: _scaffold("newdata", str(new_data), MigrationTypeEnum.DATA, output),
        ),
        "--new-schema": (
            new_schema is not None,
            lambda: _scaffold("newschema", str(new_schema), MigrationTypeEnum.SCHEMA, output),
        ),
        "--init": (init, lambda: _initialize(output)),
        "--list": (list_, lambda: _list(output)),
        "--check": (check, lambda: _check(output)),
    }
    chosen = [act for given, act in actions.values() if given]
    runs = data or schema
    mistakes = {
        f"use exactly one of {', '.join(actions)}": len(chosen) != 1,
        "MIGRATION_ID goes with --data or --schema": migration_id is not None and not runs,
        "--dry-run goes with --data or --schema": dry_run and not runs,
        "--json goes with --list, --check or --dry-run": as_json
        and not (list_ or check or dry_run),
        "--verbose and --quiet exclude each other": verbose and quiet,
    }
    for mistake, made in mistakes.items():
        if made:
            raise typer.BadParameter(mistake)
    chosen[0]()


@dataclass(frozen=True, slots=True)
class Output:
    """How much a command writes, and in which form."""

    as_json: bool
    verbose: bool
    quiet: bool

    @property
    def log_level(self) -> int:
        """The level from which on events are logged."""
        if self.verbose:
            return logging.DEBUG
        return logging.WARNING if self.quiet else logging.INFO

    def say(self, message: str) -> None:
        """Write a message for people."""
        if not (self.as_json or self.quiet):
            typer.echo(message)


@dataclass(frozen=True, slots=True)
class Project:
    """What every action needs: the root, the settings, and the terminal if one watches."""

    root: Path
    settings: "Settings"
    console: "Console | None"


@contextmanager
def _project(command: str, output: Output) -> Iterator[Project]:
    """Set up what an action needs, and turn an error of ours into messages and an exit code."""
    from mpt_tool import render

    root = Path.cwd()
    redact = _redact(root)
    try:
        with render.logs(sys.stderr, output.log_level, redact) as console:
            from mpt_tool.settings import load_settings

            yield Project(root, load_settings(root), console)
    except MptToolError as error:
        if error.__cause__ and isinstance(error, ScriptLoadError | MigrationFailedError):
            typer.echo(redact(render.script_traceback(error.__cause__)), err=True, nl=False)
        if output.as_json:
            render.json_document(command, {"error": redact(str(error))}, sys.stdout)
        typer.echo(redact(f"Error running {command} command: {error}"), err=True)
        typer.echo("Aborted.", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Aborted.", err=True)
        raise typer.Exit(INTERRUPTED) from None


def _redact(root: Path) -> "Redact":
    from dotenv import dotenv_values

    from mpt_tool.redaction import make_redact, secrets_in

    # It logs a line that it cannot parse: once is enough, when the settings are loaded.
    logging.getLogger("dotenv").addHandler(logging.NullHandler())
    try:
        from_file = dotenv_values(root / ".env")
    except (OSError, UnicodeDecodeError):  # loading the settings says so
        from_file = {}
    in_file = {name: value for name, value in from_file.items() if value}
    return make_redact(secrets_in({**in_file, **os.environ}))


def _now() -> datetime:
    return datetime.now(UTC)


def _run(migration_type: MigrationTypeEnum, migration_id: str | None, output: Output) -> None:
    output.say(f"Running {migration_type} migrations...")
    with _project(migration_type, output) as project:
        from mpt_tool import plan, render, runner
        from mpt_tool.storage import open_repository

        repository = open_repository(project.settings, project.root)
        entries = runner.sound_plan(project.settings.folder, repository)
        steps = runner.prepare(entries, migration_type, migration_id, project.root)
        applied = [] if migration_id else plan.applied(entries, migration_type)
        with render.progress(project.console, quiet=output.quiet) as reporter:
            outcome = runner.run(
                steps,
                [entry.migration_id for entry in applied],
                repository,
                _now,
                project.settings.service_version,
                reporter,
            )
        output.say(render.summary(outcome))
        if outcome.failure:
            raise outcome.failure
    if migration_type is MigrationTypeEnum.DATA:
        output.say("Migrations completed successfully.")
    else:
        output.say("schema migrations applied successfully.")


def _dry_run(migration_type: MigrationTypeEnum, migration_id: str | None, output: Output) -> None:
    # What the scripts import is not to leave compiled files behind.
    sys.dont_write_bytecode = True
    with _project(migration_type, output) as project:
        from mpt_tool import render, runner
        from mpt_tool.storage import open_repository

        repository = open_repository(project.settings, project.root)
        entries = runner.sound_plan(project.settings.folder, repository)
        # What a script prints while it is loaded is no part of the plan.
        with redirect_stdout(sys.stderr):
            steps = runner.prepare(entries, migration_type, migration_id, project.root)
        records = [step.record for step in steps]
        if output.as_json:
            documents = [render.record_document(record) for record in records]
            render.json_document(migration_type, {"would_run": documents}, sys.stdout)
        else:
            typer.echo(render.dry_run(records, migration_type))


def _fake(migration_id: str, output: Output) -> None:
    output.say(f"Running migration {migration_id} in fake mode.")
    with _project("fake", output) as project:
        from mpt_tool import runner
        from mpt_tool.storage import open_repository

        repository = open_repository(project.settings, project.root)
        entries = runner.sound_plan(project.settings.folder, repository)
        version = project.settings.service_version
        runner.fake(entries, migration_id, repository, _now, version, project.root)
    output.say(f"Migration {migration_id} applied successfully.")


def _scaffold(
    command: str, migration_id: str, migration_type: MigrationTypeEnum, output: Output
) -> None:
    output.say(f"Scaffolding migration: {migration_id}.")
    with _project(command, output) as project:
        from mpt_tool import scripts

        path = scripts.scaffold(project.settings.folder, migration_id, migration_type, _now())
    output.say(f"Migration file: {path.name} has been created.")


def _initialize(output: Output) -> None:
    output.say("Initializing migration tool...")
    with _project("init", output) as project:
        from mpt_tool.storage import open_repository

        created = open_repository(project.settings, project.root).initialize()
    for name in created:
        output.say(f"Created {name}.")
    output.say("Migration tool initialized successfully.")


def _list(output: Output) -> None:
    output.say("Listing migrations...")
    with _project("list", output) as project:
        from mpt_tool import render, runner, scripts
        from mpt_tool.storage import open_repository

        folder = project.settings.folder
        found = scripts.find(folder) if folder.exists() else []
        entries = runner.read_plan(found, open_repository(project.settings, project.root))
        if output.as_json:
            documents = [render.entry_document(entry) for entry in entries]
            render.json_document("list", {"migrations": documents}, sys.stdout)
        elif entries:
            render.status_table(entries, sys.stdout)
        else:
            typer.echo("No migrations found.")


def _check(output: Output) -> None:
    output.say("Checking migrations...")
    with _project("check", output) as project:
        from mpt_tool import render, scripts

        findings = scripts.check(scripts.find(project.settings.folder))
        if output.as_json:
            documents = [asdict(finding) for finding in findings]
            render.json_document("check", {"findings": documents}, sys.stdout)
            raise typer.Exit(FAILED if findings else DONE)
        for finding in findings:
            typer.echo(render.finding_line(finding))
        if findings:
            raise ScriptError(f"{len(findings)} problem(s) found in {project.settings.folder}")
    output.say("Migrations check passed successfully.")


def _complete(incomplete: str, migration_type: MigrationTypeEnum | None) -> list[str]:
    """Return the pending migrations of a type; at a TAB no mistake of the project is news.

    Only the local store is asked: a keystroke cannot wait for a network, so with any other store
    what is applied already is offered too.
    """
    from mpt_tool import plan, runner, scripts
    from mpt_tool.settings import load_settings
    from mpt_tool.storage.local import LocalRepository

    root = Path.cwd()
    try:
        settings = load_settings(root)
        repository = LocalRepository(root) if settings.storage_type == "local" else None
        entries = runner.read_plan(scripts.find(settings.folder), repository)
    except MptToolError:
        return []
    wanted = [migration_type] if migration_type else MigrationTypeEnum
    ids = {entry.migration_id for each in wanted for entry in plan.pending(entries, each)}
    return sorted(each for each in ids if each.startswith(incomplete))
