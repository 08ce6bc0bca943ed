"""Makes a command of a function: with the options that all share, and its result written."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from itertools import groupby
from typing import TYPE_CHECKING, Any, Concatenate

import typer
from typer.core import TyperCommand, TyperGroup

from mpt_tool.cli.options import ANY, LOG_FORMAT, NO_COLOR, OUTPUT, VERSION, Rules
from mpt_tool.enums import LogFormatEnum
from mpt_tool.errors import ExitCode
from mpt_tool.view.results import Result
from mpt_tool.view.terminal import is_coloured

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

type Work = Callable[Concatenate[Session, ...], Result]

JSON = {"as_json": ("--json", "write one JSON document.")}
CODE_QUALITY = {
    "as_code_quality": ("--code-quality", "write a Code Quality report, as GitLab reads it.")
}
CSV = {"as_csv": ("--csv", "write a line of CSV for each item.")}


def command(
    rules: Rules = ANY,
    forms: Mapping[str, tuple[str, str]] = JSON,
    announcements: Mapping[str, str] | None = None,
) -> Callable[[Work], Callable[..., None]]:
    """Return what makes a command for Typer of a function of a session and options of its own.

    Args:
        rules: which of its options go together.
        forms: the options for other forms than text that its result can be written in.
        announcements: what is said for people before it begins, unless it only looks: by the one
            option that was chosen, or else by its name; its arguments in braces.
    """
    flags = {
        **{name: rules.flag(*of, OUTPUT) for name, of in forms.items()},
        "no_color": NO_COLOR,
        "no_annotations": ANY.flag("--no-annotations", "mark nothing for a pipeline.", OUTPUT),
        "verbose": ANY.flag("--verbose", "log more.", OUTPUT),
        "quiet": ANY.flag("--quiet", "write only results and errors.", OUTPUT),
        "version": VERSION,
    }
    shared: list[tuple[str, Any, Any]] = [
        ("log_format", LOG_FORMAT, LogFormatEnum | None),
        *((name, option, bool) for name, option in flags.items()),
    ]

    def made_of(work: Work) -> Callable[..., None]:
        _, *own = signature(work).parameters.values()

        @wraps(work)
        def run(context: typer.Context, **given: Any) -> None:
            from mpt_tool.cli.session import Output, session

            chosen = rules.require(context)
            asked = chosen or work.__name__
            name = chosen.replace("-", "") or work.__name__.replace("_", "-")
            names = given.keys() & {each.name for each in fields(Output)}
            output = Output(**{name: given[name] for name in names})
            only_looks = given.get("dry_run") or given.get("rehearse")
            said = "" if only_looks else (announcements or {}).get(asked, "").format(**given)
            with session(name, output, said, given.get("folder")) as opened:
                opened.write(work(opened, **{each.name: given[each.name] for each in own}))

        added = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=option, annotation=annotation)
            for name, option, annotation in shared
        ]
        context = Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = [context, *own, *added]
        # What Typer reads.
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined] # inspect has it
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return made_of


# Of the Click that Typer has: its own one in some releases.
_UsageError: Any = typer.BadParameter.__base__


@contextmanager
def _usage_told_safely() -> Iterator[None]:
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
                value = [] if option.is_flag else [option.metavar or word.upper()]
                return " ".join(["mpt-tool", called, *needed, f"--{word}", *value])
    return ""


def _add_hint(error: Any, name: str, context: typer.Context) -> None:
    """Say in an error of usage what was meant by a name that is none here, if that is known."""
    if meant := _meant(name, context.find_root().command):
        error.message = f"{error.message.rstrip('.')}. Did you mean {meant}?"
        # What Typer would name is only alike.
        error.possibilities = None


class _Hinting:
    """Says of an option that is none of this command which one has it."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().parse_args(ctx, args)  # type: ignore[misc] # Typer has it
        except Exception as error:
            # Some releases of Typer have an exception of their own for this, others that of Click.
            if hasattr(error, "possibilities"):
                _add_hint(error, getattr(error, "option_name", ""), ctx)
            raise


class _PlainHelp:
    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc] # Typer has it
        for each in params:
            if getattr(each, "is_flag", False):
                each.metavar = ""
            if not getattr(each, "help", None):
                # Click 8.5 drops what Typer up to 0.25 has set as the help of an argument.
                declared = signature(self.callback).parameters  # type: ignore[attr-defined] # Typer has it
                each.help = declared[each.name].default.help
        return params


class Command(_Hinting, _PlainHelp, TyperCommand):
    """One command, whose help has no type beside a flag, and a text beside each argument.

    Its epilog is shown as it is written: one Typer would put a line between any two, another none.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of help, the epilog last."""
        epilog, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        formatter.write(epilog or "")


class Group(_Hinting, TyperGroup):
    """All commands, whose help fits on one screen and is written without Rich, at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the arguments; without any, write the page of help, which Typer would not."""
        if not (args or ctx.resilient_parsing):
            typer.echo(ctx.get_help(), color=ctx.color)
            ctx.exit(ExitCode.USAGE)
        return super().parse_args(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the options that stand before a command."""
        with _usage_told_safely():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Read the command and what stands after it, and run it."""
        with _usage_told_safely():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of help: the commands by panel, and the names of the options."""
        ctx.color = is_coloured(sys.stdout)
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{self.help}\n")
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
                _add_hint(error, args[0], ctx)
            raise
