"""What is to be known of the local store beside where the project is."""

from typing import Annotated, ClassVar

from mpt_tool.settings import Section, variable


class LocalSettings(Section):
    """Whether the state is meant to be lost with the container that it is in."""

    table: ClassVar[str] = "local"

    ephemeral: Annotated[bool, variable("STORAGE_LOCAL_EPHEMERAL")] = False
