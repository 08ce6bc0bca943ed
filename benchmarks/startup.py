"""Where the time of a command goes that has nothing to do: into which imports, and what else."""

import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

COMMANDS = (["--help"], ["migrate", "--list"], ["migrate", "--data"])
HEAD = ("Part", *(f"`{' '.join(arguments)}`" for arguments in COMMANDS))
# What takes less than this share of every command is summed up as other packages.
NOTABLE_SHARE = 0.02
_LINE = re.compile(r"^import time: +(\d+) \| +\d+ \| +(\S+)", re.MULTILINE)


def explain(contender: Contender, folder: Path, runs: int) -> Iterator[Sequence[str]]:
    """Yield a row of the table for each notable part, the largest first, and for their sum.

    Measuring imports slows them down: the sum is more than the command takes otherwise.
    """
    (folder / "migrations").mkdir(parents=True)
    columns = [_parts(contender, arguments, folder, runs) for arguments in COMMANDS]
    totals = [sum(column.values()) for column in columns]

    def largest_share(name: str) -> float:
        return max(column[name] / total for column, total in zip(columns, totals, strict=True))

    names = sorted({name for column in columns for name in column}, key=largest_share, reverse=True)
    notable = [name for name in names if largest_share(name) >= NOTABLE_SHARE]
    for name in notable:
        yield name, *(f"{column[name]:.0f} ms" for column in columns)
    others = [sum(column[name] for name in names if name not in notable) for column in columns]
    yield "other packages", *(f"{milliseconds:.0f} ms" for milliseconds in others)
    yield "all", *(f"{milliseconds:.0f} ms" for milliseconds in totals)


def _parts(
    contender: Contender, arguments: Sequence[str], folder: Path, runs: int
) -> defaultdict[str, float]:
    """Return the milliseconds of a command by what they go into."""
    python = str(contender.python)
    traced_python = [python, "-X", "importtime"]
    command = [*traced_python, contender.command, *arguments]
    # This also compiles what Python keeps compiled.
    imported = _imports(measure(command, folder))
    at_start = _imports(measure([*traced_python, "-c", "pass"], folder))
    bare, whole = Measurements(), Measurements()
    samples = []
    for _ in range(runs):
        measure([python, "-c", "pass"], folder, bare)
        samples.append(_imports(measure(command, folder, whole)))
    parts: defaultdict[str, float] = defaultdict(float)
    for module in imported.keys() - at_start.keys():
        parts[_package(module)] += statistics.median(sample[module] for sample in samples)
    parts["Python itself"] = bare.median * 1000
    parts["other than imports"] = whole.median * 1000 - sum(parts.values())
    return parts


def _imports(output: str) -> Mapping[str, float]:
    """Return the milliseconds that each module took to import, without what it imports itself."""
    return {module: int(microseconds) / 1000 for microseconds, module in _LINE.findall(output)}


def _package(module: str) -> str:
    package = module.partition(".")[0]
    return "standard library" if package in sys.stdlib_module_names else package
