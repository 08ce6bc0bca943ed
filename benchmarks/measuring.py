"""Runs a command in a process of its own and measures it."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class CommandFailedError(Exception):
    """A command that was to be measured exited with another code than 0."""


@dataclass(slots=True)
class Measurements:
    """What a command took each time that it ran."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The seconds that it typically took."""
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        """Return the median and the spread of the seconds."""
        return f"{self.median:.3f} s ({min(self.seconds):.3f} to {max(self.seconds):.3f})"


def measure(
    command: Sequence[str],
    folder: Path,
    into: Measurements | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command in the folder, add what it took, and return its output, errors included.

    It sees no variable of this process but PATH and what is given: none that keeps compiled
    modules from being stored, none that configures the tool, but what lets it be in a container.
    Linux counts the peak memory of this process as its own if that is larger.

    Raises:
        CommandFailedError: it failed.
    """
    variables = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "STORAGE_EPHEMERAL": "true",
        **(environment or {}),
    }
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT
        )
        # Popen would not tell the memory of this one child.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise CommandFailedError(f"{command} exited with {process.returncode}:\n{text[-2000:]}")
    if into is not None:
        into.seconds.append(seconds)
        into.cpu_seconds.append(usage.ru_utime + usage.ru_stime)
        into.megabytes.append(usage.ru_maxrss / 1024)  # kibibytes on Linux
    return text
