"""Sends a signal to runs that have just taken the lock, and lets the next run finish."""

import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from support.airtable_server import BASE, TABLE, AirtableServer
from support.process import Process
from support.project import LOCK_FILE

from torture import journal
from torture.figures import Fault, Figure
from torture.journal import END, SKIPPED, JournalledProject

IN_VAIN = "scripts that ran to their end and were recorded as failed"
TWICE = "scripts that ran to their end twice"
_KINDS = (IN_VAIN, TWICE, SKIPPED)

_SEED = 20260101
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_RUN = ("migrate", "--data")
_WITHIN_SECONDS = 0.03
_REPLY_SECONDS = 2.0
_SIDE_BY_SIDE = 4
# Long enough for a signal to come while it runs.
_SCRIPT = "import time\ntime.sleep(0.1)"

type Ending = tuple[int, list[Fault]]
type Records = Callable[[], Mapping[str, Mapping[str, Any]]]


def figures(folder: Path, signals: int, every: int) -> Iterator[Figure]:
    """Yield a figure for the local store, and one for Airtable.

    Args:
        folder: where the projects are made.
        signals: how many are sent on the local store.
        every: of how many requests to Airtable one has signals around it.
    """
    moments = random.Random(_SEED)
    each = itertools.cycle(_SIGNALS)
    after_lock = [
        partial(_after_lock, folder / str(n), next(each), moments.uniform(0, _WITHIN_SECONDS))
        for n in range(signals)
    ]
    yield _figure("A signal within 30 ms after the lock was taken, local", after_lock)
    around = [
        partial(_around_request, folder / f"{number}-{sent.name}-{late}", number, sent, late=late)
        for number in range(every // 2, _requests_of_run(folder / "usual"), every)
        for sent in _SIGNALS
        for late in (False, True)
    ]
    yield _figure("A signal at a request, or at its reply 2 s later, Airtable", around)


def _figure(case: str, trials: Sequence[Callable[[], Ending]]) -> Figure:
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        found = list(pool.map(lambda trial: trial(), trials))
    exits = Counter(code for code, _ in found)
    return Figure(
        case,
        f"{len(trials)} signals, SIGTERM and SIGINT",
        _KINDS,
        [fault for _, faults in found for fault in faults],
        ", ".join(f"{count} runs exited with {code}" for code, count in sorted(exits.items())),
    )


def _after_lock(root: Path, sent: signal.Signals, seconds: float) -> Ending:
    subject = journal.create(root, 1, between=_SCRIPT)
    holder = root / f"{LOCK_FILE}.json"
    with Process(subject.project, *_RUN, anew=True) as process:
        process.wait_until(holder.exists, pause=0.001)
        time.sleep(seconds)
        process.send(sent)
        exit_code = process.wait().exit_code
    return exit_code, _faults(subject, subject.project.state)


def _around_request(root: Path, number: int, sent: signal.Signals, *, late: bool) -> Ending:
    with AirtableServer() as server:
        server.add_table(BASE, TABLE)
        # Let through as they are.
        server.delay(0, times=number)
        server.delay(_REPLY_SECONDS)
        subject = journal.create(root, 1, between=_SCRIPT)
        subject.project.environment = server.settings
        with Process(subject.project, *_RUN, anew=True) as process:
            process.wait_until(lambda: len(server.requests()) > number, pause=0.005)
            if late:
                time.sleep(_REPLY_SECONDS)
            process.send(sent)
            exit_code = process.wait().exit_code
        return exit_code, _faults(subject, server.records)


def _requests_of_run(root: Path) -> int:
    """Return how many requests a run makes that is left alone."""
    with AirtableServer() as server:
        server.add_table(BASE, TABLE)
        subject = journal.create(root, 1)
        subject.project.environment = server.settings
        subject.project.run(*_RUN)
        return len(server.requests())


def _faults(subject: JournalledProject, records: Records) -> list[Fault]:
    """Return what is wrong after the run with the signal, and after one that finishes."""
    place, [migration_id] = subject.project.root.name, subject.ids
    end = (END, migration_id)
    faults = []
    if end in subject.journal() and not records()[migration_id]["applied_at"]:
        faults.append(Fault(IN_VAIN, f"{place}: {records()}"))
    last = subject.project.run(*_RUN)
    if subject.journal().count(end) > 1:
        faults.append(Fault(TWICE, f"{place}: {subject.journal()}"))
    if end not in subject.journal() or not records()[migration_id]["applied_at"]:
        faults.append(Fault(SKIPPED, f"{place}: {last}"))
    return faults
