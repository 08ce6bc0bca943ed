"""`mpt-tool history`: every attempt, whatever became of it, and what is still running."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import Rules, moment
from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import SelectionError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.view.results import History, Result, Runs

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session
    from mpt_tool.project import Project
    from mpt_tool.records import Attempt

log = get_log(__name__)

RULES = Rules(excluding=[("MIGRATION_ID", "--runs"), ("--run", "--runs")])
ONE = "show the attempts at this one, in full."
SINCE = "show those alone that began then or later, like 2026-01-31 or 2026-01-31T08:00Z."
RUNS = "show a line for each run, not for each attempt."


@command(RULES)
def history(
    session: "Session",
    migration_id: str | None = RULES.migration_id(ONE, completion.attempted_ids, None),
    last: int | None = RULES.option("--last", "show the newest N alone.", min=1, metavar="N"),
    failed: bool = RULES.flag("--failed", "show those alone that failed."),
    since: datetime | None = RULES.option("--since", SINCE, parser=moment, metavar="DATE"),
    run: str | None = RULES.option("--run", "show those of this run alone.", metavar="RUN_ID"),
    runs: bool = RULES.flag("--runs", RUNS),
) -> Result:
    """Show all attempts, newest last, or those at one migration."""
    project = session.project
    # What runs is newer than all that has ended.
    known = chain(_running(project), project.repository.attempts())
    wanted = (
        attempt
        for attempt in known
        if migration_id in (None, attempt.migration_id)
        and run in (None, attempt.run_id)
        and not (failed and attempt.outcome is not OutcomeEnum.FAILED)
        and not (since and _began_before(attempt, since))
    )
    if runs:
        newest_runs = list(islice(_by_run(wanted), last))
        return Result(Runs(newest_runs[::-1]), [] if newest_runs else ["No runs found."])
    newest = list(islice(wanted, last))
    if migration_id is not None and not newest:
        project.require_known(migration_id)
    if run is not None and not newest:
        _require_run(project, run)
    of_one = f" at {migration_id}" if migration_id else ""
    said = [] if newest else [f"No attempts{of_one} found."]
    return Result(History(newest[::-1], migration_id), said)


def _began_before(attempt: "Attempt", moment: datetime) -> bool:
    began = attempt.started_at or attempt.ended_at
    return began is None or began < moment


def _running(project: "Project") -> "list[Attempt]":
    """Return the attempts that nobody has recorded the end of yet, the newest first."""
    from mpt_tool.runner.attempts import unended

    try:
        snapshot = project.repository.load()
    except StorageError as error:
        log.warning("What is still running cannot be told: %s", error)
        return []
    # The records alone tell it: no script is read.
    return unended(project.plan([], snapshot), snapshot.holder)


def _by_run(attempts: "Iterable[Attempt]") -> "Iterator[list[Attempt]]":
    """Yield the attempts of each run, the oldest first; the newest run first."""
    found: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        found.setdefault(attempt.run_id, []).append(attempt)
    return (of_run[::-1] for of_run in found.values())


def _require_run(project: "Project", run_id: str) -> None:
    """Raise `SelectionError` if no attempt is of this run."""
    if not any(attempt.run_id == run_id for attempt in project.repository.attempts()):
        raise SelectionError(f"Run {run_id} not found: mpt-tool history --runs shows all")
