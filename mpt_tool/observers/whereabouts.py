"""Where a run goes on, as those are told who are elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from mpt_tool.records import Origin


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a run goes on.

    Args:
        extension: what the project calls itself.
        root: of the project.
        origin: the process.
    """

    extension: str
    root: Path
    origin: Origin

    def __str__(self) -> str:
        """Return it in one line."""
        origin = self.origin
        version = f" {origin.version}" if origin.version else ""
        where = f"{self.extension}{version} on {origin.host}"
        return f"{where}, process {origin.process}, mpt-tool {origin.tool_version}"
