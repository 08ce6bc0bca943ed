"""The base class of all migrations."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from mpt_tool.clients.guard import Guard, allow_all
from mpt_tool.enums import MigrationTypeEnum


class BaseMigration(ABC):
    """One change, made once. The tool makes the instance, without arguments, and calls `run`."""

    type: ClassVar[MigrationTypeEnum]
    project_root: Path = Path()
    """The folder in which the command was started; `.env` and pyproject.toml are there."""
    guard: Guard = staticmethod(allow_all)
    """What may refuse the requests of the mixins' clients, in a rehearsal."""

    @abstractmethod
    def run(self) -> Awaitable[None] | None:
        """Make the change; an exception marks the migration as failed, to be run again.

        No event loop is running. `async def run(self)` is awaited.
        """

    @cached_property
    def log(self) -> logging.Logger:
        """The migration's own logger."""
        return logging.getLogger(type(self).__module__)
