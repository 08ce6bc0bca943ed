"""`mpt-tool batch`: drives one batch migration."""

from typing import Annotated

import typer

from mpt_tool.cli import completion, running
from mpt_tool.cli.options import OUTPUT, NoColor, Quiet, Rules, Verbose, Version
from mpt_tool.cli.session import Output, session
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum

RESUME, LOOK = "Where to begin", "A look beforehand"
EXAMPLES = """\
 Examples
   mpt-tool batch sync_users                  run it, from where it was stopped
   mpt-tool batch sync_users --rehearse       process items, show what changes
   mpt-tool batch sync_users --retry-failed   handle just what failed
   mpt-tool batch sync_users --restart        begin at the first item again
"""
RULES = Rules(
    goes_with={
        "--limit": ("--dry-run", "--rehearse"),
        "--json": ("--dry-run", "--rehearse"),
        "--unguarded": ("--rehearse",),
    },
    excluding=(
        ("--restart", "--resume-anyway", "--retry-failed"),
        ("--retry-failed", "--dry-run"),
        ("--retry-failed", "--rehearse"),
        ("--verbose", "--quiet"),
    ),
)

MigrationId = Annotated[
    str,
    typer.Argument(
        metavar="MIGRATION_ID",
        help="The batch migration.",
        autocompletion=completion.batch_ids,
    ),
]
Restart = Annotated[
    bool, RULES.option("--restart", help="begin at the first item again.", panel=RESUME)
]
ResumeAnyway = Annotated[
    bool,
    RULES.option(
        "--resume-anyway", help="go on although the script was changed meanwhile.", panel=RESUME
    ),
]
RetryFailed = Annotated[
    bool,
    RULES.option("--retry-failed", help="handle just the items that failed.", panel=RESUME),
]
DryRun = Annotated[
    bool,
    RULES.option("--dry-run", help="show which items a run would handle.", panel=LOOK),
]
Rehearse = Annotated[
    bool,
    RULES.option("--rehearse", help="process the items, write nothing.", panel=LOOK),
]
Unguarded = Annotated[
    bool,
    RULES.option("--unguarded", help="though nothing keeps the script from writing.", panel=LOOK),
]
Limit = Annotated[
    int | None,
    RULES.option(
        "--limit",
        min=1,
        metavar="N",
        help=f"look at so many items at most; {running.DEFAULT_LIMIT:,} without it.",
        panel=LOOK,
    ),
]
Wait = Annotated[
    float | None,
    RULES.option("--wait", min=0, metavar="SECONDS", help="wait that long for another run's lock."),
]
AsJson = Annotated[bool, RULES.option("--json", help="write one JSON document.", panel=OUTPUT)]


def batch(
    context: typer.Context,
    migration_id: MigrationId,
    restart: Restart = False,
    resume_anyway: ResumeAnyway = False,
    retry_failed: RetryFailed = False,
    dry_run: DryRun = False,
    rehearse: Rehearse = False,
    unguarded: Unguarded = False,
    limit: Limit = None,
    wait: Wait = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Run one batch migration: resume it, restart it, rehearse it."""
    RULES.require(context)
    output = Output(as_json=as_json, verbose=verbose, quiet=quiet)
    request = running.Request(
        MigrationTypeEnum.DATA,
        migration_id,
        wait or 0,
        is_batch=True,
        resume=_resume(restart=restart, anyway=resume_anyway, retry_failed=retry_failed),
        limit=limit or running.DEFAULT_LIMIT,
        rehearses=rehearse,
        allows_unguarded=unguarded,
    )
    looks = dry_run or rehearse
    announcement = "" if looks else f"Running batch migration {migration_id}..."
    perform = running.dry_run if looks else running.run
    with session("batch", output, announcement) as opened:
        opened.write(perform(opened, request))


def _resume(*, restart: bool, anyway: bool, retry_failed: bool) -> ResumeEnum:
    if restart:
        return ResumeEnum.RESTART
    if anyway:
        return ResumeEnum.ANYWAY
    return ResumeEnum.RETRY_FAILED if retry_failed else ResumeEnum.IF_UNCHANGED
