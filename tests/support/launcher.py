"""Starts the command as a process of its own that has the libraries in memory already.

Most of what a short command does is to import libraries. So one process imports those of others,
not ours, and each command is a fork of it: with an environment, a folder, streams and an end of
its own, as if it had been started. It cannot show how a command starts: tests of that, of terminals
and of streams start it anew.
"""

import array
import atexit
import faulthandler
import gc
import json
import os
import select
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
    *(
        "apprise",
        "asyncio",
        "concurrent.futures.thread",
        "csv",
        "dotenv",
        "dotenv.parser",
        "email.utils",
    ),
    *("filelock", "getpass", "httpx", "importlib.metadata", "mpt_api_client", "platform"),
    *("opentelemetry.exporter.otlp.proto.http.metric_exporter", "opentelemetry.sdk.metrics.export"),
    *("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk.trace.export"),
    *("pyairtable", "pydantic", "pydantic.functional_serializers", "pydantic.networks"),
    *("pydantic_settings", "requests", "rich.console", "rich.logging", "rich.table", "rich.text"),
    *("tomllib", "typer"),
)
_LONGEST_REQUEST = 1 << 20
_LONGEST_NUMBER = 20
_HANGS_SECONDS = 60


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

    def start(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        stdout: IO[bytes],
        stderr: IO[bytes],
    ) -> "Command":
        """Start a console script of ours."""
        request = {"command": command, "folder": str(folder), "environment": environment}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            descriptors = array.array("i", [stdout.fileno(), stderr.fileno(), theirs.fileno()])
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)
            self._socket.sendmsg([json.dumps(request).encode()], [rights])
        return Command(command, ours)

    def _close(self) -> None:
        self._socket.close()
        self._process.wait()


class Command:
    """A command that was started, to be used as a `Popen`.

    Args:
        command: its words.
        teller: what tells the number of its process, and at its end how that ended.
    """

    def __init__(self, command: Sequence[str], teller: socket.socket) -> None:
        self._command, self._teller = command, teller
        teller.settimeout(_HANGS_SECONDS)
        self.pid = int(teller.recv(_LONGEST_NUMBER))
        self._exit_code: int | None = None

    def poll(self) -> int | None:
        """Return its exit code, negative after a signal, or None while it runs."""
        return self._exit_code_within(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it did not end within so many seconds.
        """
        exit_code = self._exit_code_within(timeout)
        if exit_code is None:
            raise subprocess.TimeoutExpired(self._command, timeout or 0)
        return exit_code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _exit_code_within(self, seconds: float | None) -> int | None:
        if self._exit_code is None and select.select([self._teller], [], [], seconds)[0]:
            with self._teller:
                status = int(self._teller.recv(_LONGEST_NUMBER))
            self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code


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
            os.write(teller, str(process).encode())
            _, status = os.waitpid(process, 0)
            os.write(teller, str(status).encode())
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _forget(libraries: dict[str, Any]) -> None:
    """Leave it to the system to tidy up the libraries at the end of a command."""
    # Python would clear each of their modules, for which every page has to be copied first.
    for name in libraries.keys() - {"__main__", "builtins", "sys"}:
        sys.modules.pop(name, None)


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
    libraries: dict[str, Any] = {}
    # First, so that it is called last.
    atexit.register(_forget, libraries)
    for library in _LIBRARIES:
        import_module(library)
    # It imports each of its hundred services when it is first given an address.
    import_module("apprise").Apprise().add("json://localhost")
    # It holds itself, so that nothing ends it.
    libraries |= {**sys.modules, "": libraries}
    # Or each command would go through all objects of the libraries at its end, and copy them.
    gc.freeze()
    # Those that wait for a command are waited for by nobody.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _become(**_next_command(socket.socket(fileno=int(sys.argv[1]))))
    # It tells its stacks where it is ended by SIGABRT, as it hangs.
    faulthandler.enable(2)

    from mpt_tool.cli import main

    main()
