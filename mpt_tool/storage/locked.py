"""What a store does whose lock is a part of its own."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from mpt_tool.records import Origin
from mpt_tool.storage.repository import Holder


class StoreLock(Protocol):
    """The lock of a store, as one process sees it."""

    def hold(
        self, origin: Origin, wait_seconds: float, lost: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Hold the lock meanwhile; `LockedError` if another does not give it back in time."""

    def require(self) -> None:
        """Return unless the lock is known to be lost; then raise `LockLostError`."""

    def unlock(self, name: str) -> None:
        """Take the lock from the holder of this name; `StorageError` if that cannot be."""

    def holder(self) -> Holder | None:
        """Return who holds the lock, or died while it did; None if that is nobody."""

    def ask_to_stop(self, holder: Holder) -> None:
        """Leave word for this holder, who looks for it."""

    def is_asked_to_stop(self) -> bool:
        """Whether word was found for the holder that this process is."""


class Locked:
    """The part of a `StateRepository`, and of a `Stoppable`, that is about the lock."""

    _lock: StoreLock

    def lock(
        self, origin: Origin, wait_seconds: float, lost: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Hold the lock meanwhile."""
        return self._lock.hold(origin, wait_seconds, lost)

    def require_lock(self) -> None:
        """Return unless the lock is known to be lost."""
        self._lock.require()

    def unlock(self, name: str) -> None:
        """Take the lock from the holder of this name, if it is one that can be taken."""
        self._lock.unlock(name)

    def holder(self) -> Holder | None:
        """Return who holds the lock, or died while it did; None if that is nobody."""
        return self._lock.holder()

    def ask_to_stop(self, holder: Holder) -> None:
        """Leave word for this holder, who looks for it."""
        self._lock.ask_to_stop(holder)

    def is_asked_to_stop(self) -> bool:
        """Whether word was found for the holder that this repository is."""
        return self._lock.is_asked_to_stop()
