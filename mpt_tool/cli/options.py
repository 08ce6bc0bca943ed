"""Options as data: each declared once, and said once with which others it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isinf
from pathlib import Path
from typing import Any

import typer

OUTPUT = "Output"
# How many items a dry run looks at.
DEFAULT_LIMIT = 1000
_OF_ALL = (("--verbose", "--quiet"),)


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
    excluding: Sequence[Sequence[str]] = ()

    def option(
        self, names: str, text: str, panel: str | None = None, default: Any = None, **further: Any
    ) -> Any:
        """Return an option for Typer, by its names in one text, whose help says what it needs."""
        first, *others = names.split()
        text = self._help(first, text)
        return typer.Option(default, first, *others, help=text, rich_help_panel=panel, **further)

    def flag(self, names: str, text: str, panel: str | None = None, **further: Any) -> Any:
        """Return the same of an option without a value."""
        return self.option(names, text, panel, default=False, **further)

    def argument(
        self, name: str, text: str, autocompletion: Any, default: Any = ..., **further: Any
    ) -> Any:
        """Return an argument for Typer, by default one that has to be given."""
        text = self._help(name, text)
        return typer.Argument(
            default, metavar=name, help=text, autocompletion=autocompletion, **further
        )

    def migration_id(self, text: str, autocompletion: Any, default: Any = ...) -> Any:
        """Return the argument that is a migration id, or the name or the path of its script."""
        return self.argument(
            "MIGRATION_ID", text, autocompletion, default, callback=as_migration_id
        )

    def _help(self, name: str, text: str) -> str:
        if needed := self.goes_with.get(name):
            return f"With {_listed(needed, 'or')}: {text}"
        return text[0].upper() + text[1:]

    def _hint(self, context: typer.Context, chosen: Sequence[str]) -> str:
        """Return what is to be said where not exactly one of `one_of` was chosen."""
        if chosen:
            return f", not {_listed(chosen, 'and')}"
        words = [f"--{value}" for value in context.params.values() if isinstance(value, str)]
        if meant := [name for name in self.one_of if name in words]:
            return f". Did you mean {meant[0]}?"
        unmet = [name for name in self.goes_with if name in _given(context)]
        return "".join(
            f". {name} goes with {_listed(self.goes_with[name], 'or')}" for name in unmet
        )

    def require(self, context: typer.Context) -> str:
        """Return the one of `one_of` that is given, nothing without these.

        It is wrong usage, which ends the command, if what is given does not go together.
        """
        given = _given(context)
        chosen = [name for name in self.one_of if name in given]
        if self.one_of and len(chosen) != 1:
            hint = self._hint(context, chosen)
            context.fail(f"use exactly one of {', '.join(self.one_of)}{hint}")
        for name, needed in self.goes_with.items():
            if name in given and given.isdisjoint(needed):
                context.fail(f"{name} goes with {_listed(needed, 'or')}")
        for group in (*self.excluding, *_OF_ALL):
            if len(given.intersection(group)) > 1:
                context.fail(f"{_listed(group, 'and')} exclude each other")
        return chosen[0] if chosen else ""


def _given(context: typer.Context) -> set[str]:
    """Return the first names of the options, and the arguments in capitals, that are given."""
    values = {each.opts[0]: context.params.get(each.name or "") for each in context.command.params}
    return {
        name if name.startswith("-") else name.upper()
        for name, value in values.items()
        if value is not None and value is not False and value not in ([], ())
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
    """Return the moment that a date, or date and time, in ISO 8601 names; UTC without an offset."""
    try:
        named = datetime.fromisoformat(text)
        return named.replace(tzinfo=named.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no date like 2026-01-31") from None


def as_migration_id(given: str | None) -> str | None:
    """Return the id that is given, or that of the script whose name or path is."""
    from mpt_tool.scripts.folder import id_in

    return given and id_in(given)


def finite(value: float | None) -> float | None:
    """Return a number that is given; it is wrong usage if there is no end to it."""
    if value is not None and isinf(value):
        raise typer.BadParameter("use a number; 0 for as many as can be")
    return value


def folders(incomplete: str) -> list[str]:
    """Complete a path of a folder."""
    parent = incomplete[: incomplete.rfind("/") + 1]
    try:
        names = [f"{parent}{each.name}" for each in Path(parent).iterdir() if each.is_dir()]
    except (OSError, ValueError):
        return []
    return sorted(name for name in names if name.startswith(incomplete) and name.isprintable())


ANY = Rules()

NO_COLOR = ANY.flag("--no-color", "write without colour.", OUTPUT)
LOG_FORMAT = ANY.option("--log-format", "text, or json: an object a line.", OUTPUT, metavar="FORM")
VERSION = ANY.flag("--version -V", "show the version.", callback=_show_version, is_eager=True)
