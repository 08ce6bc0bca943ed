"""Makes a command of a function: with the options that all share, and its result written."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Any, Concatenate

import typer
from typer.core import TyperCommand

from mpt_tool.cli.hints import Hinting
from mpt_tool.cli.options import ANY, LOG_FORMAT, NO_COLOR, OUTPUT, VERSION, Rules
from mpt_tool.enums import LogFormatEnum
from mpt_tool.view.results import Result

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


class Command(Hinting, _PlainHelp, TyperCommand):
    """One command, whose help has no type beside a flag, and a text beside each argument.

    Its epilog is shown as it is written: one Typer would put a line between any two, another none.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the page of help, the epilog last."""
        epilog, self.epilog = self.epilog, None
        super().format_help(ctx, formatter)
        formatter.write(epilog or "")
