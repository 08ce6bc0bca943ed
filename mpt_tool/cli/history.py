"""`mpt-tool history`: every attempt, whatever became of it."""

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import ANY, moment
from mpt_tool.enums import OutcomeEnum
from mpt_tool.view.results import History, Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session
    from mpt_tool.records import Attempt

ONE = "show the attempts at this one, in full."
SINCE = "show those alone that began then or later, like 2026-01-31 or 2026-01-31T08:00Z."


@command()
def history(
    session: "Session",
    migration_id: str | None = ANY.migration_id(ONE, completion.attempted_ids, None),
    last: int | None = ANY.option("--last", "show the newest N alone.", min=1, metavar="N"),
    failed: bool = ANY.flag("--failed", "show those alone that failed."),
    since: datetime | None = ANY.option("--since", SINCE, parser=moment, metavar="DATE"),
) -> Result:
    """Show all attempts, newest last, or those at one migration."""
    project = session.project
    wanted = (
        attempt
        for attempt in project.repository.attempts()
        if migration_id in (None, attempt.migration_id)
        and not (failed and attempt.outcome is not OutcomeEnum.FAILED)
        and not (since and _began_before(attempt, since))
    )
    newest = list(islice(wanted, last))
    if migration_id is not None and not newest:
        project.require_known(migration_id)
    of_one = f" at {migration_id}" if migration_id else ""
    said = [] if newest else [f"No attempts{of_one} found."]
    return Result(History(newest[::-1], migration_id), said)


def _began_before(attempt: "Attempt", moment: datetime) -> bool:
    began = attempt.started_at or attempt.ended_at
    return began is None or began < moment
