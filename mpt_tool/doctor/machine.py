"""What the process runs in: user, container, output."""

import getpass
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mpt_tool.checks import Check, doubtful, right
from mpt_tool.process.container import container

_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def checks_of_machine(root: Path) -> Iterator[Check]:
    """Yield who runs the command, in what, and where its output goes; none of it has to be so."""
    yield right("user", _user())
    yield right("home", _home())
    yield right("container", container(os.environ) or "none")
    is_writable = os.access(root, os.W_OK)
    read_only = "read-only: enough to run, unless the state is kept there"
    yield right("code", f"{root} can be written" if is_writable else f"{root} is {read_only}")
    yield from _proxy()
    yield _output()


def _user() -> str:
    """Return the user by number and name, which one of a container may not have."""
    number = os.getuid() if hasattr(os, "getuid") else ""
    try:
        return f"{number} ({getpass.getuser()})".strip()
    except (ImportError, KeyError, OSError):
        return f"{number}, without a name; the history tells the number"


def _home() -> str:
    try:
        home = Path.home()
    except RuntimeError:
        return "none; none is needed"
    return str(home) if os.access(home, os.W_OK) else f"{home}, not writable; none is needed"


def _proxy() -> Iterator[Check]:
    """Yield which variables name a proxy, if any do."""
    if names := [name for name in _PROXIES if os.environ.get(name)]:
        value = f"{', '.join(names)}: Airtable is asked through it, the platform is not"
        yield right("proxy", value)


def _output() -> Check:
    """Return how what is written comes to be seen."""
    encoding = sys.stdout.encoding.lower()
    kind = (
        f"a terminal of {shutil.get_terminal_size().columns} columns"
        if sys.stdout.isatty()
        else "no terminal: plain lines, nothing is cut"
    )
    if encoding.replace("-", "") != "utf8":
        advice = "Set LANG=C.UTF-8, or PYTHONUTF8=1: what it lacks is written as escapes"
        return doubtful("output", f"{kind}; encoding {encoding}", advice)
    return right("output", f"{kind}; {encoding}")
