"""Writes the parts of the reference that are made from the code, so that they cannot drift.

A page asks for one by a line `<!-- generated: NAME -->`, where `docs/hooks.py` puts it.
"""

import json
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from inspect import getdoc
from typing import Any

import typer
from messages import gathered

import mpt_tool
from mpt_tool import errors
from mpt_tool.cli import app
from mpt_tool.cli.options import ANY, Rules
from mpt_tool.errors import ExitCode, MptToolError
from mpt_tool.settings import Section, is_secret, variable_names
from mpt_tool.view import topics
from mpt_tool.view.schemas import DOCUMENTS, FailedDocument, schema

# What Typer makes of the app: a group, which has commands.
GROUP: Any = typer.main.get_command(app)

_PART = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
_BOUNDS = {"Ge": "at least", "Gt": "more than", "Le": "at most", "Lt": "less than"}


def filled(page: str) -> str:
    """Return a page with the parts that it asks for."""
    return _PART.sub(lambda asked: PARTS[asked[1]]().strip(), page)


def commands() -> str:
    """Every command: its arguments and options, and which of them go together."""
    named = {"mpt-tool": GROUP, **{f"mpt-tool {name}": of for name, of in GROUP.commands.items()}}
    return "\n\n".join(_of_command(name, command) for name, command in named.items())


def settings() -> str:
    """Every setting: its names, its bounds and its default."""
    return "\n\n".join(_of_setting(section, field) for section, field in all_settings().values())


def exit_codes() -> str:
    """Every error, with what the process exits with."""
    names = {int(code): f"`ExitCode.{code.name}`" for code in ExitCode}
    rows = [
        (f"`{each.__name__}`", str(int(each.exit_code)), names[int(each.exit_code)], _summary(each))
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, MptToolError)
    ]
    return _table(("Error", "Code", "Its name", "When"), rows)


def documents() -> str:
    """Every JSON document, with its schema."""
    return "\n\n".join(
        f"## {_summary(each).rstrip('.')}\n\n`mpt_tool.view.schemas.{each.__name__}`\n\n"
        f"{_block(json.dumps(schema(each), indent=2), 'json')}"
        for each in dict.fromkeys([*DOCUMENTS.values(), FailedDocument])
    )


def messages() -> str:
    """Every message that stands in the code, by what it is said as."""
    by_kind: dict[str, list[str]] = {}
    for kind, words in gathered():
        by_kind.setdefault(kind, []).append(words)
    return "\n\n".join(
        "\n".join([f"## {kind}", "", *(f"- `` {words} ``" for words in sorted(found))])
        for kind, found in sorted(by_kind.items())
    )


def failures() -> str:
    """Every failure that can have several causes, as `mpt-tool explain` tells it."""
    return topics.page()


PARTS: Mapping[str, Callable[[], str]] = {
    each.__name__: each for each in (commands, settings, exit_codes, documents, messages, failures)
}


def all_settings() -> dict[str, tuple[type[Section], str]]:
    """Return the section and the field of each setting, by the documented variable."""
    for module in pkgutil.walk_packages(mpt_tool.__path__, "mpt_tool."):
        if not module.name.startswith(("mpt_tool.__main__", "mpt_tool.testing")):
            import_module(module.name)
    return {
        variable_names(section, field)[-1]: (section, field)
        for section in _sections_below(Section)
        for field in section.model_fields
    }


def _sections_below(section: type[Section]) -> Iterator[type[Section]]:
    for each in section.__subclasses__():
        if not each.__name__.startswith("_"):
            yield each
        yield from _sections_below(each)


def _of_command(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    rows = [(_spelled(each), each.help or "") for each in command.get_params(context)]
    parts = [
        f"## `{name}`",
        command.help or "",
        _block(usage),
        _table(("Option", "What it does"), rows),
    ]
    rules: Rules = getattr(sys.modules[command.callback.__module__], "RULES", ANY)
    if rules.one_of:
        parts.append(f"Exactly one of {_listed(rules.one_of)} is given.")
    if rules.excluding:
        groups = "\n".join(f"- {_listed(group)}" for group in rules.excluding)
        parts.append(f"Of each of these lines one at most is given:\n\n{groups}")
    if command.epilog:
        parts.append(_block(command.epilog.strip("\n")))
    return "\n\n".join(parts)


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    first, *others = parameter.opts
    value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
    return ", ".join([f"`{first}{value}`", *(f"`{other}`" for other in others)])


def _of_setting(section: type[Section], field: str) -> str:
    described = section.model_fields[field]
    *newer, documented = variable_names(section, field)
    key = f"{section.table}.{field}".strip(".").replace("_", "-")
    rows = [
        ("Newer name, which wins", f"`{newer[0]}`" if newer else "none"),
        (
            "Key in `[tool.mpt-tool]`",
            "never: it is a secret" if is_secret(section, field) else f"`{key}`",
        ),
        ("Default", _default(described.default, is_required=described.is_required())),
        *(("Bound", bound) for bound in map(_bound, described.metadata) if bound),
    ]
    facts = "\n".join(f"- {what}: {value}" for what, value in rows)
    return f"## `{documented}`\n\n{facts}"


def _default(value: object, *, is_required: bool) -> str:
    if is_required:
        return "none: it has to be set where it is needed"
    return "not set" if value is None else f"`{value}`"


def _bound(constraint: object) -> str:
    """Return in words what a value is to be at least or at most; nothing of other constraints."""
    kind = type(constraint).__name__
    return f"{_BOUNDS[kind]} {getattr(constraint, kind.lower()):,.0f}" if kind in _BOUNDS else ""


def _marked(text: str) -> str:
    """Return a text of help with its options as code."""
    return re.sub(r"--[\w-]+|\b[A-Z]+_[A-Z_]+\b", r"`\g<0>`", text)


def _summary(documented: Any) -> str:
    return (getdoc(documented) or "").partition("\n")[0]


def _block(text: str, language: str = "text") -> str:
    return f"```{language}\n{text}\n```"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
