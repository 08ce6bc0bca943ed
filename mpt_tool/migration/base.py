"""The base class of all migrations."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from mpt_tool.enums import MigrationTypeEnum


class BaseMigration(ABC):
    """One change, made once. The tool makes the instance, without arguments, and calls `run`."""

    type: ClassVar[MigrationTypeEnum]
    reads: ClassVar[tuple[str, ...]] = ()
    """How the paths of POST requests end that change nothing, as a search's does: `("/search",)`. A
    dry run and a rehearsal send these."""
    is_rehearsal: bool = False
    """Whether nothing is to be written, in a dry run or a rehearsal: for what the tool cannot
    guard, which is all but the clients of the mixins."""
    project_root: Path = Path()
    """The folder in which the command was started; `.env` and pyproject.toml are there."""

    @abstractmethod
    def run(self) -> Awaitable[None] | None:
        """Make the change; an exception marks the migration as failed, to be run again.

        No event loop is running. `async def run(self)` is awaited.
        """

    @cached_property
    def log(self) -> logging.Logger:
        """The migration's own logger."""
        return logging.getLogger(type(self).__module__)
