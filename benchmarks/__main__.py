"""Measures the tool, and writes the figures to stdout and to benchmarks/results.md."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import comparison, growth, startup
from benchmarks.contenders import EARLIER_RELEASES, Contender, install

RESULTS = Path(__file__).with_name("results.md")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def main() -> None:
    """Measure as the options say and write the results; they are complete or left as they were."""
    options = _options()
    given = dict(option.split("=", 1) for option in options.interpreter)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = Contender("ours", Path(given.get("ours", sys.executable)))
        earlier = [
            Contender(version, Path(given.get(version) or install(version, folder)), script)
            for version, script in EARLIER_RELEASES.items()
        ]
        lines = []
        for line in _report(ours, earlier, folder, options):
            print(line, flush=True)
            lines.append(line)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="how often each command is measured")
    parser.add_argument(
        "--longest", action="store_true", help="run 10,000 migrations too: takes minutes"
    )
    parser.add_argument(
        "--interpreter",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="the interpreter that a release is installed for already;"
        f" NAME is ours (otherwise: this one) or {' or '.join(EARLIER_RELEASES)}",
    )
    return parser.parse_args()


def _report(
    ours: Contender, earlier: Sequence[Contender], folder: Path, options: argparse.Namespace
) -> Iterator[str]:
    """Yield the lines of the results, each as soon as it is measured."""
    runs = options.runs
    yield f"""\
# Benchmarks

Written by `nox -s benchmarks` on {os.cpu_count()} cores, Python {PYTHON}. Times are medians of
{runs} runs, after one that is not counted. The migrations do nothing.

## Beside the earlier releases

In parentheses the fastest and the slowest run. The releases take turns in equal projects; the share
is ours of the faster one's.
"""
    rows = comparison.compare([ours, *earlier], folder / "comparison", runs)
    yield from _table(["Case", "ours", *EARLIER_RELEASES, "share", "target"], rows)
    yield """
## Growth

Time and peak memory. TAB: what bash waits for until it can offer migrations.
"""
    rows = growth.grow(ours, folder / "growth", runs, longest=options.longest)
    yield from _table(growth.HEAD, rows)
    yield """
## Where start-up time goes

Into the modules of each package themselves, in a project without migrations. Tracing the imports
slows them down: the commands take less otherwise.
"""
    yield from _table(startup.HEAD, startup.explain(ours, folder / "startup", runs))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
