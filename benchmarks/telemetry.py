"""What telemetry costs a run: beside the same without it, with a receiver that takes all."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.mpt_server import MPTServer
from support.receiver import Receiver

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

HEAD = ("Case", "with telemetry", "without", "share", "target")

_RUN = ("migrate", "--data", "--quiet")
_WORKERS = 4
_REPLY_SECONDS = 0.01
# About 0.2 ms of work: less than any item takes that sends a request.
_WORK = "sum(range(20_000))"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured: how many items, and how many requests."""

    items: int
    requests: int


LONG = Extent(100_000, 4_000)
SHORT = Extent(10_000, 200)


def costs(ours: Contender, folder: Path, runs: int, extent: Extent) -> Iterator[Sequence[str]]:
    """Yield a row of the table for each case; with and without telemetry take turns.

    Args:
        ours: the release that runs.
        folder: where the projects are made.
        runs: how often each is measured.
        extent: how much is measured.
    """
    with Receiver() as receiver:
        for number, work in enumerate((_WORK, "None")):
            project = folder / f"items-{number}"
            projects.create(project, 1, _batch(extent.items, work))
            with_it, without = _measured(ours, project, runs, receiver.telemetry, {})
            items = f"{extent.items:,} items"
            case = f"{items} of 0.2 ms each" if work == _WORK else f"{items} that do nothing"
            target = "≤ 1.05" if work == _WORK else "none"
            yield _row(f"{case}, of the processor", _cpu(with_it), _cpu(without), target)
        project = folder / "requests"
        projects.create(project, 1, _requesting(extent.requests))
        with MPTServer() as server:
            server.add_agreement("1")
            server.delay(_REPLY_SECONDS, times=2 * runs * extent.requests)
            with_it, without = _measured(ours, project, runs, receiver.telemetry, server.settings)
        # Of each a span is sent, which the receiver here takes in the process of the platform.
        case = f"{extent.requests:,} requests of {_REPLY_SECONDS * 1000:.0f} ms, {_WORKERS} workers"
        yield _row(f"{case}, of the processor", _cpu(with_it), _cpu(without), "none")


def _measured(
    ours: Contender,
    project: Path,
    runs: int,
    telemetry: Mapping[str, str],
    environment: Mapping[str, str],
) -> tuple[Measurements, Measurements]:
    """Return what runs took with telemetry, and without."""
    with_it, without = Measurements(), Measurements()
    for _ in range(runs):
        for result, further in ((with_it, telemetry), (without, {})):
            projects.reset_state(project, 0)
            measure([ours.command, *_RUN], project, result, {**environment, **further})
    return with_it, without


def _cpu(measurements: Measurements) -> Measurements:
    """Return the seconds of the processor as those that count: what else runs adds none."""
    return Measurements(measurements.cpu_seconds)


def _row(case: str, with_it: Measurements, without: Measurements, target: str) -> Sequence[str]:
    share = with_it.median / without.median
    return case, str(with_it), str(without), f"{share:.2f} times", target


def _batch(items: int, work: str) -> str:
    return f"""\
from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        {work}
"""


def _requesting(items: int) -> str:
    return f"""\
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    workers = {_WORKERS}

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    def process(self, item):
        self.mpt_client.commerce.agreements.get("1")
"""
