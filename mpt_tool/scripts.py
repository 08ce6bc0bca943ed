"""The migrations folder: finds, names, scaffolds, checks and loads the scripts in it."""

import importlib.util
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from unicodedata import normalize

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import ScriptError, ScriptFailedError
from mpt_tool.inspection import inspect
from mpt_tool.migration import BASES, BaseMigration
from mpt_tool.plan import NAME_NOTES, Entry, Script, id_problem

_FILE_NAME = re.compile(r"(?P<order_id>[0-9]+)_(?P<migration_id>.*)\.py", re.DOTALL)
_LOCK_SECONDS = 10
_TIMESTAMP = "%Y%m%d%H%M%S"
_TEMPLATE = """\
from mpt_tool.migration import {base}


class Migration({base}):
    def run(self):
        # implement your logic here
        pass
"""


_BATCH_TEMPLATE = """\
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    def items(self, cursor):
        # everything after the cursor, in an order that is always the same
        return self.each(self.mpt_client.commerce.agreements, after=cursor)

    def process(self, item):
        # implement your logic here; an item may come again after a crash
        pass
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `check` objects to, and where."""

    file: str
    message: str
    line: int | None = None


def find(folder: Path) -> list[Script]:
    """Return the scripts in the folder, in order of runs, those with a malformed id among them.

    Raises:
        ScriptError: there is no such folder.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix == ".py" and path.is_file()]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ScriptError(f"Migration folder not found: {folder}") from error
    except OSError as error:
        raise ScriptError(f"Migration folder {folder} cannot be read: {error.strerror}") from error
    named = ((_FILE_NAME.fullmatch(path.name), path) for path in files)
    return sorted(
        Script(int(match["order_id"]), match["migration_id"], path)
        for match, path in named
        if match
    )


def find_sound(folder: Path) -> list[Script]:
    """Return the scripts in the folder, in order of runs, if each name tells which one is meant.

    Raises:
        ScriptError: there is no such folder, or an id in it is malformed or stands twice; the
            message names the files.
    """
    scripts = find(folder)
    for script in scripts:
        if script.name_problem:
            raise ScriptError(f"Invalid migration file name {script.path}: {script.name_problem}")
    for migration_id, same in _duplicates((s.migration_id, s) for s in scripts):
        raise ScriptError(
            f"Duplicate migration id {migration_id}: {_names(same)}. Rename or delete all but one"
        )
    return scripts


def check(scripts: Sequence[Script]) -> list[Finding]:
    """Return everything that is wrong with the scripts, without importing any."""
    findings = []
    for script in scripts:
        if script.name_problem:
            findings.append(Finding(script.path.name, f"malformed name: {script.name_problem}"))
        inspection = inspect(script.path, compiles=True)
        if inspection.problem:
            findings.append(Finding(script.path.name, inspection.problem, inspection.line))
    for what, keys in (
        ("id", ((s.migration_id, s) for s in scripts)),
        ("timestamp", ((str(s.order_id), s) for s in scripts)),
    ):
        for key, same in _duplicates(keys):
            message = f"duplicate {what} {key}: {_names(same)}"
            findings.extend(Finding(script.path.name, message) for script in same)
    return sorted(findings, key=lambda finding: (finding.file, finding.line or 0))


def drift(entries: Sequence[Entry], store_notes: Sequence[str]) -> list[Finding]:
    """Return what `check` objects to, beyond the names, once the store is there to compare."""
    of_entries = [
        Finding(entry.script.path.name if entry.script else entry.migration_id, note)
        for entry in entries
        for note in entry.notes
        if note not in NAME_NOTES
    ]
    return of_entries + [Finding("store", note) for note in store_notes]


def scaffold(
    folder: Path,
    migration_id: str,
    migration_type: MigrationTypeEnum,
    now: datetime,
    *,
    batch: bool = False,
) -> Path:
    """Create a script, and the folder if there is none, and return the script's path.

    With `batch` it walks over items. Its timestamp is `now`, or the next second that no script of
    the folder has.

    Raises:
        ScriptError: the id is malformed or exists already, or the file cannot be written.
    """
    if problem := id_problem(migration_id):
        raise ScriptError(f"Invalid migration id {migration_id!r}: {problem}")
    base = next(name for name, base_type in BASES.items() if base_type is migration_type)
    template = _BATCH_TEMPLATE if batch else _TEMPLATE.format(base=base)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_writer(folder):
            scripts = find(folder)
            for script in scripts:
                if _as_identifier(script.migration_id) == _as_identifier(migration_id):
                    raise ScriptError(f"Migration {migration_id} already exists: {script.path}")
            taken = {script.order_id for script in scripts}
            while int(now.strftime(_TIMESTAMP)) in taken:
                now += timedelta(seconds=1)
            path = folder / f"{now.strftime(_TIMESTAMP)}_{migration_id}.py"
            path.write_text(template, encoding="utf-8")
    except OSError as error:
        raise ScriptError(
            f"Migration {migration_id} cannot be created: {error.strerror}: {error.filename}"
        ) from error
    return path


def load(script: Script, root: Path) -> BaseMigration:
    """Import the script and return its migration.

    The module stays in `sys.modules` under a name of its own, and `root` becomes importable, after
    everything that is installed.

    Raises:
        ScriptFailedError: importing the script or making its migration failed.
        ScriptError: the script cannot be read, or holds no migration.
    """
    if str(root) not in sys.path:
        sys.path.append(str(root))
    # An earlier script may have changed the working folder.
    path = root / script.path
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ScriptError(f"{script.path} cannot be read: {error.strerror}") from error
    try:
        migration_class = getattr(_import(path, source), "Migration", None)
        if isinstance(migration_class, type) and issubclass(migration_class, BaseMigration):
            migration = migration_class()
            MigrationTypeEnum(migration.type)  # raises for a type of the author's own
            migration.project_root = root
            return migration
    except BaseException as error:
        raise ScriptFailedError(f"{script.path} cannot be loaded", error) from error
    bases = " or ".join(BASES)
    raise ScriptError(f"{script.path} has no class Migration that derives from {bases}")


def _import(path: Path, source: bytes) -> ModuleType:
    name = f"migration_{path.stem}"
    # Compiled anew: a cached file could be that of the script as it was a moment ago.
    code = compile(source, path, "exec", dont_inherit=True)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(code, module.__dict__)  # noqa: S102 - running the author's code is what this tool is for
    return module


def _as_identifier(migration_id: str) -> str:
    """Return the id as Python spells it: of two that look alike only one may exist."""
    return normalize("NFKC", migration_id)


def _duplicates(keyed: Iterable[tuple[str, Script]]) -> Iterator[tuple[str, list[Script]]]:
    groups = defaultdict(list)
    for key, script in keyed:
        groups[key].append(script)
    return ((key, same) for key, same in groups.items() if len(same) > 1)


def _names(scripts: Iterable[Script]) -> str:
    return ", ".join(script.path.name for script in scripts)


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep two processes from choosing one timestamp; the lock file is there only meanwhile."""
    from filelock import SoftFileLock, Timeout

    lock = folder / ".new-migration.lock"
    try:
        with SoftFileLock(lock, timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise ScriptError(
            f"Another process is creating a migration. If none is, delete {lock}"
        ) from error
