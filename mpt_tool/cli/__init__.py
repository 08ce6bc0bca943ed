"""The command line: options in, one call, one result written, an exit code out."""

import os
import shutil
import sys

import typer

from mpt_tool.cli.completion import offer_no_files
from mpt_tool.cli.group import Group
from mpt_tool.cli.options import NO_COLOR, VERSION
from mpt_tool.errors import ExitCode
from mpt_tool.process.streams import lost_output, prepare_streams

app = typer.Typer(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command line; the entry point of both console scripts."""
    prepare_streams()
    _settle_colour()
    offer_no_files()
    try:
        app()
    except SystemExit as end:
        if error := lost_output():
            typer.echo(f"Error: {error}", err=True)
            end.code = end.code or ExitCode.FAILED
        raise


def _settle_colour() -> None:
    """Let Typer and Rich have colour only on a terminal, or if forced, and not if forbidden."""
    # Rich's own wish for colour where nothing is a terminal, and what old Rich takes for one.
    os.environ.pop("TTY_COMPATIBLE", None)
    if not os.environ.get("FORCE_COLOR"):
        os.environ.pop("FORCE_COLOR", None)
    if "--no-color" in sys.argv or os.environ.get("NO_COLOR"):
        width, height = shutil.get_terminal_size()
        os.environ.update(NO_COLOR="1", TERM="dumb", COLUMNS=str(width), LINES=str(height))
    elif os.environ.keys() & {"GITHUB_ACTIONS", "PY_COLORS"} and not os.environ.get("FORCE_COLOR"):
        # Typer takes these for a wish for colour, even where nothing is a terminal.
        from typer import rich_utils

        rich_utils.FORCE_TERMINAL = None


@app.callback()
def root_options(version: bool = VERSION, no_color: bool = NO_COLOR) -> None:
    """Scaffold, run and audit migrations of MPT extensions."""
