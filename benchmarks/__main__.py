"""Measures the tool, and writes the figures to stdout and to benchmarks/results.md."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import (
    batches,
    comparison,
    executors,
    growth,
    locking,
    reporting,
    results,
    sql,
    startup,
    telemetry,
)
from benchmarks.contenders import EARLIER_RELEASES, Contender, install

RESULTS = Path(__file__).with_name("results.md")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured where.

    Args:
        interpreters: those that a release is installed for already, by its name.
        folder: an empty folder.
        runs: how often each command is measured.
        longest: whether to run 10,000 migrations too.
        quick: whether to measure little, to see that it can be.
    """

    interpreters: Mapping[str, str]
    folder: Path
    runs: int
    longest: bool
    quick: bool

    @property
    def ours(self) -> Contender:
        """The tool as it is now."""
        return Contender("ours", Path(self.interpreters.get("ours", sys.executable)))

    def earlier(self) -> list[Contender]:
        """Return the earlier releases; those that are not installed yet are, in the folder."""
        return [
            Contender(name, Path(self.interpreters.get(name) or install(name, self.folder)), script)
            for name, script in EARLIER_RELEASES.items()
        ]


def main() -> None:
    """Measure as the options say and write the results; they are complete or left as they were."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(
            interpreters=dict(option.split("=", 1) for option in options.interpreter),
            folder=Path(name),
            runs=1 if options.quick else options.runs,
            longest=options.longest,
            quick=options.quick,
        )
        lines = []
        for line in _report(bench, options.only):
            print(line, flush=True)
            lines.append(line)
    if not options.quick:
        results.write(RESULTS, "\n".join(lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help="how often each command is measured")
    parser.add_argument(
        "--longest", action="store_true", help="run 10,000 migrations too: takes minutes"
    )
    parser.add_argument(
        "--only", choices=SECTIONS, help="measure one section, and leave the others as they are"
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure little, and print the results only"
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


def _report(bench: Bench, only: str | None) -> Iterator[str]:
    """Yield the lines of the results, or of one section, each as soon as it is measured."""
    if only:
        yield from SECTIONS[only](bench)
        return
    yield f"""\
# Benchmarks

Written by `nox -s benchmarks` on {os.cpu_count()} cores, Python {PYTHON}. Times are medians of
{bench.runs} runs, after one that is not counted. The migrations do nothing."""
    for section in SECTIONS.values():
        yield ""
        yield from section(bench)


def _comparison(bench: Bench) -> Iterator[str]:
    yield """\
## Beside the earlier releases

In parentheses the fastest and the slowest run. The releases take turns in equal projects; the share
is ours of the faster one's.
"""
    contenders = [bench.ours, *bench.earlier()]
    rows = comparison.compare(contenders, bench.folder / "comparison", bench.runs)
    yield from _table(["Case", "ours", *EARLIER_RELEASES, "share", "target"], rows)


def _locking(bench: Bench) -> Iterator[str]:
    yield """\
## What the lock costs

The tool beside itself with a lock that lets everybody in; they take turns.
"""
    yield from _table(locking.HEAD, locking.costs(bench.ours, bench.folder / "locking", bench.runs))


def _growth(bench: Bench) -> Iterator[str]:
    yield """\
## Growth

Time and peak memory. TAB: what bash waits for until it can offer migrations.
"""
    folder = bench.folder / "growth"
    rows = growth.grow(bench.ours, folder, bench.runs, longest=bench.longest)
    yield from _table(growth.HEAD, rows)


def _startup(bench: Bench) -> Iterator[str]:
    yield """\
## Where start-up time goes

Into the modules of each package themselves, in a project without migrations. Tracing the imports
slows them down: the commands take less otherwise.
"""
    yield from _table(
        startup.HEAD, startup.explain(bench.ours, bench.folder / "startup", bench.runs)
    )


def _batches(bench: Bench) -> Iterator[str]:
    yield """\
## Batch migrations

Each as a whole process of the command. In parentheses after a time the fastest and the slowest run;
the tool and the loop take turns. Servers are on the loopback interface, and rates are by the
arrival of the requests there.
"""
    extent = batches.SHORT if bench.quick else batches.LONG
    rows = batches.figures(bench.ours, bench.folder / "batches", bench.runs, extent)
    yield from _table(batches.HEAD, rows)


def _reports(bench: Bench) -> Iterator[str]:
    yield """\
## Reports

Each as a whole process of the command. In parentheses the fastest and the slowest run. The targets
for 5,000 attempts: 1 s and 1,000,000 bytes.
"""
    rows = reporting.figures(bench.ours, bench.folder / "reports", bench.runs)
    yield from _table(reporting.HEAD, rows)


def _executors(bench: Bench) -> Iterator[str]:
    yield """\
## Processes and machines

Items that compute for 20 ms; two worker processes, those of Dask on the loopback interface. The
case with one process is the same migration with `executor = "thread"` and one worker.
"""
    extent = executors.SHORT if bench.quick else executors.LONG
    rows = executors.figures(bench.ours, bench.folder / "executors", min(bench.runs, 3), extent)
    yield from _table(executors.HEAD, rows)


def _telemetry(bench: Bench) -> Iterator[str]:
    yield """\
## What telemetry costs

The tool beside itself without telemetry; they take turns. The receiver is on the loopback
interface. What does nothing shows what it costs to begin: OpenTelemetry is imported.
"""
    extent = telemetry.SHORT if bench.quick else telemetry.LONG
    rows = telemetry.costs(bench.ours, bench.folder / "telemetry", min(bench.runs, 3), extent)
    yield from _table(telemetry.HEAD, rows)


def _sql(bench: Bench) -> Iterator[str]:
    yield """\
## SQL

Round trips are counted between the tool and a server on the loopback interface. Runs of SQLite are
whole processes of the command, each once, on the disk of the machine.
"""
    extent = sql.SHORT if bench.quick else sql.LONG
    yield from _table(sql.HEAD, sql.figures(bench.ours, bench.folder / "sql", extent))


SECTIONS: Mapping[str, Callable[[Bench], Iterator[str]]] = {
    "comparison": _comparison,
    "lock": _locking,
    "growth": _growth,
    "startup": _startup,
    "batches": _batches,
    "executors": _executors,
    "reports": _reports,
    "telemetry": _telemetry,
    "sql": _sql,
}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(head)
    yield _row(["---"] * len(head))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
