"""Kills a run before each system call by which it changes its files, one run a call.

strace names the calls of a run that is left alone, and then kills a run as it enters one of them:
before the call has any effect.
"""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.project import COMMAND, Project, record

from torture import journal
from torture.figures import Fault, Figure
from torture.journal import JournalledProject

MISSED = "kills at another call"
UNTRACED = "traces that could not be made"

_RUN = ("migrate", "--data")
# The calls by which a file is created, changed, locked or closed; some systems lack those with a ?.
_CALLS = (
    "openat,close,write,fsync,ftruncate,flock"
    ",?rename,?renameat,?renameat2,?unlink,?unlinkat,?chmod,?fchmodat"
)
_LINE = re.compile(
    r"^\d+ +(?P<name>\w+)\((?:AT_FDCWD<[^>]*>, )?(?:\d+<(?P<open>[^>]*)>|\"(?P<path>[^\"]*)\")",
    re.MULTILINE,
)
_RANDOM_PART = re.compile(r"\.[0-9a-f]{8}\.tmp$")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call of a run.

    Args:
        name: its name.
        number: which of the calls of that name it is, the first being 1.
        file: which file of the project it is about, without what is random in the name.
    """

    name: str
    number: int
    file: str


def is_possible() -> bool:
    """Return whether there is an strace, and it may trace."""
    strace = shutil.which("strace")
    if strace is None:
        return False
    command = [strace, "-o", "/dev/null", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def figures(folder: Path, migrations: int, every: int = 1) -> Iterator[Figure]:
    """Yield a figure for a new project, and one for a project whose last run died.

    Args:
        folder: where the projects are made.
        migrations: how many each has.
        every: whether to kill before each call (1), every second one (2), and so on.
    """
    for name, dead in (("new", False), ("left running", True)):
        case = f"SIGKILL before each system call that writes, in a project that is {name}"
        if is_possible():
            yield _figure(case, folder / name.replace(" ", "-"), migrations, every, dead=dead)
        else:
            fault = Fault(UNTRACED, "there is no strace, or it may not trace")
            yield Figure(case, "nothing", [UNTRACED], [fault])


def _figure(case: str, folder: Path, migrations: int, every: int, *, dead: bool) -> Figure:
    # The first run compiles what Python keeps compiled: its calls are others.
    journal.create(folder / "first", migrations).project.run(*_RUN)
    calls = _state_calls(_create(folder / "unharmed", migrations, dead=dead))
    faults = [] if calls else [Fault(UNTRACED, "strace shows no call")]
    replays = unattested = 0
    for index, call in enumerate(calls[::every]):
        subject = _create(folder / f"{index * every:03}-{call.name}", migrations, dead=dead)
        faults += _kill_before(subject.project, call)
        faults += subject.state_faults()
        faults += subject.end_faults(subject.project.run(*_RUN))
        replays += subject.replays()
        unattested += subject.without_attempt()
    return Figure(
        case,
        f"{len(calls[::every])} of {len(calls)} calls, {migrations} migrations",
        (*journal.KINDS, MISSED, UNTRACED),
        faults,
        f"{replays} migrations were run again, {unattested} are applied but not in the history",
    )


def _create(folder: Path, migrations: int, *, dead: bool) -> JournalledProject:
    """Create a project; a dead run has left its first migration running."""
    subject = journal.create(folder, migrations)
    if dead:
        [first, *_] = subject.ids
        subject.project.write_state(record(first, started_at="2026-01-01T12:00:00+00:00"))
    return subject


def _state_calls(subject: JournalledProject) -> Sequence[Call]:
    """Return the calls of a whole run that are about what it writes."""
    # Not of those that read scripts and settings.
    written = (".", journal.FILE)
    return [call for call in _traced(subject.project, []) if call.file.startswith(written)]


def _kill_before(project: Project, call: Call) -> list[Fault]:
    kill = f"--inject={call.name}:signal=KILL:when={call.number}"
    last = _traced(project, [kill])[-1]
    if last == call:
        return []
    return [Fault(MISSED, f"{project.root.name}: at {last} instead of {call}")]


def _traced(project: Project, options: Sequence[str]) -> list[Call]:
    """Run under strace and return the calls that were about files of the project."""
    trace = project.root.with_suffix(".trace")
    strace = ["strace", "--follow-forks", "--decode-fds=path", f"--trace={_CALLS}", *options]
    # What is random in Python would change how many calls there are.
    fixed = {"PYTHONHASHSEED": "0"}
    project.execute([*strace, f"--output={trace}", COMMAND, *_RUN], env=fixed)
    return list(_calls(trace.read_text(encoding="utf-8"), project.root))


def _calls(trace: str, root: Path) -> Iterator[Call]:
    numbers = Counter[str]()
    for match in _LINE.finditer(trace):
        numbers[match["name"]] += 1
        path = Path(match["open"]) if match["open"] else root / match["path"]
        if path == root or root in path.parents:
            file = _RANDOM_PART.sub(".tmp", str(path.relative_to(root)))
            yield Call(match["name"], numbers[match["name"]], file)
