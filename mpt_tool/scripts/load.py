"""Imports a script and makes its migration."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import ScriptError, ScriptFailedError
from mpt_tool.migration import BASES, BaseMigration
from mpt_tool.process.signals import Interrupted
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.syntax import OF_DJANGO, checksum, lacking
from mpt_tool.settings import env_file_exported


def load(script: Script, root: Path) -> BaseMigration:
    """Import the script and return its migration.

    The module stays in `sys.modules` under a name of its own, and `root` becomes importable, after
    everything that is installed.

    Raises:
        ScriptFailedError: importing the script or making its migration failed.
        ScriptError: the script cannot be read, or holds no migration.
        Interrupted: a stop came meanwhile.
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
        module = _import(path, source)
        migration_class = getattr(module, "Migration", None)
    except Interrupted:
        raise
    except BaseException as error:
        raise ScriptFailedError(
            f"{script.path} cannot be loaded", error, topic="cannot-be-loaded"
        ) from error
    if not (isinstance(migration_class, type) and issubclass(migration_class, BaseMigration)):
        *others, last = BASES
        bases = f"{', '.join(others)} or {last}"
        hint = _near_miss(module)
        raise ScriptError(f"{script.path} has no class Migration that derives from {bases}{hint}")
    if missing := getattr(migration_class, "__abstractmethods__", None):
        defined = [name for name in vars(migration_class) if name[0] != "_"]
        lack = lacking(min(missing), defined)
        raise ScriptError(f"{script.path} cannot be loaded: {lack}")
    return make(migration_class, script, root)


def load_elsewhere(
    script: Script,
    root: Path,
    target: str,
    overrides: Mapping[str, float],
    source: str | None,
) -> BaseMigration:
    """Import the script in a worker process and return its migration, as it is where it is driven.

    Args:
        script: the script.
        root: of the project.
        target: the one that the migration is for.
        overrides: attributes that have another value in this run.
        source: the checksum of the script where the run is driven.

    Raises:
        ScriptFailedError: importing the script or making its migration failed.
        ScriptError: the script cannot be read, or is not the same here.
    """
    if checksum(root / script.path) != source:
        raise ScriptError(
            f"{root / script.path} is not what it is where the run is driven: deploy the same to"
            " all workers"
        )
    # For as long as the process lasts.
    env_file_exported(root).__enter__()
    migration = load(script, root)
    if target:
        migration = make(type(migration), script, root, target)
    vars(migration).update(overrides)
    return migration


def _near_miss(module: ModuleType) -> str:
    """Return what a module holds that was probably meant for its migration, to end a message."""
    found = getattr(module, "Migration", None)
    if isinstance(found, type):
        is_of_django = any(base.__module__.startswith("django.") for base in found.__mro__)
        return f": {OF_DJANGO}" if is_of_django else ""
    own = [
        each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__
    ]
    meant = [e.__name__ for e in own if isinstance(e, type) and issubclass(e, BaseMigration)]
    return f": rename {meant[0]} to Migration" if meant else ""


def make(
    migration_class: type[BaseMigration], script: Script, root: Path, target: str = ""
) -> BaseMigration:
    """Return an instance of the migration of a script, for a target if it has any.

    Raises:
        ScriptFailedError: it cannot be made.
        Interrupted: a stop came meanwhile.
    """
    try:
        migration = migration_class()
        MigrationTypeEnum(migration.type)  # raises for a type of the author's own
    except Interrupted:
        raise
    except BaseException as error:
        raise ScriptFailedError(f"{script.path} cannot be loaded", error) from error
    migration.project_root, migration.target = root, target
    return migration


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
