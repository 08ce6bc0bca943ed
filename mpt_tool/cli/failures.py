"""`mpt-tool failures`: the items of a batch migration that failed."""

from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import CSV, JSON, command
from mpt_tool.cli.options import Rules
from mpt_tool.process.log import get_log
from mpt_tool.view.results import Failures, Result
from mpt_tool.wording import in_items, name_of

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

log = get_log(__name__)

RULES = Rules(excluding=[("--json", "--csv")])


@command(RULES, JSON | CSV)
def failures(
    session: "Session",
    migration_id: str = RULES.migration_id("the batch migration.", completion.ids_with_failures),
) -> Result:
    """Show every failed item of a batch migration with its error."""
    from mpt_tool.storage.repository import failures_of

    project = session.project
    record = project.repository.load().records.get(migration_id)
    if record is None:
        project.require_known(migration_id)
    runs = {"": record, **(record.targets or {})} if record else {}
    items = {}
    for target, run in runs.items():
        if run and (checkpoint := run.checkpoint) and checkpoint.failed:
            items[target] = failures_of(project.repository, migration_id, target, checkpoint)
            if len(items[target]) < checkpoint.failed:
                log.warning(
                    "%s of %s were kept: what else fails is found by mpt-tool batch %s --restart",
                    in_items(len(items[target]), checkpoint.failed),
                    name_of(migration_id, target),
                    migration_id,
                )
    said = [] if items else [f"Migration {migration_id} has no failed items."]
    return Result(Failures(migration_id, items), said)
