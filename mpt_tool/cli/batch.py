"""`mpt-tool batch`: drives one batch migration."""

from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import DEFAULT_LIMIT, Rules, finite
from mpt_tool.enums import ResumeEnum
from mpt_tool.view.results import Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

OTHERWISE, PACE = "Instead of just going on", "How much, and how fast"
EXAMPLES = """\
 Examples
   mpt-tool batch sync_users                  run it, from where it was stopped
   mpt-tool batch sync_users --rehearse       process items, show what changes
   mpt-tool batch sync_users --retry-failed   handle just what failed
   mpt-tool batch sync_users --restart        begin at the first item again
   mpt-tool batch sync_users --limit 10       handle ten items, go on later
"""
RULES = Rules(
    goes_with={"--json": ("--dry-run", "--rehearse"), "--unguarded": ("--rehearse",)},
    excluding=[
        ("--restart", "--resume-anyway", "--retry-failed"),
        ("--retry-failed", "--dry-run"),
        ("--retry-failed", "--rehearse"),
        ("--retry-failed", "--limit"),
        ("--only", "--limit"),
        ("--only", "--restart"),
        ("--only", "--retry-failed"),
        ("--only", "--dry-run"),
        ("--only", "--rehearse"),
    ],
)
_ANNOUNCEMENTS = {"batch": "Running batch migration {migration_id}..."}
ANYWAY = "go on although the script was changed meanwhile."
LIMIT = f"so many items; a look: {DEFAULT_LIMIT:,}."
UNGUARDED = "though nothing keeps the script from writing."
WAIT = "wait that long for another run's lock."
_flag, _option = RULES.flag, RULES.option


@command(RULES, announcements=_ANNOUNCEMENTS)
def batch(
    session: "Session",
    migration_id: str = RULES.migration_id("the batch migration.", completion.batch_ids),
    restart: bool = _flag("--restart", "begin at the first item again.", OTHERWISE),
    resume_anyway: bool = _flag("--resume-anyway", ANYWAY, OTHERWISE),
    retry_failed: bool = _flag("--retry-failed", "handle just the items that failed.", OTHERWISE),
    dry_run: bool = _flag("--dry-run", "show which items a run would handle.", OTHERWISE),
    rehearse: bool = _flag("--rehearse", "process the items, write nothing.", OTHERWISE),
    unguarded: bool = _flag("--unguarded", UNGUARDED, OTHERWISE),
    limit: int | None = _option("--limit", LIMIT, PACE, min=1, metavar="N"),
    only: list[str] | None = _option(
        "--only", "this item alone; may be repeated.", PACE, metavar="CURSOR"
    ),
    target: str | None = _option("--target", "run for this target alone.", PACE, metavar="NAME"),
    workers: int | None = _option(
        "--workers", "process so many side by side.", PACE, min=1, metavar="N"
    ),
    max_per_second: float | None = _option(
        "--max-per-second",
        "begin so many items a second.",
        PACE,
        min=0,
        metavar="X",
        callback=finite,
    ),
    max_requests_per_second: float | None = _option(
        "--max-requests-per-second",
        "send so many requests a second.",
        PACE,
        min=0,
        metavar="X",
        callback=finite,
    ),
    wait: float | None = _option("--wait", WAIT, min=0, metavar="SECONDS"),
) -> Result:
    """Run one batch migration: resume it, restart it, rehearse it."""
    from mpt_tool.cli import running
    from mpt_tool.runner.prepare import Selection

    asked = {
        ResumeEnum.RESTART: restart,
        ResumeEnum.ANYWAY: resume_anyway,
        ResumeEnum.RETRY_FAILED: retry_failed,
    }
    resume = next((each for each in asked if asked[each]), ResumeEnum.IF_UNCHANGED)
    given = {
        "workers": workers,
        "max_per_second": max_per_second,
        "max_requests_per_second": max_requests_per_second,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    selection = Selection(None, migration_id, resume, target or "", overrides, is_batch=True)
    if dry_run or rehearse:
        look = running.Look(limit or DEFAULT_LIMIT, rehearses=rehearse, allows_unguarded=unguarded)
        return running.dry_run(session, selection, look)
    if only:
        return running.handle_some(session, selection, only, wait)
    return running.run(session, selection, wait, limit)
