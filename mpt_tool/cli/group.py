"""All commands: each is imported when it is called, so that none waits for the others."""

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperGroup

from mpt_tool.cli.command import Command
from mpt_tool.cli.hints import Hinting, add_hint, usage_told_safely
from mpt_tool.errors import ExitCode
from mpt_tool.view.terminal import is_coloured

_COMMANDS = {
    "Commands that run": ("migrate", "batch", "stop", "unlock", "copy-state"),
    "Commands that show": (
        *(
            "status",
            "pending",
            "history",
            "failures",
            "report",
            "verify",
            "doctor",
            "explain",
            "demo",
        ),
    ),
}
_PANELS = {name: panel for panel, names in _COMMANDS.items() for name in names}


@cache
def _made(name: str) -> Any:
    """Return what Typer makes of the function of a command's name, in the module of that name."""
    function = name.replace("-", "_")
    module = import_module(f"mpt_tool.cli.{function}")
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    epilog = getattr(module, "EXAMPLES", None)
    app.command(cls=Command, rich_help_panel=_PANELS[name], epilog=epilog)(
        getattr(module, function)
    )
    return typer.main.get_command(app)


class _Commands(Mapping[str, Any]):
    """The commands by their names; each is made when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        if name not in _PANELS:
            raise KeyError(name)
        return _made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_PANELS)

    def __len__(self) -> int:
        return len(_PANELS)


class Group(Hinting, TyperGroup):
    """All commands, whose help fits on one screen and is written without Rich, at once."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands: Any = _Commands()

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the arguments; without any, write the page of help, which Typer would not."""
        if not (args or ctx.resilient_parsing):
            typer.echo(ctx.get_help(), color=ctx.color)
            ctx.exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options that stand before a command."""
        with usage_told_safely():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Read the command and what stands after it, and run it."""
        with usage_told_safely():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of help: the commands by panel, and the names of the options."""
        ctx.color = is_coloured(sys.stdout)
        self.format_usage(ctx, formatter)
        # Right below: with a blank line between them, 24 lines of a terminal would not hold it all.
        formatter.write(f"{self.help}\n")
        commands: dict[str, Any] = {name: self.get_command(ctx, name) for name in self.commands}
        width = max(map(len, commands))
        for panel, named in groupby(commands.items(), lambda item: item[1].rich_help_panel):
            formatter.write(typer.style(f"\n{panel}:\n", bold=True))
            with formatter.indentation():
                formatter.write_dl(
                    [
                        (typer.style(f"{name:{width}}", fg="cyan", bold=True), command.help)
                        for name, command in named
                    ]
                )
        options = ", ".join("/".join(sorted(each.opts, key=len)) for each in self.get_params(ctx))
        formatter.write_paragraph()
        formatter.write_dl([(typer.style("Options:", bold=True), options)])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called; of what is an option of another one, say so."""
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:
            if args[0] not in self.commands and hasattr(error, "message"):
                add_hint(error, args[0], ctx)
            raise
