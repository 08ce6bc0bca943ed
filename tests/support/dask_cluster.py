"""A Dask cluster of two worker processes on loopback, in a process of its own."""

import subprocess
import sys
from types import TracebackType
from typing import Self

_CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


class DaskCluster:
    """A cluster; `address` is that of its scheduler."""

    def __init__(self) -> None:
        # Workers are begun as scripts are: from a file.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout
        self.address = self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def kill(self) -> None:
        """End the scheduler at once; its workers end with it."""
        self._process.kill()
        self._process.wait()
