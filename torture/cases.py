"""The cases of the torture, each in a long form for the figures and a short one for the tests."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from support.airtable_server import RateLimit

from torture import (
    broken_inputs,
    contention,
    early_signals,
    exceptions,
    exits,
    frozen_holders,
    injections,
    leaks,
    long_waits,
    random_kills,
    sql,
    steps,
    system_calls,
    ways,
    worker_kills,
)
from torture.figures import Figure

type Figures = Callable[[Path], Iterable[Figure]]


@dataclass(frozen=True, slots=True)
class Case:
    """A case, as functions that make its figures in an empty folder."""

    long: Figures
    short: Figures


# Airtable's 30 seconds would be too long for a test.
_LENIENT = RateLimit(lockout=1, retry_after=True)
CASES: Mapping[str, Case] = {
    "contention": Case(
        partial(contention.figures, rounds=20, processes=16, migrations=20),
        partial(contention.figures, rounds=1, processes=2, migrations=2),
    ),
    "pods": Case(
        partial(
            contention.pods,
            rounds=3,
            processes=10,
            migrations=3,
            wait_seconds=120,
            limit=RateLimit(),
        ),
        partial(
            contention.pods, rounds=1, processes=3, migrations=3, wait_seconds=30, limit=_LENIENT
        ),
    ),
    "random-kills": Case(
        partial(random_kills.figures, kills=300, migrations=100),
        partial(random_kills.figures, kills=3, migrations=30),
    ),
    "sql-contention": Case(
        partial(sql.crowds, rounds=20, processes=16, migrations=20),
        partial(sql.crowds, rounds=1, processes=2, migrations=2),
    ),
    "sql-kills": Case(
        partial(sql.kills, kills=100, migrations=100),
        partial(sql.kills, kills=2, migrations=20),
    ),
    "steps": Case(
        partial(steps.figures, kills=200, items=300),
        partial(steps.figures, kills=10, items=60),
    ),
    "worker-kills": Case(
        partial(worker_kills.figures, kills=100, items=1_200),
        partial(worker_kills.figures, kills=2, items=300),
    ),
    "system-calls": Case(
        partial(system_calls.figures, migrations=3),
        partial(system_calls.figures, migrations=1, every=25),
    ),
    "early-signals": Case(
        partial(early_signals.figures, signals=300, every=1),
        partial(early_signals.figures, signals=4, every=14),
    ),
    "exceptions": Case(
        partial(exceptions.figures, every=1, outside=15),
        partial(exceptions.figures, every=7, outside=19),
    ),
    "exits": Case(
        partial(exits.figures, runs=500),
        partial(exits.figures, runs=6),
    ),
    "leaks": Case(
        partial(leaks.figures, outputs=ways.OUTPUTS, afterwards=ways.AFTERWARDS),
        partial(leaks.figures, outputs=[ways.PIPE], ways_gone=leaks.short_ways(every=8)),
    ),
    "injections": Case(
        partial(injections.figures, outputs=ways.OUTPUTS, afterwards=ways.AFTERWARDS),
        partial(injections.figures, outputs=[ways.PIPE], ways_gone=injections.short_ways(every=6)),
    ),
    "frozen-holders": Case(
        partial(frozen_holders.figures, every=1),
        partial(frozen_holders.figures, every=14),
    ),
    "long-waits": Case(
        partial(long_waits.figures, every=1),
        partial(long_waits.figures, every=9, busy_seconds=3),
    ),
    "broken-inputs": Case(
        partial(broken_inputs.figures, inputs=1700),
        partial(broken_inputs.figures, inputs=6),
    ),
}
