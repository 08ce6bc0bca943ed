"""Starts the command as a process of its own that has the libraries in memory already.

Most of what a short command does is to import libraries. So one process imports those of others,
not ours, and each command is a fork of it: with an environment, a folder, streams and an end of
its own, as if it had been started. It cannot show how a command starts: tests of that, of terminals
and of streams start it anew.
"""

import array
import atexit
import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import IO, Any

_LIBRARIES = (
    *("asyncio", "concurrent.futures.thread", "dotenv", "dotenv.parser", "email.utils", "filelock"),
    *("getpass", "httpx", "importlib.metadata", "mpt_api_client", "platform", "pyairtable"),
    *("pydantic", "pydantic_settings", "requests", "rich.console", "rich.logging", "rich.table"),
    *("rich.text", "tomllib", "typer"),
)
_LONGEST_REQUEST = 1 << 20


class Launcher:
    """A process whose forks are commands; it ends with the tests."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST_REQUEST)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._close)

    def run(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stdout: IO[bytes],
        stderr: IO[bytes],
        seconds: float,
    ) -> int:
        """Run a console script of ours; return its exit code, negative after a signal.

        Raises:
            subprocess.TimeoutExpired: it took longer than so many seconds, and was killed.
        """
        request = {"command": command, "folder": str(folder), "environment": environment}
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                descriptors = array.array("i", [stdout.fileno(), stderr.fileno(), theirs.fileno()])
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)
                self._socket.sendmsg([json.dumps(request).encode()], [rights])
            ours.settimeout(seconds)
            with ours.makefile() as told:
                process = int(told.readline())
                try:
                    return os.waitstatus_to_exitcode(int(told.readline()))
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(command, seconds) from None

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()


def _next_command(requests: socket.socket) -> dict[str, Any]:
    """Return, in a process of its own, what it is to run; this process goes on listening."""
    while True:
        content, descriptors, *_ = socket.recv_fds(requests, _LONGEST_REQUEST, 3)
        if not content:
            os._exit(0)
        # Between this process and the command there is one that waits for its end.
        if not os.fork():
            *streams, teller = descriptors
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            process = os.fork()
            if not process:
                requests.close()
                os.close(teller)
                for number, descriptor in enumerate(streams, start=1):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                request: dict[str, Any] = json.loads(content)
                return request
            os.write(teller, f"{process}\n".encode())
            _, status = os.waitpid(process, 0)
            os.write(teller, f"{status}\n".encode())
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(command: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
    """Make this process look as if the command had been started."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = list(command)
    sys.path.insert(0, str(Path(command[0]).parent))
    for number, name in enumerate(("stdout", "stderr"), start=1):
        stream = os.fdopen(number, "w", encoding="utf-8", closefd=False)
        if name == "stderr":
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.modules["__main__"] = ModuleType("__main__")


if __name__ == "__main__":
    for library in _LIBRARIES:
        import_module(library)
    # Or each command would go through all objects of the libraries at its end, and copy them.
    gc.freeze()
    # Those that wait for a command are waited for by nobody.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _become(**_next_command(socket.socket(fileno=int(sys.argv[1]))))

    from mpt_tool.cli import main

    main()
