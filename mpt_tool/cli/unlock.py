"""`mpt-tool unlock`: takes the lock from a holder that cannot be alive."""

from typing import TYPE_CHECKING, Annotated

import typer

from mpt_tool.cli import completion
from mpt_tool.cli.options import NoColor, Quiet, Rules, Verbose, Version
from mpt_tool.cli.session import Output, Session, session

if TYPE_CHECKING:
    from mpt_tool.view.results import Result

Holder = Annotated[
    str,
    typer.Argument(
        metavar="HOLDER",
        help="Who holds the lock, as the message names it that tells so.",
        autocompletion=completion.holders,
    ),
]


def unlock(
    context: typer.Context,
    holder: Holder,
    no_color: NoColor = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Take the lock from a holder that cannot be alive."""
    Rules().require(context)
    with session("unlock", Output(verbose=verbose, quiet=quiet)) as opened:
        opened.write(_unlock(opened, holder))


def _unlock(session: Session, holder: str) -> "Result":
    from mpt_tool.view.results import Result

    session.project.repository.unlock(holder)
    return Result(said=[f"Took the lock away from {holder}."])
