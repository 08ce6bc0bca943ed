"""`mpt-tool batch`: drives one batch migration."""

from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import DEFAULT_LIMIT, Rules
from mpt_tool.enums import MigrationTypeEnum, ResumeEnum
from mpt_tool.view.results import Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

RESUME, LOOK = "Where to begin", "A look beforehand"
EXAMPLES = """\
 Examples
   mpt-tool batch sync_users                  run it, from where it was stopped
   mpt-tool batch sync_users --rehearse       process items, refuse all writes
   mpt-tool batch sync_users --retry-failed   handle just what failed
   mpt-tool batch sync_users --restart        begin at the first item again
"""
RULES = Rules(
    goes_with={"--limit": ("--dry-run", "--rehearse"), "--json": ("--dry-run", "--rehearse")},
    excluding=[
        ("--restart", "--resume-anyway", "--retry-failed"),
        ("--retry-failed", "--dry-run"),
        ("--retry-failed", "--rehearse"),
    ],
)
_ANNOUNCEMENTS = {"batch": "Running batch migration {migration_id}..."}
ANYWAY = "go on although the script was changed meanwhile."
LIMIT = f"look at so many items at most; {DEFAULT_LIMIT:,} without it."
WAIT = "wait that long for another run's lock."
_flag, _option = RULES.flag, RULES.option


@command(RULES, announcements=_ANNOUNCEMENTS)
def batch(
    session: "Session",
    migration_id: str = RULES.argument(
        "MIGRATION_ID", "the batch migration.", completion.batch_ids
    ),
    restart: bool = _flag("--restart", "begin at the first item again.", RESUME),
    resume_anyway: bool = _flag("--resume-anyway", ANYWAY, RESUME),
    retry_failed: bool = _flag("--retry-failed", "handle just the items that failed.", RESUME),
    dry_run: bool = _flag("--dry-run", "show which items a run would handle.", LOOK),
    rehearse: bool = _flag("--rehearse", "process the items, but refuse all writes.", LOOK),
    limit: int | None = _option("--limit", LIMIT, LOOK, min=1, metavar="N"),
    wait: float | None = _option("--wait", WAIT, min=0, metavar="SECONDS"),
) -> Result:
    """Run one batch migration: resume it, restart it, rehearse it."""
    from mpt_tool.cli import running

    asked = {
        ResumeEnum.RESTART: restart,
        ResumeEnum.ANYWAY: resume_anyway,
        ResumeEnum.RETRY_FAILED: retry_failed,
    }
    resume = next((each for each in asked if asked[each]), ResumeEnum.IF_UNCHANGED)
    request = running.Request(MigrationTypeEnum.DATA, migration_id, is_batch=True, resume=resume)
    if dry_run or rehearse:
        return running.dry_run(session, request, limit or DEFAULT_LIMIT, rehearses=rehearse)
    return running.run(session, request, wait or 0)
