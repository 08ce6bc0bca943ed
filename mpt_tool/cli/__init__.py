"""The command line: options in, one call, one view, an exit code out."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from mpt_tool.cli import actions
from mpt_tool.cli.actions import DEFAULT_LIMIT
from mpt_tool.cli.session import Output
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import ExitCode
from mpt_tool.process.streams import lost_output, prepare_streams

RUN, BATCH, CREATE = "Run", "Batch migrations: with --data MIGRATION_ID", "Create"
INSPECT, OUTPUT = "Inspect", "Output"
EXAMPLES = """\
[bold]Examples[/bold]

mpt-tool migrate --new-data sync_users      create migrations/<timestamp>_sync_users.py

mpt-tool migrate --new-schema add_column    create one that runs before the release

mpt-tool migrate --schema                   run all pending schema migrations

mpt-tool migrate --data                     run all pending data migrations

mpt-tool migrate --data sync_users          run just this one

mpt-tool migrate --data --dry-run           show what would run

mpt-tool migrate --data sync_users --restart  begin a batch migration anew

mpt-tool migrate --fake sync_users          mark it as applied without running it

mpt-tool migrate --unlock web-1:4711:1a2b   take the lock from a run that is dead

mpt-tool migrate --list --json              show where every migration stands

mpt-tool migrate --pending --type schema    exit with 3 if a schema migration is pending

mpt-tool migrate --history sync_users       show every attempt at it in full

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
    prepare_streams()
    _settle_colour()
    try:
        app()
    except SystemExit as end:
        if error := lost_output():
            typer.echo(f"Error: {error}", err=True)
            end.code = end.code or ExitCode.FAILED
        raise


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
    from mpt_tool.cli.completion import pending_ids

    for migration_type in MigrationTypeEnum:
        if context.params.get(migration_type):
            return pending_ids(Path.cwd(), incomplete, migration_type)
    return []


def _complete_id_to_fake(incomplete: str) -> list[str]:
    """Complete --fake: what is pending, of either type."""
    from mpt_tool.cli.completion import pending_ids

    return pending_ids(Path.cwd(), incomplete, None)


@app.command(epilog=EXAMPLES)
def migrate(
    context: typer.Context,
    migration_id: Annotated[
        str | None,
        typer.Argument(
            metavar="MIGRATION_ID",
            help="With --data or --schema: run just this migration. With --history: show it.",
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
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            metavar="N",
            help="With --dry-run of a batch migration: look at so many items at most.",
            rich_help_panel=BATCH,
        ),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="With --dry-run of a batch migration: process the items, but refuse all writes.",
            rich_help_panel=BATCH,
        ),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin at the first item again.", rich_help_panel=BATCH),
    ] = False,
    resume_anyway: Annotated[
        bool,
        typer.Option(
            "--resume-anyway",
            help="Go on although the script was changed meanwhile.",
            rich_help_panel=BATCH,
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Handle just the items that failed.", rich_help_panel=BATCH
        ),
    ] = False,
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait",
            min=0,
            metavar="SECONDS",
            help="With --data, --schema, --fake or --init: wait that long for another run's lock.",
            rich_help_panel=RUN,
        ),
    ] = None,
    unlock: Annotated[
        str | None,
        typer.Option(
            metavar="HOLDER",
            help="Take the lock away from a holder that cannot be alive.",
            rich_help_panel=RUN,
        ),
    ] = None,
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
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="With --new-data: one that walks over items and can be resumed.",
            rich_help_panel=CREATE,
        ),
    ] = False,
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
    pending: Annotated[
        bool,
        typer.Option(
            "--pending",
            help="List what is pending; exit with 3 if anything is.",
            rich_help_panel=INSPECT,
        ),
    ] = False,
    type_: Annotated[
        MigrationTypeEnum | None,
        typer.Option("--type", help="With --pending: of this type only.", rich_help_panel=INSPECT),
    ] = None,
    history: Annotated[
        bool,
        typer.Option(
            "--history",
            help="Show all attempts, or those at one migration in full.",
            rich_help_panel=INSPECT,
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check all scripts without importing them.", rich_help_panel=INSPECT
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="With --check: hold the scripts against the store too.",
            rich_help_panel=INSPECT,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="With an action that inspects, or --dry-run: write one JSON document.",
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
    seconds = wait or 0.0

    resumptions = {
        ResumeEnum.RESTART: restart,
        ResumeEnum.ANYWAY: resume_anyway,
        ResumeEnum.RETRY_FAILED: retry_failed,
    }
    resume = next((each for each, wanted in resumptions.items() if wanted), ResumeEnum.IF_UNCHANGED)

    def run(migration_type: MigrationTypeEnum) -> None:
        if dry_run and (limit or rehearse):
            look = actions.Look(limit or DEFAULT_LIMIT, rehearse)
            actions.dry_run(migration_type, migration_id, output, resume, look)
        elif dry_run:
            actions.dry_run(migration_type, migration_id, output, resume)
        else:
            actions.run(migration_type, migration_id, seconds, output, resume)

    def scaffold(migration_type: MigrationTypeEnum, name: str | None) -> None:
        actions.scaffold(migration_type, str(name), output, batch=batch)

    given: dict[str, tuple[bool, Callable[[], None]]] = {
        "--data": (data, lambda: run(MigrationTypeEnum.DATA)),
        "--schema": (schema, lambda: run(MigrationTypeEnum.SCHEMA)),
        "--fake": (fake is not None, lambda: actions.fake(str(fake), seconds, output)),
        "--unlock": (unlock is not None, lambda: actions.unlock(str(unlock), output)),
        "--new-data": (new_data is not None, lambda: scaffold(MigrationTypeEnum.DATA, new_data)),
        "--new-schema": (
            new_schema is not None,
            lambda: scaffold(MigrationTypeEnum.SCHEMA, new_schema),
        ),
        "--init": (init, lambda: actions.initialize(seconds, output)),
        "--list": (list_, lambda: actions.list_(output)),
        "--pending": (pending, lambda: actions.pending(type_, output)),
        "--history": (history, lambda: actions.history(migration_id, output)),
        "--check": (check, lambda: actions.check(output, strict=strict)),
    }
    chosen = [act for is_given, act in given.values() if is_given]
    runs = data or schema
    writes = runs or fake is not None or init
    reports = list_ or pending or history or check or dry_run
    mistakes = {
        f"use exactly one of {', '.join(given)}": len(chosen) != 1,
        "MIGRATION_ID goes with --data, --schema or --history": migration_id is not None
        and not (runs or history),
        "--dry-run goes with --data or --schema": dry_run and not runs,
        "--limit and --rehearse go with --data MIGRATION_ID --dry-run": bool(limit or rehearse)
        and not (data and dry_run and migration_id),
        "--restart, --resume-anyway and --retry-failed go with --data MIGRATION_ID": any(
            resumptions.values()
        )
        and not (data and migration_id),
        "--restart, --resume-anyway and --retry-failed exclude each other": sum(
            resumptions.values()
        )
        > 1,
        "--retry-failed and --dry-run exclude each other": retry_failed and dry_run,
        "--batch goes with --new-data": batch and new_data is None,
        "--wait goes with --data, --schema, --fake or --init": wait is not None and not writes,
        "--type goes with --pending": type_ is not None and not pending,
        "--strict goes with --check": strict and not check,
        "--json goes with --list, --pending, --history, --check or --dry-run": as_json
        and not reports,
        "--verbose and --quiet exclude each other": verbose and quiet,
    }
    for mistake, made in mistakes.items():
        if made:
            context.fail(mistake)
    chosen[0]()
