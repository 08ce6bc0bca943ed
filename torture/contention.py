"""Lets many processes run the same migrations at the same moment."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.airtable_server import BASE, TABLE, AirtableServer, RateLimit
from support.project import Project

from torture import journal
from torture.figures import Fault, Figure
from torture.journal import JournalledProject

NOT_ONCE = "rounds in which not each migration ran exactly once"
OTHER_EXIT = "processes with another exit code"
NOBODY = "rounds in which no process succeeded"
NOT_RECORDED = "rounds that left another state than all applied and unlocked"
TOO_LONG = "rounds that took more than 60 s"
_KINDS = (NOT_ONCE, OTHER_EXIT, NOBODY, NOT_RECORDED)

_DONE, _TRY_LATER = 0, 75
# As short as 16 processes on 2 cores bear: one looks for the lock 12 times a lease.
_LEASE_SECONDS = 5
WAITING = ("--wait", "120")
_HANGS_SECONDS = 300
_PODS_SECONDS = 60
# Begins at once for all: what takes long is done before, and then each waits for the end of stdin.
_CONTENDER = """\
import sys
from importlib import import_module

from mpt_tool.cli import main
from mpt_tool.runner import run
from mpt_tool.view import documents, progress, tables, text

import_module(sys.argv.pop(1))
print("ready", flush=True)
sys.stdin.read()
main()
"""

type Records = list[dict[str, Any]]
type Keeping = Callable[[Project], AbstractContextManager[Callable[[], Records]]]


@dataclass(frozen=True, slots=True)
class Store:
    """Where the state of a project is kept.

    Args:
        name: what the figures call it.
        module: the one of the tool that has its repository.
        keeping: returns a context in which the project keeps its state there, and which gives a
            function that returns what is there.
    """

    name: str
    module: str
    keeping: Keeping


def figures(folder: Path, rounds: int, processes: int, migrations: int) -> Iterator[Figure]:
    """Yield a figure for each store, of processes that give up at once and of those that wait.

    Args:
        folder: where the projects are made.
        rounds: how often the processes are started.
        processes: how many are.
        migrations: how many they find pending.
    """
    for store in _STORES:
        for options in ((), WAITING):
            yield figure(store, options, folder, rounds, processes, migrations)


def pods(
    folder: Path, rounds: int, processes: int, migrations: int, wait_seconds: int, limit: RateLimit
) -> Iterator[Figure]:
    """Yield a figure of processes that wait on Airtable, which takes 5 requests a second in all.

    The arguments are those of `figures`, how many seconds each may wait, and what Airtable does
    beyond its limit.
    """
    options = ("--wait", str(wait_seconds))
    faults: list[Fault] = []
    seconds = []
    for number in range(rounds):
        subject = journal.create(folder / str(number), migrations)
        with _on_limited_airtable(subject.project, limit) as read_records:
            codes, took = _run_together(subject.project, _AIRTABLE, processes, options)
            seconds.append(took)
            faults += _faults(subject, codes, read_records(), waited=True)
        if seconds[-1] > _PODS_SECONDS:
            faults.append(Fault(TOO_LONG, f"{number}: {seconds[-1]:.0f} s"))
    yield Figure(
        f"{processes} processes together, Airtable at 5 requests a second, {' '.join(options)}",
        f"{rounds} rounds with {migrations} migrations, default lease",
        (*_KINDS, TOO_LONG),
        faults,
        f"they took {', '.join(f'{each:.0f}' for each in sorted(seconds))} s",
    )


def figure(
    store: Store,
    options: Sequence[str],
    folder: Path,
    rounds: int,
    processes: int,
    migrations: int,
    between: str = "",
) -> Figure:
    """Return the figure of a store.

    The arguments are those of `figures`; further the options of the processes, and the statements
    that each migration has between its two lines of the journal.
    """
    faults: list[Fault] = []
    exits = Counter[int]()
    for number in range(rounds):
        root = folder / " ".join([store.name, *options, str(number)])
        subject = journal.create(root, migrations, between)
        with store.keeping(subject.project) as read_records:
            codes, _ = _run_together(subject.project, store.module, processes, options)
            faults += _faults(subject, codes, read_records(), waited=bool(options))
        exits.update(codes)
    return Figure(
        f"{processes} processes together, {store.name}, {' '.join(options) or 'no --wait'}",
        f"{rounds} rounds with {migrations} migrations",
        _KINDS,
        faults,
        f"{exits[_DONE]} processes exited with 0, {exits[_TRY_LATER]} with 75",
    )


@contextmanager
def _in_files(project: Project) -> Iterator[Callable[[], Records]]:
    yield lambda: list(project.state().values())


@contextmanager
def _on_airtable(project: Project) -> Iterator[Callable[[], Records]]:
    with AirtableServer() as server:
        server.add_table(BASE, TABLE)
        project.environment = server.settings | {
            "STORAGE_AIRTABLE_LEASE_SECONDS": str(_LEASE_SECONDS)
        }
        yield lambda: [dict(row["fields"]) for row in server.rows(BASE, TABLE)]


@contextmanager
def _on_limited_airtable(project: Project, limit: RateLimit) -> Iterator[Callable[[], Records]]:
    with AirtableServer(rate_limit=limit) as server:
        server.add_table(BASE, TABLE)
        project.environment = server.settings
        yield lambda: [dict(row["fields"]) for row in server.rows(BASE, TABLE)]


_AIRTABLE = "mpt_tool.storage.airtable.repository"
_STORES = (
    Store("local", "mpt_tool.storage.local", _in_files),
    Store("Airtable without a rate limit", _AIRTABLE, _on_airtable),
)


def _run_together(
    project: Project, module: str, processes: int, options: Sequence[str]
) -> tuple[list[int], float]:
    """Run processes that begin at the same moment.

    Returns:
        Their exit codes, and how many seconds it took from then on.
    """
    command = [sys.executable, "-c", _CONTENDER, module]
    gate, opener = os.pipe()
    contenders = [
        subprocess.Popen(
            [*command, "migrate", "--data", "--quiet", *options],
            cwd=project.root,
            env=project.environment_of_run(),
            stdin=gate,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(processes)
    ]
    for contender in contenders:
        assert contender.stdout
        contender.stdout.readline()
    os.close(gate)
    began = time.monotonic()
    os.close(opener)
    for contender in contenders:
        contender.communicate(timeout=_HANGS_SECONDS)
    took = time.monotonic() - began
    return [contender.returncode for contender in contenders], took


def _faults(
    subject: JournalledProject,
    codes: Sequence[int],
    records: Records,
    *,
    waited: bool,
) -> Iterator[Fault]:
    place = subject.project.root.name
    ran = subject.journal()
    if ran != subject.whole_journal:
        yield Fault(NOT_ONCE, f"{place}: {ran}")
    allowed = {_DONE} if waited else {_DONE, _TRY_LATER}
    for code in codes:
        if code not in allowed:
            yield Fault(OTHER_EXIT, f"{place}: {code}")
    if _DONE not in codes:
        yield Fault(NOBODY, f"{place}: {codes}")
    applied = [
        record["migration_id"]
        for record in records
        if record.get("started_at") and record.get("applied_at")
    ]
    if sorted(applied) != sorted(subject.ids) or len(applied) < len(records):
        yield Fault(NOT_RECORDED, f"{place}: {json.dumps(records)}")
