"""The base class of all migrations."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.migration.steps import Steps


class BaseMigration(ABC):
    """One change, made once. The tool makes the instance, without arguments, and calls `run`."""

    type: ClassVar[MigrationTypeEnum]
    targets: ClassVar[str | tuple[str, ...]] = ()
    """What the migration is made for, one after the other: a tuple, or the name of an environment
    variable with a list that commas separate. Written in the class as it is, for it is read without
    importing the script."""
    requires: ClassVar[tuple[str, ...]] = ()
    """The ids of migrations that have to be applied before. Written in the class as it is, too."""
    target: str = ""
    """The one of `targets` that this instance is for."""
    reads: ClassVar[tuple[str, ...]] = ()
    """How the paths of POST requests end that change nothing, as a search's does: `("/search",)`. A
    dry run and a rehearsal send these."""
    is_rehearsal: bool = False
    """Whether nothing is to be written, in a dry run or a rehearsal: for what the tool cannot
    guard, which is all but the clients of the mixins."""
    project_root: Path = Path()
    """The root of the project: `.env` and pyproject.toml are there."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class that says what the tool is to say.

        Raises:
            TypeError: it sets `target`.
        """
        super().__init_subclass__(**kwargs)
        if "target" in vars(cls):
            raise TypeError(f"{cls.__name__} sets target, which the tool does: set targets")

    @abstractmethod
    def run(self) -> Awaitable[None] | None:
        """Make the change; an exception marks the migration as failed, to be run again.

        No event loop is running. `async def run(self)` is awaited.
        """

    def verify(self) -> Awaitable[None] | None:  # noqa: B027 - most have nothing to verify
        """Raise if what the migration was to reach is not so.

        Called after `run` or the last item, before the migration counts as applied; and by
        `mpt-tool verify` on any day after, when every write is refused. It stands alone: nothing
        that `run` or `prepare` set is there then.
        """

    def once(self, key: str, make: Callable[[], Any], find: Callable[[], Any] | None = None) -> Any:
        """Return what `make` returns, which is called just once, however often this runs.

        What it returned is kept before this returns. In `process` a key is one of the item, and
        kept until the cursor has passed it. In asynchronous code this is to be awaited, and `make`
        and `find` may be asynchronous.

        Args:
            key: names what is made.
            make: makes it by one request, and returns a JSON value: its id. Answered by a status
                from 400 to 499 it made nothing, and is called again the next time.
            find: returns what an earlier run made that died before that was kept, or None if it
                made nothing. It is asked in that case alone.

        Raises:
            StepError: an earlier run may have made it, and there is no `find`.
            StorageError: it cannot be kept, so it is not made.
        """
        return self._steps.once(key, make, find)

    @cached_property
    def log(self) -> logging.Logger:
        """The migration's own logger."""
        return logging.getLogger(type(self).__module__)

    @cached_property
    def _steps(self) -> Steps:
        """What keeps the steps: set by whoever drives the migration, else nothing beyond it."""
        return Steps()
