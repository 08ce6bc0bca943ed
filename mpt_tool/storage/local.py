"""Keeps the state, the lock and the history in files in the project's root."""

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mpt_tool.checks import Check, right, wrong
from mpt_tool.errors import StorageError
from mpt_tool.records import Attempt, FailedItems, MigrationRecord, describe
from mpt_tool.storage.file_lock import FileLock, explaining_files, identity
from mpt_tool.storage.local_history import HISTORY_FILE, append, entries
from mpt_tool.storage.locked import Locked
from mpt_tool.storage.outlasting import StateFile, is_ephemeral
from mpt_tool.storage.repository import Snapshot
from mpt_tool.wording import so_many

STATE_FILE = ".migrations-state.json"


def open_local(root: Path) -> "LocalRepository":
    """Return the repository in the files of a project; `SettingsError` if a setting is wrong."""
    return LocalRepository(root, is_ephemeral=is_ephemeral(root))


class LocalRepository(Locked):
    """A `StateRepository` in `.migrations-state.json`, one object by migration id.

    The file is replaced as a whole: at every instant it holds either the old state or the new. The
    history is in `.migrations-history.jsonl` beside it, an attempt a line.

    Args:
        root: of the project.
        is_ephemeral: whether the state is meant to be lost with the container that it is in.
        system: the root of the file system that tells whether it is in one, and what is mounted.
    """

    is_remote = False
    _lock: FileLock

    def __init__(self, root: Path, *, is_ephemeral: bool = False, system: Path = Path("/")) -> None:
        # Resolved, so that a link to a file elsewhere stays a link when the file is replaced.
        self._path = Path(os.path.realpath(root / STATE_FILE))
        self._file = StateFile(self._path, is_ephemeral, system)
        # Of this repository alone, should another write at the same time against all rules.
        self._temporary = self._beside(f"{STATE_FILE}.{os.urandom(4).hex()}.tmp")
        self._documents: dict[str, Any] | None = None
        # Kept as text, so that a save formats its own record alone: of 1,000 records that takes
        # 0.03 ms, a dump of all 2.3 ms on Python 3.12, and a run saves twice a migration.
        self._members: dict[str, str] | None = None
        # Which file `load` read, or `save` wrote.
        self._known: object = None
        self._lock = FileLock(self._path, ".migrations-state")

    def warnings(self) -> Sequence[str]:
        """Return what becomes of the state; `StorageError` if the file is a mount of its own."""
        return self._file.warnings()

    def load(self) -> Snapshot:
        """Return what the file holds; without a file that is nothing.

        Raises:
            StorageError: the file cannot be read as state; the message names the key or position.
        """
        with explaining_files(self._path, "read"):
            try:
                self._known = identity(self._path)
                text = self._path.read_bytes()
            except FileNotFoundError:
                text = b"{}"
        try:
            documents = json.loads(text, object_pairs_hook=_once)
            if not isinstance(documents, dict):
                raise TypeError("it holds no object of records by id")
            records = {key: _record(key, each) for key, each in documents.items()}
        except (TypeError, ValueError, RecursionError) as error:
            raise StorageError(
                f"{self._path} cannot be read as state: {error}", topic="state-unreadable"
            ) from error
        self._documents, self._members = documents, None
        return Snapshot(records, holder=self.holder())

    def looks(self, wait_seconds: float) -> Iterator[Snapshot]:
        """Yield what the file holds, once: here the lock costs nothing."""
        yield self.load()

    def save(self, record: MigrationRecord) -> None:
        """Put the record into the file; all others stay in it as they were.

        Raises:
            StorageError: the file cannot be written, or something else changed it since it was
                read; it is as it was.
        """
        self._save([record])

    def keep_all(
        self, entries: Sequence[Attempt | FailedItems], records: Sequence[MigrationRecord]
    ) -> None:
        """Add the entries to the history, and then put all records into the file at once."""
        self._lock.require()
        if entries:
            append(entries, self._beside(HISTORY_FILE), outlasts_power=True)
        self._save(records)

    def _save(self, records: Sequence[MigrationRecord]) -> None:
        if self._documents is None:
            self.load()
        if self._members is None:
            documents = self._documents or {}
            self._members = {key: _member(key, each) for key, each in documents.items()}
        members = {
            **self._members,
            **{each.migration_id: _member(each.migration_id, each.document()) for each in records},
        }
        self._lock.require()
        if identity(self._path) != self._known:
            raise StorageError(
                f"{self._path} was changed by something else since it was read: it is left alone",
                topic="state-changed",
            )
        self._write(members.values())
        self._members = members

    def initialize(self) -> Sequence[str]:
        """Create an empty state file; if there is one, raise `StorageError`."""
        if self._path.exists():
            raise StorageError(f"Cannot initialize - State file already exists at {self._path}")
        self._write([])
        return [STATE_FILE]

    def append(self, entry: Attempt | FailedItems) -> None:
        """Add a line to the history file, on a line of its own even after one that was torn."""
        append([entry], self._beside(HISTORY_FILE))

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first; a line that is none is left out."""
        return entries(Attempt, self._beside(HISTORY_FILE))

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        """Return the failed items of a migration, those added last first."""
        kept = entries(FailedItems, self._beside(HISTORY_FILE))
        return (each for each in kept if each.migration_id == migration_id)

    def checks(self) -> Iterator[Check]:
        """Yield whether the state can be read and written, and whether it lasts."""
        from mpt_tool.storage.file_checks import checks_of_files

        try:
            count = len(self.load().records)
        except StorageError as error:
            advice = "Correct the file at that place or its permissions, or take it from a backup"
            yield wrong("state", str(error), advice)
        else:
            is_there = f"{self._path}, {so_many(count, 'record')}"
            is_new = f"{self._path} is not there yet: nothing was applied"
            yield right("state", is_there if self._path.exists() else is_new)
        beside = [*self._lock.files, self._beside(HISTORY_FILE)]
        yield from checks_of_files(self._file, beside)

    def _beside(self, name: str) -> Path:
        return self._path.with_name(name)

    def _write(self, members: Iterable[str]) -> None:
        """Replace the file by one with these members, formatted as `_member` does."""
        temporary = self._temporary
        lines = ",\n  ".join(members)
        with explaining_files(self._path, "written"):
            try:
                with temporary.open("x", encoding="utf-8") as file:
                    file.write(f"{{\n  {lines}\n}}" if lines else "{}")
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileNotFoundError):
                    _copy_mode(self._path, temporary)
                temporary.replace(self._path)
                # Before what a time limit may cut short.
                self._known = identity(self._path)
                _flush_folder(self._path.parent)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise


def _copy_mode(source: Path, target: Path) -> None:
    """Give a file the permissions of another, if it has others: a change is one more to flush."""
    mode = source.stat().st_mode
    if mode != target.stat().st_mode:
        target.chmod(stat.S_IMODE(mode))


def _record(key: str, document: object) -> MigrationRecord:
    """Return the record that stands under a key; `ValueError` if it is none or another's."""
    try:
        record = MigrationRecord.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"{key}: {describe(error)}") from error
    if record.migration_id != key:
        raise ValueError(f"{key}: its migration_id is {record.migration_id}")
    return record


def _member(key: str, document: Mapping[str, object]) -> str:
    """Return a record as it stands in the file: a column a line."""
    columns = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in document.items())
    return f"{json.dumps(key)}: {{\n    {',\n    '.join(columns)}\n  }}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members; a name that stands twice would lose one of them."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise ValueError(f"the key {twice} stands in it twice")
    return members


def _flush_folder(folder: Path) -> None:
    """Make a move within the folder outlast a power cut, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
