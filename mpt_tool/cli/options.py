"""Options as data: each declared once, and said once with which others it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from mpt_tool.enums import MigrationTypeEnum

RUN, CREATE, INSPECT, OUTPUT = "Run", "Create", "Inspect", "Output"


@dataclass(frozen=True, slots=True)
class Rules:
    """Which options of a command go together, each by its first name.

    Args:
        one_of: exactly one of these is given.
        goes_with: what an option needs, any one of them.
        excluding: of each of these groups one at most is given.
    """

    one_of: Sequence[str] = ()
    goes_with: Mapping[str, Sequence[str]] = field(default_factory=dict)
    excluding: Sequence[Sequence[str]] = (("--verbose", "--quiet"),)

    def option(self, *names: str, help: str, panel: str | None = None, **further: Any) -> Any:  # noqa: A002 - as Typer calls it
        """Return an option for Typer, whose help says what it goes with."""
        return typer.Option(
            *names, help=self.help(names[0], help), rich_help_panel=panel, **further
        )

    def help(self, name: str, text: str) -> str:
        """Return the help of an option or argument, from a text that begins in lower case."""
        if needed := self.goes_with.get(name):
            return f"With {_listed(needed, 'or')}: {text}"
        return text[0].upper() + text[1:]

    def require(self, context: typer.Context) -> str:
        """Return the one of `one_of` that is given, nothing without these, if all go together.

        Raises:
            click.UsageError: they do not; the message says which of them.
        """
        given = _given(context)
        chosen = [name for name in self.one_of if name in given]
        if self.one_of and len(chosen) != 1:
            context.fail(f"use exactly one of {', '.join(self.one_of)}")
        for name, needed in self.goes_with.items():
            if name in given and given.isdisjoint(needed):
                context.fail(f"{name} goes with {_listed(needed, 'or')}")
        for group in self.excluding:
            if len(given.intersection(group)) > 1:
                context.fail(f"{_listed(group, 'and')} exclude each other")
        return chosen[0] if chosen else ""


def _given(context: typer.Context) -> set[str]:
    """Return the first names of the options, and the arguments in capitals, that are given."""
    names = {
        each.name: each.opts[0] if each.opts[0].startswith("-") else each.opts[0].upper()
        for each in context.command.params
    }
    return {
        names[name]
        for name, value in context.params.items()
        if value is not None and value is not False
    }


def _listed(names: Sequence[str], last: str) -> str:
    *others, end = names
    return f"{', '.join(others)} {last} {end}" if others else end


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mpt-tool {version('mpt-tool')}")
        raise typer.Exit


def moment(text: str) -> datetime:
    """Return the moment that a date, or a date and time, in ISO 8601 names; UTC without an offset.

    Raises:
        typer.BadParameter: it is neither.
    """
    try:
        named = datetime.fromisoformat(text)
        return named.replace(tzinfo=named.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no date like 2026-01-31") from None


def _complete_folder(incomplete: str) -> list[str]:
    """Complete --folder: the folders that begin so."""
    parent = incomplete[: incomplete.rfind("/") + 1]
    try:
        names = [f"{parent}{each.name}" for each in Path(parent).iterdir() if each.is_dir()]
    except (OSError, ValueError):
        return []
    return sorted(name for name in names if name.startswith(incomplete) and name.isprintable())


_ANY = Rules()

Verbose = Annotated[bool, _ANY.option("--verbose", help="log more.", panel=OUTPUT)]
Quiet = Annotated[bool, _ANY.option("--quiet", help="write only results and errors.", panel=OUTPUT)]
NoColor = Annotated[bool, _ANY.option("--no-color", help="write without colour.", panel=OUTPUT)]
AsJson = Annotated[bool, _ANY.option("--json", help="write one JSON document.", panel=OUTPUT)]
Version = Annotated[
    bool,
    _ANY.option("--version", "-V", help="show the version.", callback=_show_version, is_eager=True),
]
Type = Annotated[MigrationTypeEnum | None, _ANY.option("--type", help="of this type only.")]
Folder = Annotated[
    Path | None,
    _ANY.option(
        "--folder",
        metavar="PATH",
        help="the migrations folder, in place of the setting's.",
        autocompletion=_complete_folder,
    ),
]


class _PlainHelp:
    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc] # Typer has it
        for each in params:
            if getattr(each, "is_flag", False):
                each.metavar = ""
            if not getattr(each, "help", None):
                # Click 8.5 drops what Typer up to 0.25 has set as the help of an argument.
                declared = get_type_hints(self.callback, include_extras=True)  # type: ignore[attr-defined] # Typer has it
                each.help = declared[each.name].__metadata__[0].help
        return params


class Command(_PlainHelp, TyperCommand):
    """One command, whose help has no type beside a flag, and a text beside each argument.

    Its epilog is shown as it is written: one Typer would put a line between any two, another none.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of help, the epilog last."""
        epilog, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        formatter.write(epilog or "")


class Group(_PlainHelp, TyperGroup):
    """All commands, whose help does so too and fits on one screen."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, all in one panel."""
        params = super().get_params(ctx)
        for each in params:
            each.rich_help_panel = None
            if each.name == "show_completion":
                each.help = "Show completion instead of installing it."
        return params
