"""`mpt-tool pending`: what is pending, for a person and for a pipeline's gate."""

from typing import TYPE_CHECKING

from mpt_tool.cli.command import command
from mpt_tool.cli.options import ANY
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import ExitCode
from mpt_tool.view.results import Pending, Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session


@command()
def pending(
    session: "Session", type_: MigrationTypeEnum | None = ANY.option("--type", "of this type only.")
) -> Result:
    """List what is pending; exit with 3 if anything is."""
    from mpt_tool.scripts import plan
    from mpt_tool.view.status import standing

    project = session.project
    snapshot = project.repository.load()
    entries = project.told_ends(project.plan(project.scripts(), snapshot))
    strays, next_ = project.strays(), project.next_command(entries, snapshot.holder)
    if waiting := plan.pending(entries, type_):
        said = standing(entries, next_)
        return Result(Pending(waiting, strays), said, exit_code=ExitCode.PENDING)
    none_yet = [] if entries else standing(entries, next_)
    return Result(Pending([], strays), ["Nothing is pending.", *none_yet])
