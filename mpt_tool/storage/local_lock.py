"""The files of the local store's lock: what is locked, who did so, which run is to stop."""

import json
from datetime import UTC, datetime
from pathlib import Path

from mpt_tool.errors import StorageError
from mpt_tool.storage.local_files import require_regular
from mpt_tool.storage.repository import Holder

LOCK_FILE = ".migrations-state.lock"
# Who holds the lock: some releases of filelock empty the file that they lock.
HOLDER_FILE = ".migrations-state.lock.json"
# The run that is to stop.
STOP_FILE = ".migrations-state.stop.json"
UNKNOWN = Holder("", is_alive=True)
"""Stands for whoever holds the lock, and is not told."""


def is_locked(path: Path) -> bool | None:
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


def told_holder(path: Path) -> Holder | None:
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


def run_to_stop(path: Path) -> str | None:
    """Return the run that is asked to stop; one that is half written is, a moment later."""
    try:
        require_regular(path)
        return str(json.loads(path.read_bytes())["run_id"])
    except (OSError, ValueError, LookupError, TypeError, StorageError):
        return None
