"""What a script's syntax tree tells, so that listing and checking never import a script."""

import ast
import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.migration import BASES
from mpt_tool.wording import did_you_mean

OF_DJANGO = "it is one of Django's, which are run by Django: is another folder meant?"
# What a migration may derive from beside a base, without another method to run.
_MIXINS = {"MPTAPIClientMixin", "AirtableAPIClientMixin"}
_CHECKSUM_DIGITS = 16
# What is read in the class alone, and how it has to stand there.
_WRITTEN = {
    "targets": "the list itself there, or the name of the variable that has it",
    "requires": "the list of ids itself there",
}


@dataclass(frozen=True, slots=True)
class Syntax:
    """What a script's migration is, as far as can be told, and what is wrong with it and where.

    Args:
        type: of the migration; None if it cannot be told.
        is_batch: whether it is a batch migration.
        targets: what it is made for, or the variable that lists that.
        requires: the ids of those that have to be applied before.
        verifies: whether it has a `verify`.
        checksum: of the tree, if that was asked for.
        problem: what is wrong with it,
        line: and where.
    """

    type: MigrationTypeEnum | None = None
    is_batch: bool = False
    targets: str | tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    verifies: bool = False
    checksum: str | None = None
    problem: str | None = None
    line: int | None = None


def read_syntax(path: Path, *, compiles: bool = False, sums: bool = False) -> Syntax:
    """Return what the syntax tree of a script tells; never raises for what the file holds.

    With `compiles` it is compiled too, which finds the errors of syntax that are none of grammar,
    such as a `break` outside a loop. Nothing is run. With `sums` its checksum is told.
    """
    try:
        # A doubtful escape in a script is no news of this tool's.
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes(), str(path))
            if compiles:
                compile(tree, str(path), "exec", dont_inherit=True)
        syntax = _syntax_of(tree)
        return replace(syntax, checksum=_checksum_of(tree)) if sums else syntax
    except SyntaxError as error:
        return Syntax(problem=f"syntax error: {error.msg}", line=error.lineno)
    except OSError as error:
        return Syntax(problem=f"cannot be read: {error.strerror}")
    except (ValueError, RecursionError, MemoryError) as error:
        return Syntax(problem=f"cannot be parsed: {error}")


