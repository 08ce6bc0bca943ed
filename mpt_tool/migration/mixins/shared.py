"""What the mixins have in common."""

from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Self, overload

_turn = RLock()


class ClientMixin:
    """What a client is made of."""

    project_root: Path = Path()


class shared_property[T](cached_property[T]):  # noqa: N801 - used as `cached_property` is
    """A `cached_property` that is made once though several threads ask for it at a time."""

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> T: ...

    def __get__(self, instance: object | None, owner: type[Any] | None = None) -> Self | T:
        """Return what is cached, or make it while all others wait."""
        with _turn:
            return super().__get__(instance, owner)
