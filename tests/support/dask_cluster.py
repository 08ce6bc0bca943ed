"""A Dask cluster of two worker processes on loopback, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class DaskCluster:
    """A cluster; `address` is that of its scheduler."""

    address: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        """End the scheduler at once; its workers end with it."""
        self.process.kill()
        self.process.wait()


@contextmanager
def dask_cluster() -> Iterator[DaskCluster]:
    """Return a cluster that is there meanwhile."""
    # Workers are begun as scripts are: from a file.
    with subprocess.Popen(
        [sys.executable, "-c", _CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout
        # It ends when its input is closed.
        yield DaskCluster(process.stdout.readline().strip(), process)
