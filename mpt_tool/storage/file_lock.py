"""The lock of a store that is a file: one of the system on a file beside it.

The system frees it when the process dies, however it dies. A second file beside it names who holds
the lock, and a third one the run that is to stop.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.records import Origin
from mpt_tool.storage.repository import Holder

if TYPE_CHECKING:
    from filelock import BaseFileLock

# Whoever asks who holds the lock takes it for an instant.
_LOOK_SECONDS = 0.2
# Whoever holds the lock, and is not told.
_UNKNOWN = Holder("", is_alive=True)

log = get_log(__name__)


class FileLock:
    """The lock, as one process sees it.

    Args:
        store: the file of the store, whose folder the files of the lock are in.
        stem: what the names of those begin with.
    """

    def __init__(self, store: Path, stem: str) -> None:
        self._store = store
        self._locked = store.with_name(f"{stem}.lock")
        # Not what is locked: some releases of filelock empty that.
        self._told = store.with_name(f"{stem}.lock.json")
        self._stop = store.with_name(f"{stem}.stop.json")
        # Which file was written that tells the holder, and of which run, while it is this one.
        self._holder: object = None
        self._run_id: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """What is written while the lock is held."""
        return self._locked, self._told

    @contextmanager
    def hold(self, origin: Origin, wait_seconds: float, lost: Callable[[], None]) -> Iterator[None]:
        """Hold the lock meanwhile.

        Args:
            origin: who holds it.
            wait_seconds: how long to wait for another to give it back.
            lost: never called: a lock of the system cannot be lost.

        Raises:
            LockedError: another holds it, and does not give it back in so many seconds.
            StorageError: the files cannot be written.
        """
        if not self._store.parent.is_dir():
            # Not created on the way, as filelock would.
            raise StorageError(f"{self._store} cannot be written: its folder is not there")
        require_regular(self._store)
        lock = self._take(_LOOK_SECONDS)
        if not lock and wait_seconds:
            log.info("Waiting for the lock, held by %s", self._who())
            lock = self._take(wait_seconds)
        if not lock:
            raise LockedError(
                f"Locked by {self._who()}. Try again later, or wait for it with"
                " --wait SECONDS. The system frees the lock when that process ends"
            )
        try:
            self._holder, self._run_id = self._tell(origin), origin.run_id
            yield
        finally:
            with suppress(LockLostError, OSError):
                # If the lock was lost, it is another run's by now.
                self.require()
                self._stop.unlink(missing_ok=True)
                self._told.unlink()
            self._holder = self._run_id = None
            try:
                lock.release()
            except OSError:
                log.warning("The lock was lost during the run: a script closed its file")

    def require(self) -> None:
        """Return if the file that names this holder is the one that it wrote.

        Raises:
            LockLostError: it is not.
        """
        if self._holder and identity(self._told) != self._holder:
            raise LockLostError(
                f"The lock was lost: somebody deleted or replaced {self._told};"
                " this run changes no record any more"
            )

    def unlock(self, name: str) -> None:
        """Refuse, with the process to end: what holds a lock of the system is one that lives."""
        # Where it was never locked, no file is left behind.
        if self._locked.exists():
            lock = self._take(0)
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
        is_held = self._holder is not None or _is_locked(self._locked)
        told = _holder_in(self._told)
        if told is None:
            return _UNKNOWN if is_held else None
        is_to_stop = _run_in(self._stop) == told.run_id
        return replace(told, is_alive=is_held, is_to_stop=is_to_stop)

    def ask_to_stop(self, holder: Holder) -> None:
        """Write which run is to stop to a file, which that run looks for."""
        if not holder.run_id:
            raise StorageError(
                f"Which run holds the lock cannot be told: {self._told} is gone or torn."
                " End it by SIGTERM"
            )
        with explaining_files(self._stop, "written"):
            self._stop.write_text(json.dumps({"run_id": holder.run_id}))

    def is_asked_to_stop(self) -> bool:
        """Whether the file is there that asks a run to stop, and means this one."""
        return self._run_id is not None and _run_in(self._stop) == self._run_id

    def _who(self) -> Holder:
        """Return who took the lock last, as far as that can be told."""
        return _holder_in(self._told) or _UNKNOWN

    def _take(self, seconds: float) -> "BaseFileLock | None":
        """Return the lock once it is taken; None if another holds it for so long.

        Raises:
            StorageError: the file cannot be locked.
        """
        import filelock

        lock = filelock.FileLock(self._locked)
        try:
            lock.acquire(timeout=seconds)
        except filelock.Timeout:
            return None
        except (OSError, NotImplementedError) as error:
            raise StorageError(f"{lock.lock_file} cannot be locked: {error}") from error
        return lock

    def _tell(self, origin: Origin) -> object:
        """Write who holds the lock, and return which file tells it."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        with explaining_files(self._told, "written"):
            self._told.write_text(json.dumps({**origin.model_dump(mode="json"), "since": since}))
        return identity(self._told)


@contextmanager
def explaining_files(path: Path, done: str) -> Iterator[None]:
    """Raise what keeps a file from being read or written as a `StorageError` that names it."""
    try:
        require_regular(path)
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be {done}: {error.strerror}") from error


def require_regular(path: Path) -> None:
    """Refuse a pipe or a device in the place of a file: reading it might never end."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise StorageError(f"{path} is no regular file: put it out of the way")


def identity(path: Path) -> object:
    """Return what differs between a file and any that replaces it; None if it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_locked(path: Path) -> bool | None:
    """Whether a process has locked a file; None if that cannot be told.

    Not by filelock, whose lock only one can have: of two that look at once, each would take the
    other for the holder. Nor need the file be one that may be written to.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _holder_in(path: Path) -> Holder | None:
    """Return who took the lock last, if the file tells that."""
    try:
        require_regular(path)
        told = json.loads(path.read_bytes())
        host, process = str(told["host"]), str(told["process"])
        since = datetime.fromisoformat(told["since"]).astimezone(UTC)
        user, run_id = (str(told.get(name, "")) for name in ("user", "run_id"))
        return Holder(f"{host}:{process}", host, process, since, user, run_id)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StorageError):
        return None


def _run_in(path: Path) -> str | None:
    """Return the run that is asked to stop; one that is half written is, a moment later."""
    try:
        require_regular(path)
        return str(json.loads(path.read_bytes())["run_id"])
    except (OSError, ValueError, LookupError, TypeError, StorageError):
        return None
