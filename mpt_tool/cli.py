"""The command line: options in, one call, one view, an exit code out."""

import logging
import os
import shutil
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
from mpt_tool.errors import ExitCode, MptToolError, ScriptError, ScriptFailedError

if TYPE_CHECKING:
    from mpt_tool.plan import Entry
    from mpt_tool.settings import Settings
    from mpt_tool.storage import StateRepository

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
    _prepare_streams()
    _settle_colour()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        # Nothing more can be written there, not even by Python when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that has gone, as `head` goes, is no mistake.
        if not isinstance(error, BrokenPipeError):
            typer.echo(f"Error: {error}", err=True)
            sys.exit(ExitCode.FAILED)


def _prepare_streams() -> None:
    """Replace the streams that somebody closed, and escape what the encoding of stdout lacks."""
    nowhere = Path(os.devnull)
    if sys.stdout is None or sys.stdout.closed:
        sys.stdout = nowhere.open("w", encoding="utf-8")
    if sys.stderr is None or sys.stderr.closed:
        sys.stderr = nowhere.open("w", encoding="utf-8")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _settle_colour() -> None:
    """Let Typer and Rich have colour only on a terminal, or if forced, and not if forbidden."""
    # Rich's own wish for colour where nothing is a terminal, and what old Rich takes for one.
    os.environ.pop("TTY_COMPATIBLE", None)
    if not os.environ.get("FORCE_COLOR"):
        os.environ.pop("FORCE_COLOR", None)
    if "--no-color" in sys.argv or os.environ.get("NO_COLOR"):
        width, height = shutil.get_terminal_size()
        os.environ.update(NO_COLOR="1", TERM="dumb", COLUMNS=str(width), LINES=str(height))
    elif os.environ.keys() & {"GITHUB_ACTIONS", "PY_COLORS"} and not os.environ.get("FORCE_COLOR"):
        # Typer takes these for a wish for colour, even where nothing is a terminal.
        from typer import rich_utils

        rich_utils.FORCE_TERMINAL = None


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


def _complete_id_to_run(context: typer.Context, incomplete: str) -> list[str]:
    """Complete MIGRATION_ID: what is pending, of the type that is to run."""
    from mpt_tool.completion import pending_ids

    for migration_type in MigrationTypeEnum:
        if context.params.get(migration_type):
            return pending_ids(Path.cwd(), incomplete, migration_type)
    return []


def _complete_id_to_fake(incomplete: str) -> list[str]:
    """Complete --fake: what is pending, of either type."""
    from mpt_tool.completion import pending_ids

    return pending_ids(Path.cwd(), incomplete, None)


