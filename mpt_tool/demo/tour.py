"""Walks through what a project does with the tool: types real commands in a folder of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mpt_tool.errors import ExitCode, MptToolError

# What a command needs of the environment, and how its output is to look; no setting of anybody's.
_KEPT_VARIABLES = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
        *("LANG", "LC_ALL", "LC_CTYPE", "PYTHONPATH", "PYTHONHOME", "PYTHONUTF8"),
        *("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
    }
)
_TYPED, _SAID = "$ ", "# "
_LETTERS = "letters.txt"
_LETTERS_BEFORE_THE_STOP = 45
_POLL_SECONDS = 0.02
_STOPS_IN_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Shell:
    """Where commands are typed.

    Args:
        folder: an empty one, that becomes a project.
        environment: all variables of the commands.
        echo: writes a line.
    """

    folder: Path
    environment: Mapping[str, str]
    echo: Callable[[str], None]

    def say(self, *lines: str) -> None:
        """Explain what comes next."""
        self.echo("")
        for line in lines:
            self.echo(f"{_SAID}{line}")

    def type(self, *arguments: str, exit_code: int = ExitCode.DONE) -> None:
        """Run `mpt-tool` to its end; `MptToolError` if its exit code is another one."""
        with self._running(*arguments) as child:
            child.wait()
        self._require(child, exit_code)

    def type_and_interrupt(self, *arguments: str, is_time: Callable[[], bool]) -> None:
        """Run `mpt-tool` until it is time, and press Ctrl-C."""
        with self._running(*arguments) as child:
            while child.poll() is None and not is_time():
                time.sleep(_POLL_SECONDS)
            child.send_signal(signal.SIGINT)
            child.wait()
        self._require(child, ExitCode.TRY_LATER)

    def fill_in(self, migration_id: str) -> Path:
        """Write the demo's script into the one of this id that was created, and show it."""
        [path] = (self.folder / "migrations").glob(f"*_{migration_id}.py")
        text = (files("mpt_tool.demo.scripts") / f"{migration_id}.py").read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        self.echo("")
        for line in text.splitlines():
            self.echo(f"    {line}".rstrip())
        return path

    def replace(self, path: Path, old: str, new: str) -> None:
        """Change a script, and show how."""
        text = path.read_text(encoding="utf-8")
        [before] = [line for line in text.splitlines() if old in line]
        path.write_text(text.replace(old, new), encoding="utf-8")
        self.echo("")
        self.echo(f"  - {before}")
        self.echo(f"  + {before.replace(old, new)}")

    @contextmanager
    def _running(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Start `mpt-tool`, which is stopped if it outlasts the context."""
        self.echo("")
        self.echo(f"{_TYPED}mpt-tool {' '.join(arguments)}")
        sys.stdout.flush()
        child = subprocess.Popen(  # noqa: S603 - ours, with arguments of ours
            [sys.executable, "-P", "-m", "mpt_tool", *arguments],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            # One after the other, as on a terminal.
            stderr=subprocess.STDOUT,
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(_STOPS_IN_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def _require(self, child: "subprocess.Popen[bytes]", exit_code: int) -> None:
        if child.returncode != exit_code:
            raise MptToolError(
                f"the last command ended with {child.returncode}, not with {exit_code}:"
                " what it wrote tells why"
            )


def tour(folder: Path, environment: Mapping[str, str], echo: Callable[[str], None]) -> None:
    """Make a project in a folder, run its migrations, and show what can be asked of it.

    Args:
        folder: an empty one.
        environment: the variables of this process, of which few are handed on.
        echo: writes a line.

    Raises:
        MptToolError: a command ended otherwise than it should.
    """
    kept = {name: environment[name] for name in _KEPT_VARIABLES & environment.keys()}
    shell = Shell(folder, kept, echo)
    # With this it is a project, whatever there is in the folders above, and may be in a container.
    table = "[tool.mpt-tool]\nstorage-ephemeral = true\n"
    (folder / "pyproject.toml").write_text(table, encoding="utf-8")
    _run_a_first_one(shell)
    _fail_and_mend(shell)
    _stop_and_resume(shell)
    _look_back(shell)


def _run_a_first_one(shell: Shell) -> None:
    shell.say("A schema migration runs before a release. This creates its script:")
    shell.type("migrate", "--new-schema", "create_catalogue")
    shell.say("It is filled in ...")
    shell.fill_in("create_catalogue")
    shell.say("... and run:")
    shell.type("migrate", "--schema")


def _fail_and_mend(shell: Shell) -> None:
    shell.say("A data migration runs after the release. This one has a mistake:")
    shell.type("migrate", "--new-data", "import_prices")
    script = shell.fill_in("import_prices")
    shell.type("migrate", "--data", exit_code=ExitCode.FAILED)
    shell.say("The script's own line is shown, and the failure is on record. It is mended ...")
    shell.replace(script, "int(price)", "float(price)")
    shell.say("... and the next run takes it up. What was applied does not run again:")
    shell.type("migrate", "--data")


def _stop_and_resume(shell: Shell) -> None:
    letters = shell.folder / _LETTERS

    def written() -> int:
        return len(letters.read_bytes().splitlines()) if letters.exists() else 0

    shell.say("A batch migration goes from item to item, perhaps for hours. This one has 120:")
    shell.type("migrate", "--new-data", "write_letters", "--batch")
    shell.fill_in("write_letters")
    shell.say("After a while somebody presses Ctrl-C:")
    shell.type_and_interrupt(
        "migrate", "--data", is_time=lambda: written() >= _LETTERS_BEFORE_THE_STOP
    )
    shell.say("Nothing is lost. The exit code is 75: run it again later.")
    shell.type("migrate", "--list")
    shell.say("The next run goes on where that one stopped:")
    shell.type("migrate", "--data")
    shell.say(f"There are {written()} letters: each client got one.")


def _look_back(shell: Shell) -> None:
    shell.say("What goes on, what is applied now, what happened, and a page for others:")
    shell.type("status")
    shell.type("migrate", "--list")
    shell.type("history")
    shell.type("report", "report.html")
