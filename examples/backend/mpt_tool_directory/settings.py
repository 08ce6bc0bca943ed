"""The settings of the store."""

from pathlib import Path
from typing import Annotated, ClassVar

from mpt_tool.settings import Section, variable


class DirectorySettings(Section):
    """Where the directory is: from the environment, `.env` or `[tool.mpt-tool.directory]`."""

    # Also what `mpt-tool doctor` finds them by: the name of the store.
    table: ClassVar[str] = "directory"

    path: Annotated[Path, variable("STORAGE_DIRECTORY_PATH")]
