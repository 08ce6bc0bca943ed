"""`mpt-tool migrate`: the published interface, one action at a time."""

import os
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from mpt_tool.cli import completion, running
from mpt_tool.cli.options import (
    CREATE,
    INSPECT,
    OUTPUT,
    RUN,
    Folder,
    NoColor,
    Quiet,
    Rules,
    Verbose,
    Version,
)
from mpt_tool.cli.session import Output, Session, now, session
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import ScriptError, StorageError

if TYPE_CHECKING:
    from mpt_tool.view.results import Result

EXAMPLES = """\
 Examples
   mpt-tool migrate --new-data sync_users     create a data migration
   mpt-tool migrate --new-schema add_column   create one for before a release
   mpt-tool migrate --schema                  run all pending schema migrations
   mpt-tool migrate --data                    run all pending data migrations
   mpt-tool migrate --data sync_users         run just this one
   mpt-tool migrate --data --dry-run          show what would run
   mpt-tool migrate --fake sync_users         mark it as applied, do not run it
   mpt-tool migrate --list --json             show where every migration stands
   mpt-tool migrate --check                   look for mistakes in the folder
   mpt-tool migrate --init                    create the state file or table
"""

RULES = Rules(
    one_of=(
        *("--data", "--schema", "--fake", "--new-data", "--new-schema"),
        *("--init", "--list", "--check"),
    ),
    goes_with={
        "MIGRATION_ID": ("--data", "--schema"),
        "--dry-run": ("--data", "--schema"),
        "--batch": ("--new-data",),
        "--wait": ("--data", "--schema", "--fake", "--init"),
        "--strict": ("--check",),
        "--missing-ok": ("--check",),
        "--json": ("--list", "--check", "--dry-run"),
    },
)
# What is said for people before an action begins; {} is the id that was given.
_ANNOUNCEMENTS = {
    "--data": "Running data migrations...",
    "--schema": "Running schema migrations...",
    "--fake": "Running migration {} in fake mode.",
    "--new-data": "Scaffolding migration: {}.",
    "--new-schema": "Scaffolding migration: {}.",
    "--init": "Initializing migration tool...",
    "--list": "Listing migrations...",
    "--check": "Checking migrations...",
}

MigrationId = Annotated[
    str | None,
    typer.Argument(
        metavar="MIGRATION_ID",
        help=RULES.help("MIGRATION_ID", "run just this migration."),
        autocompletion=completion.ids_to_run,
    ),
]
Data = Annotated[bool, RULES.option("--data", help="run pending data migrations.", panel=RUN)]
Schema = Annotated[bool, RULES.option("--schema", help="run pending schema migrations.", panel=RUN)]
Fake = Annotated[
    str | None,
    RULES.option(
        "--fake",
        "--manual",
        metavar="MIGRATION_ID",
        help="mark it as applied, do not run it.",
        panel=RUN,
        autocompletion=completion.ids_to_fake,
    ),
]
DryRun = Annotated[
    bool,
    RULES.option("--dry-run", help="show what would run; change nothing.", panel=RUN),
]
Wait = Annotated[
    float | None,
    RULES.option(
        "--wait",
        min=0,
        metavar="SECONDS",
        help="wait so long for the lock.",
        panel=RUN,
    ),
]
NewData = Annotated[
    str | None,
    RULES.option(
        "--new-data", metavar="NAME", help="create a data migration script.", panel=CREATE
    ),
]
NewSchema = Annotated[
    str | None,
    RULES.option(
        "--new-schema", metavar="NAME", help="create a schema migration script.", panel=CREATE
    ),
]
Batch = Annotated[
    bool,
    RULES.option("--batch", help="one that goes from item to item.", panel=CREATE),
]
Init = Annotated[
    bool,
    RULES.option(
        "--init",
        help="create the folder and the state file or table, or the columns that it lacks.",
        panel=CREATE,
    ),
]
List = Annotated[
    bool, RULES.option("--list", help="list all migrations and their status.", panel=INSPECT)
]
Check = Annotated[
    bool,
    RULES.option("--check", help="check all scripts without importing them.", panel=INSPECT),
]
Strict = Annotated[
    bool,
    RULES.option("--strict", help="hold the scripts against the store too.", panel=INSPECT),
]
MissingOk = Annotated[
    bool,
    RULES.option("--missing-ok", help="the folder may be missing.", panel=INSPECT),
]
AsJson = Annotated[bool, RULES.option("--json", help="write one JSON document.", panel=OUTPUT)]