@app.command(epilog=EXAMPLES)
def migrate(
    context: typer.Context,
    migration_id: Annotated[
        str | None,
        typer.Argument(
            metavar="MIGRATION_ID",
            help="With --data or --schema: run just this migration.",
            autocompletion=_complete_id_to_run,
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
            autocompletion=_complete_id_to_fake,
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
            context.fail(mistake)
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
    """What every action needs."""

    root: Path
    settings: "Settings"


@contextmanager
def _action(command: str, output: Output) -> Iterator[Project]:
    """Set up what an action needs, and turn an error of ours into messages and an exit code.

    Raises:
        typer.Exit: the action failed; the messages are written.
    """
    from mpt_tool.logs import logs
    from mpt_tool.redaction import make_redact, secrets_in
    from mpt_tool.settings import load_settings, read_env_file

    redact = make_redact(secrets_in({**read_env_file(Path()), **os.environ}))
    try:
        with logs(output.log_level, redact):
            root = _working_folder()
            yield Project(root, load_settings(root))
    except MptToolError as error:
        from mpt_tool import render

        if isinstance(error, ScriptFailedError) and error.__cause__:
            typer.echo(redact(render.script_traceback(error.__cause__)), err=True, nl=False)
        if output.as_json:
            render.json_document(command, {"error": redact(str(error))}, sys.stdout)
        typer.echo(redact(f"Error running {command} command: {error}"), err=True)
        typer.echo("Aborted.", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Aborted.", err=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise MptToolError("The working folder is gone: change to the project's root") from error


def _open_plan(project: Project) -> "tuple[StateRepository, list[Entry]]":
    """Return the store, and the plan of a folder whose names leave no doubt about what is to run.

    Raises:
        MptToolError: the settings, the folder, a name in it or the store is wrong.
    """
    from mpt_tool import runner, scripts
    from mpt_tool.storage import open_repository

    repository = open_repository(project.settings, project.root)
    found = scripts.find(project.settings.folder)
    scripts.require_sound(found)
    return repository, runner.read_plan(found, repository)


def _now() -> datetime:
    return datetime.now(UTC)


def _run(migration_type: MigrationTypeEnum, migration_id: str | None, output: Output) -> None:
    output.say(f"Running {migration_type} migrations...")
    with _action(migration_type, output) as project:
        from mpt_tool import render, runner
        from mpt_tool.progress import LiveReporter, SilentReporter
        from mpt_tool.terminal import is_live

        repository, entries = _open_plan(project)
        prepared = runner.prepare(entries, migration_type, migration_id, project.root)
        shows_progress = is_live(sys.stderr) and not output.quiet
        reporter = LiveReporter(sys.stdout, sys.stderr) if shows_progress else SilentReporter()
        version = project.settings.service_version
        outcome = runner.run(prepared, repository, _now, version, reporter)
        # A script may have closed one of them.
        _prepare_streams()
        if outcome.failure:
            typer.echo(render.summary(outcome))
            raise outcome.failure
        output.say(render.summary(outcome))
    if migration_type is MigrationTypeEnum.DATA:
        output.say("Migrations completed successfully.")
    else:
        output.say("schema migrations applied successfully.")


def _dry_run(migration_type: MigrationTypeEnum, migration_id: str | None, output: Output) -> None:
    # What the scripts import is not to leave compiled files behind.
    sys.dont_write_bytecode = True
    with _action(migration_type, output) as project:
        from mpt_tool import render, runner

        _, entries = _open_plan(project)
        # What a script prints while it is loaded is no part of the plan.
        with redirect_stdout(sys.stderr):
            prepared = runner.prepare(entries, migration_type, migration_id, project.root)
        records = [step.record for step in prepared.steps]
        if output.as_json:
            documents = [render.record_document(record) for record in records]
            render.json_document(migration_type, {"would_run": documents}, sys.stdout)
        else:
            typer.echo(render.dry_run(records, migration_type))


def _fake(migration_id: str, output: Output) -> None:
    output.say(f"Running migration {migration_id} in fake mode.")
    with _action("fake", output) as project:
        from mpt_tool import runner

        repository, entries = _open_plan(project)
        version = project.settings.service_version
        runner.fake(entries, migration_id, repository, _now, version, project.root)
    output.say(f"Migration {migration_id} applied successfully.")


def _scaffold(
    command: str, migration_id: str, migration_type: MigrationTypeEnum, output: Output
) -> None:
    output.say(f"Scaffolding migration: {migration_id}.")
    with _action(command, output) as project:
        from mpt_tool import scripts

        path = scripts.scaffold(project.settings.folder, migration_id, migration_type, _now())
    output.say(f"Migration file: {path.name} has been created.")


def _initialize(output: Output) -> None:
    output.say("Initializing migration tool...")
    with _action("init", output) as project:
        from mpt_tool.storage import open_repository

        created = open_repository(project.settings, project.root).initialize()
    for name in created:
        output.say(f"Created {name}.")
    output.say("Migration tool initialized successfully.")


def _list(output: Output) -> None:
    output.say("Listing migrations...")
    with _action("list", output) as project:
        from mpt_tool import render, runner, scripts
        from mpt_tool.storage import open_repository

        folder = project.settings.folder
        found = scripts.find(folder) if os.path.lexists(folder) else []
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
    with _action("check", output) as project:
        from mpt_tool import render, scripts

        findings = scripts.check(scripts.find(project.settings.folder))
        if output.as_json:
            documents = [asdict(finding) for finding in findings]
            render.json_document("check", {"findings": documents}, sys.stdout)
            raise typer.Exit(ExitCode.FAILED if findings else ExitCode.DONE)
        for finding in findings:
            typer.echo(render.finding_line(finding))
        if findings:
            raise ScriptError(f"{len(findings)} problem(s) found in {project.settings.folder}")
    output.say("Migrations check passed successfully.")
