"""Keeps the state in a directory: a file a record, and a file for each entry of the history."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from mpt_tool.checks import Check, right, wrong
from mpt_tool.errors import StorageError
from mpt_tool.records import Attempt, FailedItems, MigrationRecord, Origin
from mpt_tool.settings import load_settings
from mpt_tool.storage.repository import Holder, Snapshot
from mpt_tool_directory.lock import DirectoryLock
from mpt_tool_directory.settings import DirectorySettings


def open_directory(root: Path) -> "DirectoryRepository":
    """Return the repository in the directory that the settings name.

    Args:
        root: of the project.

    Raises:
        SettingsError: the directory is not named.
    """
    return DirectoryRepository(root / load_settings(DirectorySettings, root).path)


class DirectoryRepository:
    """A `StateRepository` in a directory that several projects must not share."""

    is_remote = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._records, self._history = directory / "records", directory / "history"
        self._lock = DirectoryLock(directory)

    def load(self) -> Snapshot:
        """Return all records; `StorageError` if there is no directory, or a file holds none."""
        # Not nothing: a directory that is not mounted would have everything run again.
        if not self._records.is_dir():
            raise StorageError(f"{self._records} is not there: mpt-tool migrate --init creates it")
        records = {}
        for path in self._records.glob("*.json"):
            try:
                record = MigrationRecord.model_validate_json(path.read_bytes())
            except (OSError, ValidationError) as error:
                raise StorageError(f"{path} cannot be read as a record: {error}") from error
            records[record.migration_id] = record
        return Snapshot(records, holder=self.holder())

    def looks(self, wait_seconds: float) -> Iterator[Snapshot]:
        """Yield what the store holds, once: to look costs as little as the lock does."""
        yield self.load()

    def save(self, record: MigrationRecord) -> None:
        """Replace the file of the record: at every instant it is the old one or the new."""
        path = self._records / f"{record.migration_id}.json"
        with _explained(path):
            temporary = path.with_suffix(".tmp")
            with temporary.open("w", encoding="utf-8") as file:
                # The document has unknown keys, too, and lacks optional ones that are not set.
                file.write(_json(record))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)

    def initialize(self) -> Sequence[str]:
        """Create the directory and what is in it."""
        lacking = [each for each in (self._records, self._history) if not each.is_dir()]
        if not lacking:
            raise StorageError(f"Cannot initialize - {self._directory} lacks nothing")
        with _explained(self._directory):
            for each in lacking:
                each.mkdir(parents=True)
            (self._directory / "lock").touch()
        return [str(each) for each in lacking]

    def lock(
        self, origin: Origin, wait_seconds: float, lost: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Return a context that holds the lock, which the system frees when the process dies."""
        return self._lock.held(origin, wait_seconds)

    def require_lock(self) -> None:
        """Return: nobody takes a lock of the system from a process that lives."""

    def unlock(self, name: str) -> None:
        """Refuse: whoever holds the lock lives."""
        raise StorageError(f"The lock cannot be taken from {name!r}: end that process")

    def holder(self) -> Holder | None:
        """Return who holds the lock; None if nobody does."""
        return self._lock.holder()

    def ask_to_stop(self, holder: Holder) -> None:
        """Leave word for this holder that it is to stop."""
        with _explained(self._directory):
            self._lock.ask_to_stop(holder)

    def is_asked_to_stop(self) -> bool:
        """Whether word was left for the holder that this repository is."""
        return self._lock.is_asked_to_stop()

    def append(self, entry: Attempt | FailedItems) -> None:
        """Add a file to the history, numbered after the last one."""
        number = max((int(each.stem) for each in self._history.glob("*.json")), default=0) + 1
        path = self._history / f"{number:08}.json"
        with _explained(path), path.open("x", encoding="utf-8") as file:
            file.write(_json(entry))

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first."""
        return self._entries(Attempt)

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        """Return the failed items of a migration, those added last first."""
        return (each for each in self._entries(FailedItems) if each.migration_id == migration_id)

    def checks(self) -> Iterator[Check]:
        """Yield for `mpt-tool doctor` whether the directory can be read and written."""
        try:
            count = len(self.load().records)
        except StorageError as error:
            yield wrong("state", str(error), "Create it, or mend the file that is named")
            return
        yield right("state", f"{self._directory}, {count:,} records")
        if not os.access(self._records, os.W_OK):
            advice = "Give this user the right to"
            yield wrong("directory", f"{self._records} cannot be written to", advice)

    def _entries[Entry: BaseModel](self, kind: type[Entry]) -> Iterator[Entry]:
        """Yield the entries of a kind, the newest first; what is of another kind is no such one."""
        for path in sorted(self._history.glob("*.json"), reverse=True):
            with suppress(ValidationError):
                yield kind.model_validate_json(path.read_bytes())


def _json(kept: MigrationRecord | Attempt | FailedItems) -> str:
    """Return what is kept of it as JSON."""
    return json.dumps(kept.document(), indent=2)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise what keeps a file from being written as a message for the user."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
