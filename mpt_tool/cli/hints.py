"""Says of a wrong command line what was meant, and nothing that is a secret."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from mpt_tool.cli.options import OUTPUT

# Of the Click that Typer has: its own one in some releases.
_UsageError: Any = typer.BadParameter.__base__


@contextmanager
def usage_told_safely() -> Iterator[None]:
    """Keep secrets, and what would move a cursor, out of what is said of a wrong command line.

    What is typed may come from a variable, or from others.
    """
    try:
        yield
    except _UsageError as error:
        import os

        from mpt_tool.redaction import make_redact, secrets_in
        from mpt_tool.wording import printable_lines

        error.message = printable_lines(make_redact(secrets_in(os.environ))(error.message))
        raise


def _meant(name: str, group: Any) -> str:
    """Return how a call begins that is meant by what is no command or option where it stands.

    Args:
        name: of a command or of an option of another one, with dashes or without.
        group: all commands.
    """
    word = name.lstrip("-")
    if word in group.commands:
        return f"mpt-tool {word}"
    for called, each in group.commands.items():
        for option in each.params:
            if f"--{word}" in option.opts and option.rich_help_panel != OUTPUT:
                needed = [p.metavar for p in each.params if p.required]
                return " ".join(["mpt-tool", called, *needed, _typed(option, word)])
    return ""


def _of_output(name: str, group: Any) -> str:
    """Return where an option belongs that nearly all commands have; nothing of any other one."""
    for option in group.commands["status"].params:
        if name in option.opts and option.rich_help_panel == OUTPUT:
            return f"mpt-tool COMMAND {_typed(option, name.lstrip('-'))}"
    return ""


def _typed(option: Any, word: str) -> str:
    return f"--{word}" if option.is_flag else f"--{word} {option.metavar or word.upper()}"


def add_hint(error: Any, name: str, context: typer.Context) -> None:
    """Say in an error of usage what was meant by a name that is none here, if that is known."""
    group = context.find_root().command
    # After the name of a command it has no such option.
    is_before_command = context.command is group
    if meant := (is_before_command and _of_output(name, group)) or _meant(name, group):
        error.message = f"{error.message.rstrip('.')}. Did you mean {meant}?"
        # What Typer would name is only alike.
        error.possibilities = None


class Hinting:
    """Says of an option that is none of this command which one has it."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the arguments."""
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc] # Typer has it
        except Exception as error:
            # Some releases of Typer have an exception of their own for this, others that of Click.
            if hasattr(error, "possibilities"):
                add_hint(error, getattr(error, "option_name", ""), ctx)
            raise