def checksum(path: Path) -> str | None:
    """Return a checksum of a script's syntax tree; None if there is none.

    Comments and formatting do not count, and every release of Python returns the same.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes())
        return _checksum_of(tree)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _checksum_of(tree: ast.Module) -> str:
    return hashlib.sha256(_shape(tree).encode()).hexdigest()[:_CHECKSUM_DIGITS]


def _shape(node: object) -> str:
    """Return the tree as text, without what is empty: newer releases have more of that."""
    if isinstance(node, ast.JoinedStr):
        # Where an f-string is cut into constants differs between releases.
        return f"JoinedStr({''.join(map(_shape_of_part, node.values))})"
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_shape(value)}"
            for name in node._fields
            if (value := getattr(node, name, None)) is not None and value != []
        ]
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(_shape, node))}]"
    return ascii(node)


def _shape_of_part(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value).encode("unicode_escape").decode()
    return f"{{{_shape(part)}}}"


def _syntax_of(tree: ast.Module) -> Syntax:
    statements = list(_statements(tree.body))
    classes = {node.name: node for node in statements if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: alias.name
        for statement in statements
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    if "Migration" not in classes:
        if {"Migration", "*"} & imported.keys() or "Migration" in _assigned(statements):
            return Syntax()
        meant = [
            name
            for name in classes
            if BASES.keys() & {*_bases(name, classes, imported, frozenset())}
        ]
        hint = f": rename {meant[0]} to Migration" if meant else ""
        return Syntax(problem=f"no Migration class{hint}")
    bases = list(_bases("Migration", classes, imported, frozenset()))
    if _is_of_django(statements) and not BASES.keys() & {*bases}:
        return Syntax(problem=OF_DJANGO, line=classes["Migration"].lineno)
    known = [BASES[name] for name in bases if name in BASES]
    is_batch = any(name.startswith("Batch") for name in bases if name in BASES)
    members = dict(_members("Migration", classes, frozenset()))
    run = next((each for each in classes["Migration"].body if _name_of(each) == "run"), None)
    if is_batch and run:
        return Syntax(problem="Migration defines run() and is driven by its items", line=run.lineno)
    if not bases:
        problem = f"Migration derives from neither {' nor '.join(BASES)}"
        return Syntax(problem=problem, line=classes["Migration"].lineno)
    says_type = any(_sets_type(node) for node in classes.values())
    type_ = known[0] if known and not says_type else None
    targets, requires = (_names_in(members.get(name)) for name in _WRITTEN)
    if targets is None or not isinstance(requires, tuple):
        unreadable = "targets" if targets is None else "requires"
        return _unreadable(unreadable, members, type_, is_batch=is_batch)
    found = Syntax(type_, is_batch, targets, requires, verifies="verify" in members)
    if is_batch or "run" in members or not {*bases} <= BASES.keys() | _MIXINS:
        return found
    return replace(found, problem=lacking("run", members), line=classes["Migration"].lineno)


def lacking(method: str, members: Iterable[str]) -> str:
    """Return what is said of a migration without a method that it has to have.

    Args:
        method: its name.
        members: the names of what the migration defines.
    """
    hint = did_you_mean(method, members) or f": define {method}(self), which is what is run"
    return f"Migration has no {method}(){hint}"


def _is_of_django(statements: Iterable[ast.stmt]) -> bool:
    return any(
        isinstance(each, ast.ImportFrom) and (each.module or "").startswith("django.db")
        for each in statements
    )


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when the module is imported, those in branches too."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for field in ("body", "orelse", "handlers", "finalbody"):
                yield from _statements(getattr(statement, field, []))


def _sets_type(node: ast.ClassDef) -> bool:
    """Whether a class says its type itself, in a way that only running it would tell."""
    defined = {getattr(statement, "name", None) for statement in node.body}
    return "type" in defined | _assigned(node.body)


def _members(
    name: str, classes: Mapping[str, ast.ClassDef], seen: frozenset[str]
) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what a class defines, after what the classes of the script do that it derives from."""
    for base in reversed(classes[name].bases):
        if isinstance(base, ast.Name) and base.id in classes and base.id not in seen:
            yield from _members(base.id, classes, seen | {name})
    for statement in classes[name].body:
        for defined in (_name_of(statement), *_assigned([statement])):
            if defined:
                yield defined, statement


def _name_of(statement: ast.stmt) -> str | None:
    return getattr(statement, "name", None)


def _names_in(statement: ast.stmt | None) -> str | tuple[str, ...] | None:
    """Return the text or the texts that a statement assigns; None if it assigns anything else."""
    if statement is None:
        return ()
    try:
        names = ast.literal_eval(getattr(statement, "value", None) or statement)
    except (ValueError, TypeError):
        return None
    if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return names if isinstance(names, str) else None


def _unreadable(
    name: str,
    members: Mapping[str, ast.stmt],
    migration_type: MigrationTypeEnum | None,
    *,
    is_batch: bool,
) -> Syntax:
    problem = f"{name} cannot be read without running the script: write {_WRITTEN[name]}"
    return Syntax(migration_type, is_batch, problem=problem, line=members[name].lineno)


def _assigned(statements: Sequence[ast.stmt]) -> set[str | None]:
    """Return the names that the statements give a value."""
    targets: list[ast.expr] = []
    for statement in statements:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            targets.append(statement.target)
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _bases(
    name: str,
    classes: Mapping[str, ast.ClassDef],
    imported: Mapping[str, str],
    seen: frozenset[str],
) -> Iterator[str]:
    """Yield the original names of the bases of a class, through the classes of the script."""
    for base in classes[name].bases:
        match base.value if isinstance(base, ast.Subscript) else base:
            case ast.Attribute(attr=attribute):
                yield attribute
            case ast.Name(id=other) if other in classes and other not in seen:
                yield from _bases(other, classes, imported, seen | {name})
            case ast.Name(id=other) if other != "object":
                yield imported.get(other, other)
            case ast.Name():
                pass
            case other_base:
                yield ast.unparse(other_base)
