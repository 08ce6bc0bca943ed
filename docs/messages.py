"""Gathers from the code what the tool can say, with a blank for what is known only then."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mpt_tool

BLANK = "…"
_LEVELS = ("info", "warning", "error")
# What is said beside errors and logs: wrong usage, and what --check finds.
_SAID_BY = {"fail": "Wrong usage", "BadParameter": "Wrong usage", "Finding": "--check"}


class Message(NamedTuple):
    """A message: what it is said as (an error's class, a level of the log), and its words."""

    kind: str
    words: str


def gathered() -> list[Message]:
    """Return every message of the package that stands in its code as text, each once."""
    folder = Path(mpt_tool.__file__).parent
    found: dict[Message, None] = {}
    for path in sorted(folder.rglob("*.py")):
        if path.parent.name != "testing":
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found.update(dict.fromkeys(_messages_of(tree)))
    return [each for each in found if any(map(str.isalpha, each.words))]


def all_texts() -> set[str]:
    """Return every text of the package's code, with the same blank."""
    folder = Path(mpt_tool.__file__).parent
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in folder.rglob("*.py"))
    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.expr))
    return {text.replace("%s", BLANK) for node in nodes for text in _texts(node, {})}


def _messages_of(tree: ast.AST) -> Iterator[Message]:
    texts = _assigned(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (kind := _kind(node.func)):
            for argument in node.args[:2] if kind == "--check" else node.args[:1]:
                for words in _texts(argument, texts):
                    yield Message(kind, words.replace("%s", BLANK).replace("%.0f", BLANK))


def _kind(function: ast.expr) -> str | None:
    """Return what a function says its first argument as, if it is one that says something."""
    if isinstance(function, ast.Attribute):
        if function.attr in _LEVELS and ast.unparse(function.value) == "log":
            return f"Log: {function.attr}"
        return _SAID_BY.get(function.attr)
    if isinstance(function, ast.Name):
        is_error = function.id.endswith("Error") and function.id[0] != "_"
        return function.id if is_error else _SAID_BY.get(function.id)
    return None


def _assigned(tree: ast.AST) -> dict[str, list[ast.expr]]:
    """Return what is assigned to each name anywhere in a module."""
    values: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values.setdefault(node.targets[0].id, []).append(node.value)
    return values


def _texts(node: ast.expr, assigned: dict[str, list[ast.expr]]) -> Iterator[str]:
    """Return all texts that an expression may be, as far as can be told from the code."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else BLANK for part in parts
            )
        case ast.IfExp(body=one, orelse=other):
            yield from _texts(one, assigned)
            yield from _texts(other, assigned)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            for before in list(_texts(left, assigned)) or [BLANK]:
                for after in list(_texts(right, assigned)) or [BLANK]:
                    yield before + after
        case ast.Name(id=name):
            for value in assigned.get(name, ()):
                if not isinstance(value, ast.Name):
                    yield from _texts(value, assigned)
