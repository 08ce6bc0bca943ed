"""`mpt-tool unlock`: takes the lock from a holder that cannot be alive."""

from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import ANY
from mpt_tool.view.results import Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

HOLDER = "who holds the lock, as the message names it that tells so."


@command(forms={})
def unlock(
    session: "Session", holder: str = ANY.argument("HOLDER", HOLDER, completion.holders)
) -> Result:
    """Take the lock from a holder that cannot be alive."""
    session.project.repository.unlock(holder)
    return Result(said=[f"Took the lock away from {holder}."])
