"""`mpt-tool demo`: a tour in a temporary folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from mpt_tool.cli.options import ANY, NO_COLOR, VERSION
from mpt_tool.errors import ExitCode, MptToolError


def demo(
    keep: Path | None = ANY.option(
        "--keep", "keep the project in this new folder.", metavar="FOLDER"
    ),
    no_color: bool = NO_COLOR,
    version: bool = VERSION,
) -> None:
    """Watch the tool at work for half a minute; nothing is left."""
    from mpt_tool.demo.tour import tour
    from mpt_tool.process.signals import Stop
    from mpt_tool.view.logs import teller

    # It is no command of a project: nothing of what the working folder holds is read. A signal is
    # told by the command that it shows.
    stop = Stop(teller())
    try:
        with stop.listening(), stop.untold(), _folder(keep) as folder:
            tour(folder, os.environ, _echo)
        _echo("")
        left = f"{keep} holds it all" if keep else "All of it is gone again"
        _echo(f"# {left}. In a folder of yours, begin with: mpt-tool migrate --new-data NAME")
    except MptToolError as error:
        typer.echo(f"Error running demo command: {error}", err=True)
        typer.echo("Aborted.", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Aborted.", err=True)
        raise typer.Exit(stop.cause.exit_code if stop.cause else ExitCode.INTERRUPTED) from None


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Yield an empty folder, which is gone afterwards unless it is to be kept."""
    from tempfile import TemporaryDirectory

    if keep:
        try:
            keep.mkdir(parents=True)
        except OSError as error:
            raise MptToolError(f"{keep} cannot be created: {error.strerror}") from error
        yield keep.absolute()
        return
    try:
        temporary = TemporaryDirectory(prefix="mpt-tool-demo-", ignore_cleanup_errors=True)
    except OSError as error:
        raise MptToolError(f"There is no temporary folder: {error}; use --keep FOLDER") from error
    with temporary as name:
        yield Path(name)


def _echo(line: str) -> None:
    from mpt_tool.view.terminal import is_coloured

    colour = "cyan" if line.startswith("#") else None
    typer.secho(line, fg=colour, bold=line.startswith("$"), color=is_coloured(sys.stdout))
