"""What other processes need to take part in a batch migration, and what of one cannot be there."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpt_tool.errors import ScriptError
from mpt_tool.migration import BatchMigration

# What is called in a worker process, and what only where the run is driven.
_IN_WORKERS = ("__init__", "prepare", "process", "process_many", "find")
_WHERE_DRIVEN = ("source", "items", "cursor", "count", "describe")
_OF_ITEMS = ("process", "process_many", "find")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """How other processes take part.

    Args:
        load: makes the migration in another process; it can be pickled.
        root: of the project, where they work.
        give_up: called if they are out of reach, with what happened.
        address: of a Dask scheduler; if empty, they are begun on this machine.
    """

    load: Callable[[], BatchMigration[Any]]
    root: Path
    give_up: Callable[[str], None]
    address: str = ""


@dataclass(slots=True)
class _Uses:
    """What methods do with `self`: the attributes that they read, and those that they set."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


def require_portable(migration: BatchMigration[Any]) -> None:
    """Return if nothing that the script says of itself keeps items from going to other processes.

    Raises:
        ScriptError: something does.
    """
    cls = type(migration)
    in_process = _uses(cls, _OF_ITEMS)
    if "once" in in_process.read:
        raise ScriptError(
            f"{cls.__name__} calls once() for an item, and a worker process has no place to keep"
            ' what it makes: call it in prepare(), or take executor = "process" out'
        )
    in_workers, beside = _uses(cls, _IN_WORKERS), _uses(cls, _WHERE_DRIVEN)
    missing = (in_process.read & beside.written) - in_workers.written - _of_classes(cls)
    if missing:
        name = min(missing)
        raise ScriptError(
            f"{cls.__name__} reads self.{name} for an item, and sets it where the items come from,"
            f" which a worker process never calls: set self.{name} in prepare()"
        )


def _uses(cls: type, names: tuple[str, ...]) -> _Uses:
    """Return what these methods of the author's do with `self`, and those that they call."""
    uses, left, seen = _Uses(), list(names), set[str]()
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        for attribute, is_set in _attributes(cls, name):
            (uses.written if is_set else uses.read).add(attribute)
            left.append(attribute)
    return uses


def _of_classes(cls: type) -> set[str]:
    """Return the names of what all instances have, whatever is called."""
    return {name for base in cls.__mro__ for name in vars(base)}


def _attributes(cls: type, name: str) -> Iterator[tuple[str, bool]]:
    """Yield each attribute of `self` in a method of the author's, and whether it is set there."""
    method = inspect.unwrap(getattr(cls, name, None) or _attributes)
    method = getattr(method, "fget", method)
    if not inspect.isfunction(method) or method.__module__.partition(".")[0] == "mpt_tool":
        return
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError, TypeError):
        # Without a text nothing can be told.
        return
    first = next(iter(inspect.signature(method).parameters), "")
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=owner), attr=attribute) if owner == first:
                yield attribute, isinstance(node.ctx, ast.Store)