def migrate(
    context: typer.Context,
    migration_id: MigrationId = None,
    data: Data = False,
    schema: Schema = False,
    fake: Fake = None,
    dry_run: DryRun = False,
    wait: Wait = None,
    new_data: NewData = None,
    new_schema: NewSchema = None,
    batch: Batch = False,
    init: Init = False,
    list_: List = False,
    check: Check = False,
    strict: Strict = False,
    missing_ok: MissingOk = False,
    folder: Folder = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Create, run, list and check migrations: one action at a time."""
    action = RULES.require(context)
    command = action.replace("-", "")
    output = Output(as_json=as_json, verbose=verbose, quiet=quiet)
    given_id = fake or new_data or new_schema or ""
    announcement = "" if dry_run else _ANNOUNCEMENTS[action].format(given_id)
    with session(command, output, announcement, folder=folder) as opened:
        match action:
            case "--data" | "--schema":
                request = running.Request(MigrationTypeEnum(command), migration_id, wait or 0)
                perform = running.dry_run if dry_run else running.run
                result = perform(opened, request)
            case "--fake":
                result = _fake(opened, given_id, wait or 0)
            case "--new-data":
                result = _scaffold(opened, MigrationTypeEnum.DATA, given_id, batch=batch)
            case "--new-schema":
                result = _scaffold(opened, MigrationTypeEnum.SCHEMA, given_id)
            case "--init":
                result = _initialize(opened, wait or 0)
            case "--list":
                result = _list(opened)
            case _:
                result = _check(opened, strict=strict, missing_ok=missing_ok)
        opened.write(result)


def _fake(session: Session, migration_id: str, wait: float) -> "Result":
    """Mark a migration as applied without running it."""
    from mpt_tool.project import plan_of
    from mpt_tool.runner import run as runs
    from mpt_tool.settings import env_file_exported
    from mpt_tool.view.progress import LogReporter
    from mpt_tool.view.results import Result

    project = session.project
    context = session.context(LogReporter())
    scripts, repository = project.scripts(), project.repository
    with (
        env_file_exported(project.root),
        repository.lock(context.origin, wait, session.stop.lose_lock),
    ):
        entries = plan_of(scripts, repository.load())
        runs.fake(entries, migration_id, repository, context, project.root)
    return Result(said=[f"Migration {migration_id} applied successfully."])


def _scaffold(
    session: Session, migration_type: MigrationTypeEnum, migration_id: str, *, batch: bool = False
) -> "Result":
    """Create a script."""
    from mpt_tool.scripts.scaffold import scaffold
    from mpt_tool.view.results import Result

    project = session.project
    path = scaffold(project.folder, migration_id, migration_type, now(), batch=batch)
    name = path if project.is_elsewhere else path.name
    return Result(said=[f"Migration file: {name} has been created."])


def _initialize(session: Session, wait: float) -> "Result":
    """Create what the store lacks, and the migrations folder."""
    from mpt_tool.scripts import folder
    from mpt_tool.view.results import Result

    repository = session.project.repository
    with ExitStack() as held:
        # A store that is still to be created has no place for a lock.
        with suppress(StorageError):
            held.enter_context(repository.lock(session.origin(), wait, session.stop.lose_lock))
        created = [*repository.initialize()]
    if folder.create(session.project.folder):
        created.append(f"folder {session.project.folder}")
    done = "Migration tool initialized successfully."
    return Result(said=[*(f"Created {name}." for name in created), done])


def _list(session: Session) -> "Result":
    """Show all migrations and where they stand."""
    from mpt_tool.project import plan_of
    from mpt_tool.scripts.folder import find
    from mpt_tool.view.results import Listing, Result

    project = session.project
    scripts = find(project.folder) if os.path.lexists(project.folder) else []
    snapshot = project.repository.load()
    entries = plan_of(scripts, snapshot, project.attempts_if_any())
    return Result(Listing(entries, project.store_notes(entries, snapshot.missing)))


def _check(session: Session, *, strict: bool, missing_ok: bool) -> "Result":
    """Report everything that is wrong with the scripts; if strict, held against the store too."""
    from mpt_tool.project import plan_of
    from mpt_tool.scripts import check
    from mpt_tool.scripts.folder import find
    from mpt_tool.view.results import Findings, Result

    project = session.project
    if missing_ok and not os.path.lexists(project.folder):
        return Result(Findings([]), [f"Nothing to check: there is no folder {project.folder}."])
    scripts = find(project.folder, project.searched)
    findings = check.check(scripts)
    if strict:
        snapshot = project.repository.load()
        entries = plan_of(scripts, snapshot, project.attempts())
        findings += check.drift(entries, project.store_notes(entries, snapshot.missing))
    if findings:
        failure = ScriptError(f"{len(findings)} problem(s) found in {project.folder}")
        return Result(Findings(findings), failure=failure)
    return Result(Findings([]), ["Migrations check passed successfully."])
