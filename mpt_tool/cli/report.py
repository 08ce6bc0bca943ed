"""`mpt-tool report`: a page for people who do not have the command line."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mpt_tool.cli.command import command
from mpt_tool.view.results import Report, Result, Written

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

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
    file: Path = typer.Argument(
        ..., metavar="FILE", help=f"{_FILE[0].upper()}{_FILE[1:]}", parser=_named
    ),
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
    from mpt_tool.scripts.plan import of_targets
    from mpt_tool.storage.repository import failures_of

    project = session.project
    scripts, snapshot = project.scripts_if_any(), project.repository.load()
    attempts = list(project.attempts())
    entries = project.plan(scripts, snapshot, attempts)
    failures = {}
    for entry in entries:
        for each in (entry, *of_targets(entry)):
            if each.record and (checkpoint := each.record.checkpoint):
                failures[each.name] = failures_of(
                    project.repository, each.migration_id, each.target, checkpoint
                )
    notes = project.store_notes(entries, snapshot.missing)
    tool = f"mpt-tool {version('mpt-tool')}"
    return Report(project.root.name, tool, now(), entries, attempts, failures, notes)
