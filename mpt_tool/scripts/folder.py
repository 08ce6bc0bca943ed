"""The migrations folder: creates it, and finds the scripts in it by their names."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mpt_tool.errors import ScriptError

_FILE_NAME = re.compile(r"(?P<order_id>[0-9]+)_(?P<migration_id>.*)\.py", re.DOTALL)
MAX_ID_LENGTH = 124
# What to type where there is none.
CREATE_ONE = "mpt-tool migrate --new-data NAME"
# Of a number that is the time at which a script was created.
_DIGITS = 14


@dataclass(frozen=True, slots=True, order=True)
class Script:
    """A file of the migrations folder that is named `<digits>_<id>.py`; sorts in order of runs."""

    order_id: int
    migration_id: str
    path: Path

    @property
    def name_problem(self) -> str | None:
        """What is wrong with the file's name, if anything is."""
        return id_problem(self.migration_id)


def id_problem(migration_id: str) -> str | None:
    """Return what is wrong with a migration id, or None."""
    if not migration_id.isidentifier():
        return "the id may hold only letters, digits and underscores, and not begin with a digit"
    if len(migration_id) > MAX_ID_LENGTH:
        return f"the id is longer than {MAX_ID_LENGTH} characters"
    return None


def id_in(given: str) -> str:
    """Return the id that somebody means by an id, or by the name or the path of a script."""
    name = given.rpartition("/")[2].removesuffix(".py")
    return re.sub(r"\A[0-9]+_", "", name)


def create(folder: Path) -> bool:
    """Create the folder, unless it is there; return whether it was created.

    Raises:
        ScriptError: it cannot be created.
    """
    is_new = not folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScriptError(
            f"Migration folder {folder} cannot be created: {error.strerror}"
        ) from error
    return is_new


def find(folder: Path, searched: str = "") -> list[Script]:
    """Return the scripts in the folder, in order of runs, those with a malformed id among them.

    Raises:
        ScriptError: there is no such folder; the message ends with where it was `searched`.
    """
    try:
        named = ((_FILE_NAME.fullmatch(path.name), path) for path in folder.iterdir())
        files = [(match, path) for match, path in named if match and path.is_file()]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ScriptError(
            f"Migration folder not found: {folder}{searched}",
            topic="nothing-found",
            then=CREATE_ONE,
        ) from error
    except OSError as error:
        raise ScriptError(f"Migration folder {folder} cannot be read: {error.strerror}") from error
    return sorted(
        Script(int(match["order_id"]), match["migration_id"], path) for match, path in files
    )


def find_sound(folder: Path, searched: str = "") -> list[Script]:
    """Return the scripts as `find` does, if each name tells which one is meant.

    Raises:
        ScriptError: there is no such folder, or an id in it is malformed or stands twice; the
            message names the files.
    """
    scripts = find(folder, searched)
    for script in scripts:
        if script.name_problem:
            raise ScriptError(f"Invalid migration file name {script.path}: {script.name_problem}")
    for migration_id, same in duplicates((s.migration_id, s) for s in scripts):
        raise ScriptError(
            f"Duplicate migration id {migration_id}: {names(same)}. Rename or delete all but one"
        )
    return scripts


def strays(folder: Path) -> list[str]:
    """Return for each file what is odd that looks like a script but is not named like one.

    Such a file is left alone: that it holds a class `Migration`, or begins with a digit as no
    module does that is imported, tells that it was meant for one.
    """
    try:
        files = (entry.name for entry in os.scandir(folder) if entry.name.endswith(".py"))
        others = sorted(name for name in files if not _FILE_NAME.fullmatch(name))
        meant = [each for each in others if each[0].isdigit() or _is_migration(folder / each)]
    except OSError:
        return []
    return [
        f"{name} is left alone: rename it to {_proper_name(name)} if it is a migration"
        for name in meant
    ]


def _is_migration(path: Path) -> bool:
    return re.search(rb"^class Migration\b", path.read_bytes(), re.MULTILINE) is not None


def _proper_name(name: str) -> str:
    """Return how a script would be named that somebody named otherwise."""
    stem = name.removesuffix(".py")
    number = re.match(r"[\d\W_]*", stem)
    assert number
    digits = "".join(c for c in number[0] if c in "0123456789").ljust(_DIGITS, "0")
    migration_id = re.sub(r"\W+", "_", stem[number.end() :]) or "id"
    return f"{digits if int(digits) else '<digits>'}_{migration_id}.py"


def duplicates(keyed: Iterable[tuple[str, Script]]) -> Iterator[tuple[str, list[Script]]]:
    """Return the scripts that share a key, by key."""
    groups = defaultdict(list)
    for key, script in keyed:
        groups[key].append(script)
    return ((key, same) for key, same in groups.items() if len(same) > 1)


def names(scripts: Iterable[Script]) -> str:
    """Return the names of the scripts' files for a message."""
    return ", ".join(script.path.name for script in scripts)
