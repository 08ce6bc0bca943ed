"""Tortures the tool and prints the figures; those of cases in full go to torture/results.md."""

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import results
from torture.cases import CASES
from torture.figures import Fault, Figure, table

RESULTS = Path(__file__).with_name("results.md")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_FAULTS_SHOWN = 20
_LONGEST_DETAIL = 1000


def main() -> None:
    """Run the cases that the options name, and exit with 1 if there was a fault."""
    options = _options()
    figures: list[Figure] = []
    lines = []
    for line in _report(options, figures):
        print(line, flush=True)
        lines.append(line)
    if not options.quick:
        results.write(RESULTS, "\n".join(lines))
    faults = [fault for figure in figures for fault in figure.faults]
    _explain(faults)
    sys.exit(1 if faults else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the short form, that of the tests")
    parser.add_argument("--only", choices=CASES, metavar="NAME", help=f"one of {', '.join(CASES)}")
    return parser.parse_args()


def _report(options: argparse.Namespace, figures: list[Figure]) -> Iterator[str]:
    """Yield the lines of the results, each as soon as it is known, and keep the figures."""
    yield f"""\
# Torture

Written by `nox -s torture` with Python {PYTHON}. None of what is found may ever happen: the number
before each of it is to be 0."""
    with tempfile.TemporaryDirectory() as folder:
        for name, case in CASES.items():
            if options.only in (None, name):
                yield f"\n## {name}\n"
                run = case.short if options.quick else case.long
                yield from table(_kept(run(Path(folder, name)), figures))


def _kept(found: Iterable[Figure], figures: list[Figure]) -> Iterator[Figure]:
    for figure in found:
        figures.append(figure)
        yield figure


def _explain(faults: Sequence[Fault]) -> None:
    for fault in faults[:_FAULTS_SHOWN]:
        print(f"{fault.kind}: {fault.detail[:_LONGEST_DETAIL]}", file=sys.stderr)
    if len(faults) > _FAULTS_SHOWN:
        print(f"and {len(faults) - _FAULTS_SHOWN} more", file=sys.stderr)


if __name__ == "__main__":
    main()
