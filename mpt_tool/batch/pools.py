"""Where worker processes are: on this machine, or those of a Dask cluster."""

import logging
import multiprocessing
import pickle
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mpt_tool.batch.portable import Elsewhere
from mpt_tool.batch.worker import Job, Place, handle, tell_place
from mpt_tool.errors import ExitCode, StoppedError, message_of
from mpt_tool.process.child import begin_child
from mpt_tool.process.signals import follow, started_aside

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_REACHED_SECONDS = 10
# A worker of Dask may die so often before its scheduler takes the task for the cause.
_DEATHS_OF_DASK = 3


class _LocalPool:
    """A process for each worker, in a pool of its own: one that dies takes no other's items along.

    They are begun anew, not forked: threads of a script would not survive that, and a lock that one
    holds would never be free. So the same goes for every system.
    """

    deaths = 1

    def __init__(self, job: Job, root: Path, workers: int) -> None:
        self.job = pickle.dumps(job)
        """What each worker has to know, pickled."""
        self._root = root.absolute()
        self._processes = multiprocessing.get_context("spawn")
        self._stopped = self._processes.Event()
        self._places = [self._processes.RawValue("q", -1) for _ in range(workers)]
        self._pools: list[ProcessPoolExecutor | None] = [None] * workers

    def submit(self, worker: int, key: str, items: bytes, seconds: float) -> Future[bytes]:
        """Have a worker handle items, in a new process if its last one has ended."""
        pool = self._pools[worker]
        with started_aside():
            try:
                if pool:
                    return pool.submit(handle, key, self.job, items, seconds)
            except BrokenExecutor:
                # Its process ended between two chunks.
                self.renew(worker)
            pool = self._pools[worker] = self._begun(worker)
            return pool.submit(handle, key, self.job, items, seconds)

    def renew(self, worker: int) -> None:
        """Let a worker have a new process."""
        self._pools[worker] = None

    def stop(self) -> None:
        """Tell the workers that the run is to stop: what waits for a service is not begun."""
        self._stopped.set()

    def close(self) -> None:
        """End the processes."""
        for pool in filter(None, self._pools):
            pool.shutdown()

    def place_in_hand(self, worker: int) -> int | None:
        """Return which item of its chunk a worker had in hand; -1 if it had come to none."""
        return int(self._places[worker].value)

    def _begun(self, worker: int) -> ProcessPoolExecutor:
        self._places[worker].value = -1
        numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
        return ProcessPoolExecutor(
            1,
            self._processes,
            initializer=_begin,
            initargs=(self._root, numbers, self._stopped, self._places[worker]),
        )


def _begin(root: Path, signals: list[int], stopped: Any, place: Place) -> None:
    """Begin a worker process."""
    begin_child(root, signals)
    tell_place(place)
    follow(stopped.is_set)


@contextmanager
def local_pool(job: Job, elsewhere: Elsewhere, workers: int) -> Iterator[_LocalPool]:
    """Return so many worker processes of this machine; each is begun when it is first needed."""
    share = job.requests_per_second / workers
    pool = _LocalPool(replace(job, requests_per_second=share), elsewhere.root, workers)
    try:
        yield pool
    finally:
        pool.close()


class _DaskPool:
    """The workers of a Dask cluster, which sees itself to where a task runs."""

    deaths = _DEATHS_OF_DASK

    def __init__(self, job: Job, executor: Executor) -> None:
        self._job = pickle.dumps(job)
        self._executor = executor

    def submit(self, worker: int, key: str, items: bytes, seconds: float) -> Future[bytes]:  # noqa: ARG002
        """Have a worker of the cluster handle items."""
        return self._executor.submit(handle, key, self._job, items, seconds)

    def renew(self, worker: int) -> None:
        """Leave that to the cluster."""

    def place_in_hand(self, worker: int) -> int | None:  # noqa: ARG002
        """Return nothing: the cluster does not tell."""
        return None

    def stop(self) -> None:
        """Tell the workers nothing: they are those of others, too."""


@contextmanager
def dask_pool(job: Job, elsewhere: Elsewhere, workers: int) -> Iterator[_DaskPool]:
    """Return the workers of the cluster of a Dask scheduler.

    Raises:
        StoppedError: the scheduler does not answer.
    """
    from distributed import Client

    # It logs by handlers of its own.
    logging.getLogger("distributed").handlers.clear()  # noqa: TID251 - that of a library
    logging.getLogger("distributed").propagate = True  # noqa: TID251
    try:
        with started_aside():
            client = Client(elsewhere.address, timeout=_REACHED_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StoppedError(
            f"The Dask scheduler {elsewhere.address} does not answer ({message_of(error)}): run"
            " it again once it does",
            ExitCode.TRY_LATER,
        ) from error
    try:
        processes = len(client.ncores()) or 1
        share = job.requests_per_second / min(workers, processes)
        yield _DaskPool(replace(job, requests_per_second=share), client.get_executor())
    finally:
        client.close(timeout=_REACHED_SECONDS)
