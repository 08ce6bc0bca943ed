"""Imports a script and makes its migration."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import ScriptError, ScriptFailedError
from mpt_tool.migration import BASES, BaseMigration
from mpt_tool.scripts.folder import Script


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
    except BaseException as error:
        raise ScriptFailedError(f"{script.path} cannot be loaded", error) from error
    if isinstance(migration_class, type) and issubclass(migration_class, BaseMigration):
        return make(migration_class, script, root)
    bases = " or ".join(BASES)
    raise ScriptError(f"{script.path} has no class Migration that derives from {bases}")


def make(
    migration_class: type[BaseMigration], script: Script, root: Path, target: str = ""
) -> BaseMigration:
    """Return an instance of the migration of a script, for a target if it has any.

    Raises:
        ScriptFailedError: it cannot be made.
    """
    try:
        migration = migration_class()
        MigrationTypeEnum(migration.type)  # raises for a type of the author's own
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
