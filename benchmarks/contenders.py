"""What is measured: the tool and its earlier releases, each in an environment of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# The version of a release and the name of its console script.
EARLIER_RELEASES = {"5.0.0": "mpt-tool", "6.0.6": "mpt-service-cli"}


@dataclass(frozen=True, slots=True)
class Contender:
    """A release and the interpreter that it is installed for."""

    name: str
    python: Path
    script: str = "mpt-tool"

    @property
    def command(self) -> str:
        """The path of the console script."""
        return str(self.python.with_name(self.script))


def install(version: str, folder: Path) -> Path:
    """Install a release in a new virtual environment and return the environment's interpreter."""
    environment = str(folder / version)
    # `uv run` names itself in the variable: it need not be on the path.
    uv = os.environ.get("UV", "uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    pip = [uv, "pip", "install", "--quiet", "--python", environment]
    subprocess.run([*pip, f"mpt-tool=={version}"], check=True)
    return Path(environment, "bin", "python")
