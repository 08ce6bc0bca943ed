"""Creates a script, with a timestamp that no other has."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from unicodedata import normalize

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import ScriptError
from mpt_tool.migration import BASES
from mpt_tool.scripts.folder import find, id_in, id_problem

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
    def source(self):
        # what is walked over; it may be filtered
        return self.mpt_client.commerce.agreements

    def process(self, item):
        # implement your logic here; an item may come again after a crash
        return "changed"
"""


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
        meant = re.sub(r"\W+", "_", id_in(migration_id)).strip("_")
        hint = "" if id_problem(meant) else f". Did you mean {meant}?"
        raise ScriptError(f"Invalid migration id {migration_id!r}: {problem}{hint}")
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


def _as_identifier(migration_id: str) -> str:
    """Return the id as Python spells it: of two that look alike only one may exist."""
    return normalize("NFKC", migration_id)


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
