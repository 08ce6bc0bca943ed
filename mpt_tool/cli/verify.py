"""`mpt-tool verify`: looks whether what was applied is still as it should be."""

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import ANY
from mpt_tool.errors import MptToolError, SeveralFailedError
from mpt_tool.view.results import Result, Verified

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

ONE = "verify just this one."


@command()
def verify(
    session: "Session",
    migration_id: str | None = ANY.migration_id(ONE, completion.ids_to_verify, None),
) -> Result:
    """Verify once more what is applied; refuse all writes meanwhile."""
    from mpt_tool.clients.rehearsal import Rehearsal, write_nothing
    from mpt_tool.reporting import Silent
    from mpt_tool.runner import verify as verifying
    from mpt_tool.runner.attempts import report_of
    from mpt_tool.settings import env_file_exported

    project, redact = session.project, session.redact
    entries = project.plan(project.scripts(), project.repository.load())
    chosen = verifying.to_verify(entries, migration_id, project.environment)
    # What the scripts import is not to leave compiled files behind.
    sys.dont_write_bytecode = True
    rehearsal = Rehearsal(answers=False)
    write_nothing(rehearsal)
    # What a script prints is no part of the result.
    with (
        redirect_stdout(sys.stderr),
        env_file_exported(project.root),
        session.observed("verify", Silent(), just_looks=True) as observed,
    ):
        verified = list(verifying.verify(chosen, project.root, rehearsal, observed))
    if not verified:
        without = f"{migration_id} has no" if migration_id else "no applied migration has a"
        return Result(Verified([]), [f"Nothing to verify: {without} verify()."])
    reports = [
        (entry, report_of(cause, entry.script.path, redact) if cause and entry.script else None)
        for entry, failure in verified
        for cause in [failure and failure.__cause__]
    ]
    failures = {entry.name: failure for entry, failure in verified if failure}
    return Result(Verified(reports), failure=_failure(failures, len(verified)))


def _failure(failures: Mapping[str, MptToolError], total: int) -> MptToolError | None:
    """Return the error to end with; None if nothing failed."""
    if len(failures) < 2:
        return next(iter(failures.values()), None)
    message = f"{len(failures)} of {total} are not as they should be: {', '.join(failures)}"
    return SeveralFailedError(message, failures)
