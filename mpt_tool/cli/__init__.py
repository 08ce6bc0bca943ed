"""The command line: options in, one call, one result written, an exit code out."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence

import typer

from mpt_tool.cli.batch import EXAMPLES as OF_BATCH
from mpt_tool.cli.batch import batch
from mpt_tool.cli.command import Command, Group
from mpt_tool.cli.completion import offer_no_files
from mpt_tool.cli.copy_state import copy_state
from mpt_tool.cli.demo import demo
from mpt_tool.cli.doctor import doctor
from mpt_tool.cli.failures import failures
from mpt_tool.cli.history import history
from mpt_tool.cli.migrate import EXAMPLES as OF_MIGRATE
from mpt_tool.cli.migrate import migrate
from mpt_tool.cli.options import NO_COLOR, VERSION
from mpt_tool.cli.pending import pending
from mpt_tool.cli.report import report
from mpt_tool.cli.status import status
from mpt_tool.cli.stop import stop
from mpt_tool.cli.unlock import unlock
from mpt_tool.cli.verify import verify
from mpt_tool.errors import ExitCode
from mpt_tool.process.streams import lost_output, prepare_streams

app = typer.Typer(
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_COMMANDS: Mapping[str, Sequence[Callable[..., None]]] = {
    "Commands that run": (migrate, batch, stop, unlock, copy_state),
    "Commands that show": (status, pending, history, failures, report, verify, doctor, demo),
}
_EXAMPLES = {migrate: OF_MIGRATE, batch: OF_BATCH}
for _panel, _commands in _COMMANDS.items():
    for _command in _commands:
        app.command(cls=Command, rich_help_panel=_panel, epilog=_EXAMPLES.get(_command))(_command)


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
