"""Freezes a run before and after each of its requests, past its lease, while another takes over."""

import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.airtable_server import BASE, TABLE, AirtableServer
from support.http_server import Request
from support.process import Process, wait_until
from support.project import Project

from torture.figures import Fault, Figure

LOST = "scripts begun by a holder that lost its lock"
NOT_FROZEN = "runs that could not be frozen"
NOT_TAKEN_OVER = "runs that did not take over"
NOT_APPLIED = "migrations not recorded as applied"

_MOMENTS = ("before", "after")
_RUN = ("migrate", "--data")
_WAITING = ("--wait", "30")
_LEASE_SECONDS = 5
_SIDE_BY_SIDE = 8
_BEGUN, _GO_ON = "begun.txt", "go-on"
# Where Python looks for it at its start: so a process freezes itself between two instructions.
# The thread that renews the lease wakes late: the run itself has to notice that its lock is lost.
_FREEZE = """\
import http.client
import itertools
import os
import signal
import threading
import time

NUMBER, MOMENT = int(os.environ["FREEZE_AT"]), os.environ["FREEZE_MOMENT"]
requests, replies = itertools.count(), itertools.count()
send, receive = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse


def putrequest(self, *args, **kwargs):
    if MOMENT == "before" and next(requests) == NUMBER:
        os.kill(os.getpid(), signal.SIGSTOP)
    return send(self, *args, **kwargs)


def getresponse(self, *args, **kwargs):
    response = receive(self, *args, **kwargs)
    if MOMENT == "after" and next(replies) == NUMBER:
        os.kill(os.getpid(), signal.SIGSTOP)
    return response


http.client.HTTPConnection.putrequest = putrequest
http.client.HTTPConnection.getresponse = getresponse
wait = threading.Event.wait


def wait_and_wake_late(self, timeout=None):
    is_set = wait(self, timeout)
    if not is_set and threading.current_thread().name == "lease":
        time.sleep(1)
    return is_set


threading.Event.wait = wait_and_wake_late
"""
_SCRIPT = f"""\
with open({_BEGUN!r}, "a") as begun:
    begun.write(f"{{os.getpid()}}\\n")
while "HOLDS" in os.environ and not os.path.exists({_GO_ON!r}):
    time.sleep(0.02)
"""


def figures(folder: Path, every: int) -> Iterator[Figure]:
    """Yield the one figure.

    Args:
        folder: where the projects are made.
        every: at how many of the requests of a run one is frozen; also at the one that saves that
            the script begins.
    """
    requests = _requests_of_run(folder / "usual")
    start = next(number for number, request in enumerate(requests) if _saves_start(request))
    numbers = sorted({start, *range(every // 2, len(requests), every)})
    moments = list(itertools.product(numbers, _MOMENTS))
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        found = pool.map(lambda moment: [*_faults(folder, *moment)], moments)
        faults = [fault for each in found for fault in each]
    yield Figure(
        "SIGSTOP before or after a request, SIGCONT once another run has taken over, Airtable",
        f"{len(moments)} moments, a lease of {_LEASE_SECONDS} s",
        (LOST, NOT_FROZEN, NOT_TAKEN_OVER, NOT_APPLIED),
        faults,
    )


def _requests_of_run(root: Path) -> Sequence[Request]:
    """Return the requests of a run that is left alone."""
    with AirtableServer() as server:
        _create(root, server).run(*_RUN)
        return server.requests()


def _saves_start(request: Request) -> bool:
    match request.body:
        case {"records": [{"fields": {"migration_id": "first", "started_at": str()}}]}:
            return True
    return False


def _faults(folder: Path, number: int, moment: str) -> Iterator[Fault]:
    place = f"{moment} request {number}"
    with AirtableServer() as server:
        project = _create(folder / place, server)
        env = {
            "PYTHONPATH": str(project.file("freeze/sitecustomize.py", _FREEZE).parent),
            "FREEZE_AT": str(number),
            "FREEZE_MOMENT": moment,
        }
        with Process(project, *_RUN, env=env, anew=True) as frozen:
            if not _is_frozen(frozen.pid):
                yield Fault(NOT_FROZEN, f"{place}: {frozen.wait()}")
                return
            before = _begun(project)
            with Process(project, *_RUN, *_WAITING, env={"HOLDS": "1"}, anew=True) as other:
                wait_until(lambda: not other.is_running or other.pid in _begun(project))
                frozen.send(signal.SIGCONT)
                ended = frozen.wait()
                project.file(_GO_ON, "")
                taken_over = other.wait()
            if _begun(project).count(frozen.pid) > before.count(frozen.pid):
                yield Fault(LOST, f"{place}: {ended}")
        if taken_over.exit_code:
            yield Fault(NOT_TAKEN_OVER, f"{place}: {taken_over}")
        if not server.records()["first"]["applied_at"]:
            yield Fault(NOT_APPLIED, f"{place}: {server.records()}")


def _create(root: Path, server: AirtableServer) -> Project:
    root.mkdir(parents=True)
    server.add_table(BASE, TABLE)
    lease = {"STORAGE_AIRTABLE_LEASE_SECONDS": str(_LEASE_SECONDS)}
    project = Project(root, server.settings | lease)
    project.script("first", above="import os, time", body=_SCRIPT)
    return project


def _is_frozen(pid: int) -> bool:
    """Wait until a child is frozen or has ended, and return which; its end can be waited for."""
    state = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return state is not None and state.si_code == os.CLD_STOPPED


def _begun(project: Project) -> list[int]:
    """Return the ids of the processes that began the script."""
    path = project.root / _BEGUN
    return [int(line) for line in path.read_text().split()] if path.exists() else []
