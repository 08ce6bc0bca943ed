"""`mpt-tool report`: a page for people who do not have the command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mpt_tool.cli.command import command
from mpt_tool.view.results import Report, Result, Written

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session
    from mpt_tool.project import Project
    from mpt_tool.records import FailedItem
    from mpt_tool.scripts.plan import Entry

STDOUT = Path("-")
_FILE = "A name that ends in .html or .md; - for Markdown on stdout."


def _named(given: str) -> Path:
    """Return where the report goes, from the root of the file system, for the folder changes."""
    path = Path(given)
    if path == STDOUT:
        return path
    if path.suffix.lower() not in (".html", ".md"):
        raise typer.BadParameter(
            f"{given!r} ends in neither .html nor .md; use - for Markdown on stdout"
        )
    return path.absolute()


@command()
def report(
    session: "Session",
    file: Path = typer.Argument(..., metavar="FILE", help=_FILE, parser=_named),
) -> Result:
    """Write a page of what ran, failed and is pending."""
    content = _report(session)
    if file == STDOUT:
        if session.output.as_json:
            raise typer.BadParameter("- and --json exclude each other")
        return Result(content)
    from mpt_tool.view.report.file import write

    root = Path.cwd()
    shown = file.relative_to(root) if file.is_relative_to(root) else file
    write(content, file)
    told = f"{len(content.entries):,} migrations, {len(content.attempts):,} attempts"
    return Result(Written(str(shown), content), [f"Wrote {shown}: {told}."])


def _report(session: "Session") -> Report:
    """Return what the project's store and folder tell now."""
    from importlib.metadata import version

    from mpt_tool.cli.session import now
    from mpt_tool.errors import NoHistoryError
    from mpt_tool.runner.attempts import unended

    project = session.project
    scripts, snapshot = project.scripts_if_any(), project.repository.load()
    notes: list[str] = []
    try:
        attempts = list(project.repository.attempts())
    except NoHistoryError as error:
        attempts, notes = [], [str(error)]
    entries = project.plan(scripts, snapshot, attempts)
    # What runs, or was left so, is newer than all that has ended.
    attempts = [*unended(entries, snapshot.holder), *attempts]
    return Report(
        project=project.root.name or str(project.root),
        tool=f"mpt-tool {version('mpt-tool')}",
        made_at=now(),
        entries=entries,
        attempts=attempts,
        failures=_failures(project, entries),
        notes=[*project.store_notes(entries, snapshot.missing), *notes],
    )


def _failures(project: "Project", entries: "Sequence[Entry]") -> dict[str, list["FailedItem"]]:
    """Return the failed items that are kept, by the name of what they are of."""
    from mpt_tool.scripts.plan import by_target
    from mpt_tool.storage.repository import failures_of

    begun = [(each, each.record.checkpoint) for each in by_target(entries) if each.record]
    return {
        each.name: failures_of(project.repository, each.migration_id, each.target, checkpoint)
        for each, checkpoint in begun
        if checkpoint and checkpoint.failed
    }
