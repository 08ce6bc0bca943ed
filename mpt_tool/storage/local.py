"""Keeps the state, the lock and the history in files in the project's root."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from mpt_tool.checks import Check, right, wrong
from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.process.container import loss_of, mount_of
from mpt_tool.process.log import get_log
from mpt_tool.records import Attempt, FailedItems, MigrationRecord, Origin, describe
from mpt_tool.settings import load_settings
from mpt_tool.storage.local_files import explaining, flush_folder, require_regular
from mpt_tool.storage.local_history import HISTORY_FILE, append, append_all, entries
from mpt_tool.storage.local_lock import (
    HOLDER_FILE,
    LOCK_FILE,
    STOP_FILE,
    UNKNOWN,
    is_locked,
    run_to_stop,
    told_holder,
)
from mpt_tool.storage.local_settings import LocalSettings
from mpt_tool.storage.repository import Holder, Snapshot

if TYPE_CHECKING:
    from filelock import BaseFileLock

STATE_FILE = ".migrations-state.json"
# Whoever asks who holds the lock takes it for an instant.
_LOOK_SECONDS = 0.2

log = get_log(__name__)


def open_local(root: Path) -> "LocalRepository":
    """Return the repository in the files of a project; `SettingsError` if a setting is wrong."""
    return LocalRepository(root, is_ephemeral=load_settings(LocalSettings, root).ephemeral)


class LocalRepository:
    """A `StateRepository` in `.migrations-state.json`, one object by migration id.

    The file is replaced as a whole: at every instant it holds either the old state or the new. The
    history is in `.migrations-history.jsonl` beside it, an attempt a line.

    Args:
        root: of the project.
        is_ephemeral: whether the state is meant to be lost with the container that it is in.
        system: the root of the file system that tells whether it is in one, and what is mounted.
    """

    is_remote = False

    def __init__(self, root: Path, *, is_ephemeral: bool = False, system: Path = Path("/")) -> None:
        self._is_ephemeral, self._system = is_ephemeral, system
        # Resolved, so that a link to a file elsewhere stays a link when the file is replaced.
        self._path = Path(os.path.realpath(root / STATE_FILE))
        self._documents: dict[str, Any] | None = None
        # Kept as text, so that a save formats its own record alone: of 1,000 records that takes
        # 0.03 ms, a dump of all 2.3 ms on Python 3.12, and a run saves twice a migration.
        self._members: dict[str, str] | None = None
        # Which file `load` read, or `save` wrote.
        self._known: object = None
        # Which holder's file was written, and of which run, while this repository holds the lock.
        self._holder: object = None
        self._run_id: str | None = None

    def warnings(self) -> Sequence[str]:
        """Return what becomes of the state, if it does not outlast the container.

        Raises:
            StorageError: the file is a mount of its own. Written in place it could be left half
                written; and the lock, the history and the failed items beside it would be those of
                this container alone.
        """
        mount = mount_of(self._path, self._system)
        if mount and mount.point == self._path:
            raise StorageError(
                f"{self._path} is mounted as a single file: it cannot be replaced by a new state,"
                " and the lock, the history and the failed items beside it would be those of this"
                f" container alone. Mount a folder, and let {STATE_FILE} be a link into it"
            )
        loss = "" if self._is_ephemeral else loss_of(self._path, os.environ, self._system)
        advice = (
            "whatever is applied would run again. Mount a volume at its folder, or set STORAGE_TYPE"
            " to another store; if it is meant to be lost, set STORAGE_LOCAL_EPHEMERAL=true"
        )
        return [f"The state {self._path} is {loss}: {advice}"] if loss else []

    def load(self) -> Snapshot:
        """Return what the file holds; without a file that is nothing.

        Raises:
            StorageError: the file cannot be read as state; the message names the key or position.
        """
        with explaining(self._path, "read"):
            try:
                self._known = _identity(self._path)
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
        self.require_lock()
        if entries:
            append_all(entries, self._beside(HISTORY_FILE))
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
        self.require_lock()
        if _identity(self._path) != self._known:
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

    @contextmanager
    def lock(self, origin: Origin, wait_seconds: float, lost: Callable[[], None]) -> Iterator[None]:
        """Hold the lock on a file beside the state; the system frees it when the process dies."""
        if not self._path.parent.is_dir():
            # Not created on the way, as filelock would.
            raise StorageError(f"{self._path} cannot be written: its folder is not there")
        require_regular(self._path)
        lock = self._lock_file(_LOOK_SECONDS)
        if not lock and wait_seconds:
            log.info("Waiting for the lock, held by %s", self._who())
            lock = self._lock_file(wait_seconds)
        if not lock:
            raise LockedError(
                f"Locked by {self._who()}. Try again later, or wait for it with"
                " --wait SECONDS. The system frees the lock when that process ends"
            )
        try:
            self._holder, self._run_id = self._write_holder(origin), origin.run_id
            yield
        finally:
            with suppress(LockLostError, OSError):
                # If the lock was lost, it is another run's by now.
                self.require_lock()
                self._beside(STOP_FILE).unlink(missing_ok=True)
                self._beside(HOLDER_FILE).unlink()
            self._holder = self._run_id = None
            try:
                lock.release()
            except OSError:
                log.warning("The lock was lost during the run: a script closed its file")

    def require_lock(self) -> None:
        """Return if the file that names this holder is the one that it wrote."""
        path = self._beside(HOLDER_FILE)
        if self._holder and _identity(path) != self._holder:
            raise LockLostError(
                f"The lock was lost: somebody deleted or replaced {path};"
                " this run changes no record any more"
            )

    def unlock(self, name: str) -> None:
        """Refuse, with the process to end: what holds a lock of the system is one that lives."""
        # Where it was never locked, no file is left behind.
        if self._beside(LOCK_FILE).exists():
            lock = self._lock_file(0)
            if not lock:
                raise StorageError(
                    f"The lock cannot be taken from {name!r}, only from a process that ended. It is"
                    f" held by {self._who()}: end that one"
                )
            lock.release()
        raise StorageError("Nothing to unlock: nobody holds the lock")

    def holder(self) -> Holder | None:
        """Return who holds the lock, or was killed while it did; None if that is nobody."""
        # Its own lock is not looked at: some network drives would free it with that.
        is_held = self._holder is not None or is_locked(self._beside(LOCK_FILE))
        told = told_holder(self._beside(HOLDER_FILE))
        if told is None:
            return UNKNOWN if is_held else None
        is_to_stop = run_to_stop(self._beside(STOP_FILE)) == told.run_id
        return replace(told, is_alive=is_held, is_to_stop=is_to_stop)

    def ask_to_stop(self, holder: Holder) -> None:
        """Write which run is to stop to a file beside the state, which that run looks for."""
        path = self._beside(STOP_FILE)
        if not holder.run_id:
            raise StorageError(
                f"Which run holds the lock cannot be told: {path.with_name(HOLDER_FILE)} is gone or"
                " torn. End it by SIGTERM"
            )
        with explaining(path, "written"):
            path.write_text(json.dumps({"run_id": holder.run_id}))

    def is_asked_to_stop(self) -> bool:
        """Whether the file is there that asks a run to stop, and means this one."""
        return self._run_id is not None and run_to_stop(self._beside(STOP_FILE)) == self._run_id

    def append(self, entry: Attempt | FailedItems) -> None:
        """Add a line to the history file, on a line of its own even after one that was torn."""
        append(entry, self._beside(HISTORY_FILE))

    def attempts(self) -> Iterator[Attempt]:
        """Return all attempts, the newest first; a line that is none is left out."""
        return entries(Attempt, self._beside(HISTORY_FILE))

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        """Return the failed items of a migration, those added last first."""
        kept = entries(FailedItems, self._beside(HISTORY_FILE))
        return (each for each in kept if each.migration_id == migration_id)

    def checks(self) -> Iterator[Check]:
        """Yield whether the state can be read and written, and whether it lasts."""
        from mpt_tool.storage.local_checks import checks_of_files

        try:
            count = len(self.load().records)
        except StorageError as error:
            advice = "Correct the file at that place or its permissions, or take it from a backup"
            yield wrong("state", str(error), advice)
        else:
            is_there = f"{self._path}, {count:,} {'record' if count == 1 else 'records'}"
            is_new = f"{self._path} is not there yet: nothing was applied"
            yield right("state", is_there if self._path.exists() else is_new)
        others = (LOCK_FILE, HOLDER_FILE, HISTORY_FILE)
        beside = [self._beside(each) for each in others]
        yield from checks_of_files(self._path, beside, is_ephemeral=self._is_ephemeral)

    def _who(self) -> Holder:
        """Return who took the lock last, as far as that can be told."""
        return told_holder(self._beside(HOLDER_FILE)) or UNKNOWN

    def _beside(self, name: str) -> Path:
        return self._path.with_name(name)

    def _lock_file(self, seconds: float) -> "BaseFileLock | None":
        """Return the lock once it is taken; None if another holds it for so long.

        Raises:
            StorageError: the file cannot be locked.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self._beside(LOCK_FILE))
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            raise StorageError(f"{lock.lock_file} cannot be locked: {error}") from error
        return lock

    def _write_holder(self, origin: Origin) -> object:
        """Write who holds the lock, and return which file tells it."""
        path = self._beside(HOLDER_FILE)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with explaining(path, "written"):
            path.write_text(json.dumps({**origin.model_dump(mode="json"), "since": since}))
        return _identity(path)

    def _write(self, members: Iterable[str]) -> None:
        """Replace the file by one with these members, formatted as `_member` does."""
        temporary = self._beside(f"{self._path.name}.{os.urandom(4).hex()}.tmp")
        lines = ",\n  ".join(members)
        with explaining(self._path, "written"):
            try:
                with temporary.open("x", encoding="utf-8") as file:
                    file.write(f"{{\n  {lines}\n}}" if lines else "{}")
                    file.flush()
                    os.fsync(file.fileno())
                with suppress(FileNotFoundError):
                    shutil.copymode(self._path, temporary)
                temporary.replace(self._path)
                # Before what a time limit may cut short.
                self._known = _identity(self._path)
                flush_folder(self._path.parent)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                raise


def _identity(path: Path) -> object:
    """Return what differs between a file and any that replaces it; None if it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _record(key: str, document: object) -> MigrationRecord:
    """Return the record that stands under a key; `ValueError` if it is none or another's."""
    try:
        record = MigrationRecord.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"{key}: {describe(error)}") from error
    if record.migration_id != key:
        raise ValueError(f"{key}: its migration_id is {record.migration_id}")
    return record


def _member(key: str, document: object) -> str:
    """Return a record as it stands in the file: as a dump of all with an indent of 2 has it."""
    # A line break in a value is escaped: those that are there are of the layout.
    return f"{json.dumps(key)}: {json.dumps(document, indent=2)}".replace("\n", "\n  ")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object's members; a name that stands twice would lose one of them."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in members if names.count(name) > 1)
        raise ValueError(f"the key {twice} stands in it twice")
    return members
