"""`mpt-tool migrate`: the published interface, one action at a time."""

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import CODE_QUALITY, JSON, command
from mpt_tool.cli.options import Rules, as_migration_id, folders
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.errors import ScriptError, StorageError
from mpt_tool.view.results import Findings, Listing, Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

RUN, CREATE, INSPECT = "Run", "Create", "Inspect"
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

# The actions, and what is said for people before each begins.
_ANNOUNCEMENTS = {
    "--data": "Running data migrations...",
    "--schema": "Running schema migrations...",
    "--fake": "Running migration {fake} in fake mode.",
    "--new-data": "Scaffolding migration: {new_data}.",
    "--new-schema": "Scaffolding migration: {new_schema}.",
    "--init": "Initializing migration tool...",
    "--list": "Listing migrations...",
    "--check": "Checking migrations...",
}
RULES = Rules(
    one_of=list(_ANNOUNCEMENTS),
    goes_with={
        "MIGRATION_ID": ("--data", "--schema"),
        "--dry-run": ("--data", "--schema"),
        "--target": ("MIGRATION_ID", "--fake"),
        "--anew": ("MIGRATION_ID",),
        "--batch": ("--new-data",),
        "--wait": ("--data", "--schema", "--fake", "--init"),
        "--strict": ("--check",),
        "--missing-ok": ("--check",),
        "--code-quality": ("--check",),
        "--json": ("--list", "--check", "--dry-run"),
    },
    excluding=[("--json", "--code-quality")],
)
_INIT = "create the folder and the store, or what it lacks."
_FOLDER = "the migrations folder, in place of the setting's."
_flag, _option = RULES.flag, RULES.option


@command(RULES, {**JSON, **CODE_QUALITY}, _ANNOUNCEMENTS)
def migrate(
    session: "Session",
    migration_id: str | None = RULES.migration_id(
        "run just this migration.", completion.ids_to_run, None
    ),
    data: bool = _flag("--data", "run pending data migrations.", RUN),
    schema: bool = _flag("--schema", "run pending schema migrations.", RUN),
    fake: str | None = _option(
        "--fake --manual",
        "mark it as applied, do not run it.",
        RUN,
        metavar="MIGRATION_ID",
        autocompletion=completion.ids_to_fake,
        callback=as_migration_id,
    ),
    target: str | None = _option(
        "--target", "just for this one of its targets.", RUN, metavar="NAME"
    ),
    anew: bool = _flag("--anew", "run it anew.", RUN),
    dry_run: bool = _flag("--dry-run", "show what would run; change nothing.", RUN),
    wait: float | None = _option(
        "--wait", "wait so long for the lock.", RUN, min=0, metavar="SECONDS"
    ),
    new_data: str | None = _option(
        "--new-data", "create a data migration script.", CREATE, metavar="NAME"
    ),
    new_schema: str | None = _option(
        "--new-schema", "create a schema migration script.", CREATE, metavar="NAME"
    ),
    batch: bool = _flag("--batch", "one that goes from item to item.", CREATE),
    init: bool = _flag("--init", _INIT, CREATE),
    list_: bool = _flag("--list", "list all migrations and their status.", INSPECT),
    check: bool = _flag("--check", "check all scripts without importing them.", INSPECT),
    strict: bool = _flag("--strict", "hold the scripts against the store too.", INSPECT),
    missing_ok: bool = _flag("--missing-ok", "the folder may be missing.", INSPECT),
    folder: Path | None = _option("--folder", _FOLDER, metavar="PATH", autocompletion=folders),
) -> Result:
    """Create, run, list and check migrations: one action at a time."""
    given_id = fake or new_data or new_schema or ""
    match session.command:
        case "data" | "schema":
            from mpt_tool.cli import running
            from mpt_tool.runner.prepare import Selection

            migration_type = MigrationTypeEnum(session.command)
            resume = ResumeEnum.RESTART if anew else ResumeEnum.IF_UNCHANGED
            selection = Selection(migration_type, migration_id, resume, target or "")
            if dry_run:
                return running.dry_run(session, selection)
            return running.run(session, selection, wait)
        case "fake":
            from mpt_tool.cli import running

            return running.fake(session, given_id, target or "", wait)
        case "newdata" | "newschema":
            return _scaffold(session, given_id, batch=batch)
        case "init":
            return _initialize(session, wait)
        case "list":
            return _list(session)
        case _:
            return _check(session, strict=strict, missing_ok=missing_ok)


def _scaffold(session: "Session", name: str, *, batch: bool) -> Result:
    """Create a script of the type that the command is for."""
    from mpt_tool.cli.session import now
    from mpt_tool.scripts.scaffold import scaffold

    project, migration_type = (
        session.project,
        MigrationTypeEnum(session.command.removeprefix("new")),
    )
    path = scaffold(project.folder, name, migration_type, now(), batch=batch)
    created = path if project.is_elsewhere else path.name
    return Result(said=[f"Migration file: {created} has been created."])


def _initialize(session: "Session", wait: float | None) -> Result:
    """Create what the store lacks, and the migrations folder."""
    from mpt_tool.scripts import folder

    project, repository = session.project, session.store
    with ExitStack() as held:
        # A store that is still to be created has no place for a lock.
        with suppress(StorageError):
            held.enter_context(session.lock(wait))
        created = [*repository.initialize()]
    if folder.create(project.folder):
        created.append(f"folder {project.folder}")
    done = "Migration tool initialized successfully."
    return Result(said=[*(f"Created {name}." for name in created), done])


def _list(session: "Session") -> Result:
    """Show all migrations and where they stand."""
    from mpt_tool.scripts.plan import by_target
    from mpt_tool.view.status import standing

    project = session.project
    scripts, snapshot = project.scripts_if_any(), project.repository.load()
    entries = project.plan(scripts, snapshot, project.attempts_if_any())
    by_targets = session.output.verbose and not session.output.as_json
    shown = by_target(entries) if by_targets else entries
    notes = [*project.strays(), *project.store_notes(entries, snapshot.missing)]
    next_ = project.next_command(entries, snapshot.holder)
    return Result(Listing(shown, notes), standing(entries, next_))


def _check(session: "Session", *, strict: bool, missing_ok: bool) -> Result:
    """Report everything that is wrong with the scripts; if strict, held against the store too."""
    from mpt_tool.scripts import check
    from mpt_tool.scripts.folder import find
    from mpt_tool.storage.repository import warnings_of

    project = session.project
    if missing_ok and not os.path.lexists(project.folder):
        return Result(Findings([]), [f"Nothing to check: there is no folder {project.folder}."])
    scripts = find(project.folder, project.searched)
    if strict:
        snapshot = project.repository.load()
        entries = project.plan(scripts, snapshot, project.attempts())
        findings = check.check(scripts, {each.migration_id for each in entries if each.is_applied})
        notes = [
            *project.store_notes(entries, snapshot.missing),
            *warnings_of(project.repository),
        ]
        findings += check.drift(entries, notes)
    else:
        findings = check.check(scripts)
    if findings:
        failure = ScriptError(f"{len(findings)} problem(s) found in {project.folder}")
        return Result(Findings(findings), failure=failure)
    notes = [f"Note: {stray}." for stray in project.strays()]
    return Result(Findings([]), [*notes, "Migrations check passed successfully."])
