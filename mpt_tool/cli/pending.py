"""`mpt-tool pending`: what is pending, for a person and for a pipeline's gate."""

from typing import TYPE_CHECKING

import typer

from mpt_tool.cli.options import AsJson, NoColor, Quiet, Rules, Type, Verbose, Version
from mpt_tool.cli.session import Output, Session, session
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import ExitCode

if TYPE_CHECKING:
    from mpt_tool.view.results import Result


def pending(
    context: typer.Context,
    type_: Type = None,
    as_json: AsJson = False,
    no_color: NoColor = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """List what is pending; exit with 3 if anything is."""
    Rules().require(context)
    with session("pending", Output(as_json=as_json, verbose=verbose, quiet=quiet)) as opened:
        opened.write(_pending(opened, type_))


def _pending(session: Session, migration_type: MigrationTypeEnum | None) -> "Result":
    from mpt_tool.project import plan_of
    from mpt_tool.scripts import plan
    from mpt_tool.view.results import Pending, Result

    project = session.project
    entries = plan.pending(plan_of(project.scripts(), project.repository.load()), migration_type)
    if entries:
        return Result(Pending(entries), exit_code=ExitCode.PENDING)
    return Result(Pending([]), ["Nothing is pending."])
