"""`mpt-tool failures`: the items of a batch migration that failed."""

from typing import TYPE_CHECKING, Annotated

import typer

from mpt_tool.cli import completion
from mpt_tool.cli.options import OUTPUT, AsJson, NoColor, Quiet, Rules, Verbose, Version
from mpt_tool.cli.session import Output, Session, session
from mpt_tool.errors import SelectionError

if TYPE_CHECKING:
    from mpt_tool.view.results import Result

RULES = Rules(excluding=(("--json", "--csv"), ("--verbose", "--quiet")))

MigrationId = Annotated[
    str,
    typer.Argument(
        metavar="MIGRATION_ID",
        help="The batch migration.",
        autocompletion=completion.ids_with_failures,
    ),
]
AsCsv = Annotated[
    bool, RULES.option("--csv", help="write a line of CSV for each item.", panel=OUTPUT)
]


def failures(
    context: typer.Context,
    migration_id: MigrationId,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    no_color: NoColor = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Version = False,
) -> None:
    """Show every failed item of a batch migration with its error."""
    RULES.require(context)
    output = Output(as_json=as_json, as_csv=as_csv, verbose=verbose, quiet=quiet)
    with session("failures", output) as opened:
        opened.write(_failures(opened, migration_id))


def _failures(session: Session, migration_id: str) -> "Result":
    """Return the failed items.

    Raises:
        SelectionError: neither a script nor a record nor an attempt has this id.
    """
    from mpt_tool.view.results import Failures, Result

    project = session.project
    record = project.repository.load().records.get(migration_id)
    if record is None and not project.knows(migration_id):
        raise SelectionError(f"Migration {migration_id} not found")
    items = record.checkpoint.failures if record and record.checkpoint else ()
    said = [] if items else [f"Migration {migration_id} has no failed items."]
    return Result(Failures(migration_id, items), said)
