"""`mpt-tool history`: every attempt, whatever became of it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from mpt_tool.cli import completion
from mpt_tool.cli.options import AsJson, NoColor, Quiet, Rules, Verbose, Version, moment
from mpt_tool.cli.session import Output, Session, session
from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import SelectionError

if TYPE_CHECKING:
    from mpt_tool.records import Attempt
    from mpt_tool.view.results import Result

RULES = Rules()

MigrationId = Annotated[
    str | None,
    typer.Argument(
        metavar="MIGRATION_ID",
        help="Show the attempts at this one, in full.",
        autocompletion=completion.attempted_ids,
    ),
]
Last = Annotated[
    int | None,
    RULES.option("--last", min=1, metavar="N", help="show the newest N alone."),
]
Failed = Annotated[bool, RULES.option("--failed", help="show those alone that failed.")]
Since = Annotated[
    datetime | None,
    RULES.option(
        "--since",
        parser=moment,
        metavar="DATE",
        help="show those alone that began then or later, like 2026-01-31 or 2026-01-31T08:00Z.",
    ),
]


def history(
    context: typer.Context,
    migration_id: MigrationId = None,
    last: Last = None,
    failed: Failed = False,
    since: Since = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Show all attempts, newest last, or those at one migration."""
    RULES.require(context)
    with session("history", Output(as_json=as_json, verbose=verbose, quiet=quiet)) as opened:
        wanted = (
            attempt
            for attempt in _attempts(opened, migration_id)
            if not (failed and attempt.outcome is not OutcomeEnum.FAILED)
            and not (since and _began_before(attempt, since))
        )
        newest = list(islice(wanted, last))
        opened.write(_shown(newest[::-1], migration_id))


def _attempts(session: Session, migration_id: str | None) -> "Iterator[Attempt]":
    """Return the attempts at one migration, or at all, the newest first.

    Raises:
        SelectionError: neither a script nor a record nor an attempt has this id.
    """
    attempts = session.project.repository.attempts()
    if migration_id is None:
        return attempts
    of_one = (attempt for attempt in attempts if attempt.migration_id == migration_id)
    newest = next(of_one, None)
    if newest is None and not session.project.knows(migration_id):
        raise SelectionError(f"Migration {migration_id} not found")
    return chain([newest] if newest else [], of_one)


def _began_before(attempt: "Attempt", moment: datetime) -> bool:
    began = attempt.started_at or attempt.ended_at
    return began is None or began < moment


def _shown(attempts: "Sequence[Attempt]", migration_id: str | None) -> "Result":
    from mpt_tool.view.results import History, Result

    of_one = f" at {migration_id}" if migration_id else ""
    said = [] if attempts else [f"No attempts{of_one} found."]
    return Result(History(attempts, migration_id), said)
