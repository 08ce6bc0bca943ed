"""The lock of the store: a file that the system locks, and frees when its process dies."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mpt_tool.errors import LockedError, StorageError
from mpt_tool.records import Origin
from mpt_tool.storage.repository import Holder

# Whoever looks at the lock takes it for an instant, which is not to pass for a holder.
_SHORTEST_WAIT_SECONDS = 0.2
_LOOK_SECONDS = 0.02


class DirectoryLock:
    """One process holds it; the file says who, and `stop` beside it which run is to stop."""

    def __init__(self, directory: Path) -> None:
        self._path, self._to_stop = directory / "lock", directory / "stop"
        self._run_id = ""

    @contextmanager
    def held(self, origin: Origin, wait_seconds: float) -> Iterator[None]:
        """Hold the lock; `LockedError` if another does for so long."""
        gives_up_at = time.monotonic() + max(wait_seconds, _SHORTEST_WAIT_SECONDS)
        try:
            file = self._path.open("r+")
        except FileNotFoundError as error:
            advice = "mpt-tool migrate --init creates it"
            raise StorageError(f"{self._path} is not there: {advice}") from error
        except OSError as error:
            raise StorageError(f"{self._path} cannot be locked: {error.strerror}") from error
        with file:
            while not _is_taken(file.fileno(), fcntl.LOCK_EX):
                if time.monotonic() > gives_up_at:
                    raise LockedError(f"Locked by {self.holder() or 'another process'}")
                time.sleep(_LOOK_SECONDS)
            since = datetime.now(UTC).isoformat()
            file.truncate()
            file.write(json.dumps({**origin.model_dump(mode="json"), "since": since}))
            file.flush()
            self._run_id = origin.run_id
            try:
                yield
            finally:
                self._run_id = ""
                self._to_stop.unlink(missing_ok=True)
                file.truncate(0)

    def holder(self) -> Holder | None:
        """Return who holds the lock; None if nobody does."""
        try:
            with self._path.open() as file:
                if not self._run_id and _is_taken(file.fileno(), fcntl.LOCK_SH):
                    return None
                told = json.load(file)
        except FileNotFoundError:
            return None
        except ValueError:
            # It is about to say.
            return Holder("", is_alive=True)
        return Holder(
            name=f"{told['host']}:{told['process']}",
            host=told["host"],
            process=str(told["process"]),
            since=datetime.fromisoformat(told["since"]),
            user=told["user"],
            run_id=told["run_id"],
            is_alive=True,
            is_to_stop=self._told_to_stop() == told["run_id"],
        )

    def ask_to_stop(self, holder: Holder) -> None:
        """Write which run is to stop."""
        self._to_stop.write_text(holder.run_id)

    def is_asked_to_stop(self) -> bool:
        """Whether the run that is to stop is the one that holds the lock here."""
        return bool(self._run_id) and self._told_to_stop() == self._run_id

    def _told_to_stop(self) -> str:
        with suppress(FileNotFoundError):
            return self._to_stop.read_text()
        return ""


def _is_taken(descriptor: int, kind: int) -> bool:
    """Take the lock, until the file is closed, if it is free; return whether it was."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
