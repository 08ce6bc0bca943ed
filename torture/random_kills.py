"""Kills runs at random moments, from their start on, and lets them be finished."""

import os
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from support.project import COMMAND, Project

from torture import journal
from torture.figures import Figure
from torture.journal import JournalledProject

_SEED = 20260101
# A migration that is run again is to be killed again, too.
_KILLS_A_PROJECT = 3
type Create = Callable[[Path, int], JournalledProject]

_RUN = ("migrate", "--data")


def figures(
    folder: Path, kills: int, migrations: int, create: Create = journal.create, store: str = ""
) -> Iterator[Figure]:
    """Yield the one figure.

    Args:
        folder: where the projects are made.
        kills: how many runs are killed.
        migrations: how many each project has.
        create: makes such a project.
        store: what the figure calls where its state is, if not in local files.
    """
    moments = random.Random(_SEED)
    whole = _usual_seconds(folder / "usual", migrations, create)
    faults = []
    projects = killed = in_save = replays = unattested = 0
    while killed < kills:
        projects += 1
        subject = create(folder / str(projects), migrations)
        for _ in range(min(_KILLS_A_PROJECT, kills - killed)):
            copies = subject.temporary_files()
            killed += _killed(subject.project, moments.uniform(0, whole))
            in_save += subject.temporary_files() > copies
            faults += subject.state_faults()
        faults += subject.end_faults(subject.project.run(*_RUN))
        replays += subject.replays()
        unattested += subject.without_attempt()
    seen = "" if not in_save else f", {in_save} of them while the state was written"
    yield Figure(
        f"SIGKILL at a random moment, then a run to the end{store and f', {store}'}",
        f"{killed} kills in {projects} projects{seen}",
        journal.KINDS,
        faults,
        f"{replays} migrations were run again, {unattested} are applied but not in the history",
    )


def _usual_seconds(folder: Path, migrations: int, create: Create) -> float:
    """Return how long a run takes that is not killed."""
    seconds = []
    for number in range(3):
        project = create(folder / str(number), migrations).project
        began = time.perf_counter()
        project.run(*_RUN)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _killed(project: Project, seconds: float) -> bool:
    """Run for so many seconds, kill the whole process group, and return whether it still ran."""
    process = subprocess.Popen(
        [COMMAND, *_RUN],
        cwd=project.root,
        env=project.environment_of_run(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL
