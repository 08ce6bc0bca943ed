"""`mpt-tool history`: every attempt, whatever became of it."""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import ANY, moment
from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import SelectionError
from mpt_tool.view.results import History, Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session
    from mpt_tool.project import Project
    from mpt_tool.records import Attempt

SINCE = "show those alone that began then or later, like 2026-01-31 or 2026-01-31T08:00Z."


@command()
def history(
    session: "Session",
    migration_id: Annotated[
        str | None,
        ANY.argument(
            "MIGRATION_ID", "show the attempts at this one, in full.", completion.attempted_ids
        ),
    ] = None,
    last: Annotated[
        int | None, ANY.option("--last", "show the newest N alone.", min=1, metavar="N")
    ] = None,
    failed: Annotated[bool, ANY.option("--failed", "show those alone that failed.")] = False,
    since: Annotated[
        datetime | None, ANY.option("--since", SINCE, parser=moment, metavar="DATE")
    ] = None,
) -> Result:
    """Show all attempts, newest last, or those at one migration."""
    wanted = (
        attempt
        for attempt in _attempts(session.project, migration_id)
        if not (failed and attempt.outcome is not OutcomeEnum.FAILED)
        and not (since and _began_before(attempt, since))
    )
    newest = list(islice(wanted, last))
    of_one = f" at {migration_id}" if migration_id else ""
    said = [] if newest else [f"No attempts{of_one} found."]
    return Result(History(newest[::-1], migration_id), said)


def _attempts(project: "Project", migration_id: str | None) -> "Iterator[Attempt]":
    """Return the attempts at one migration, or at all, the newest first.

    Raises:
        SelectionError: neither a script nor a record nor an attempt has this id.
    """
    attempts = project.repository.attempts()
    if migration_id is None:
        return attempts
    of_one = (attempt for attempt in attempts if attempt.migration_id == migration_id)
    newest = next(of_one, None)
    if newest is None and not project.knows(migration_id):
        raise SelectionError(f"Migration {migration_id} not found")
    return chain([newest] if newest else [], of_one)


def _began_before(attempt: "Attempt", moment: datetime) -> bool:
    began = attempt.started_at or attempt.ended_at
    return began is None or began < moment
