"""A project of an extension in a temporary folder, and the installed command run in it."""

import json
import os
import re
import subprocess
import sysconfig
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from .launcher import Command, Launcher
from .schemas import assert_follows_schema

COMMAND = str(Path(sysconfig.get_path("scripts")) / "mpt-tool")
STATE_FILE = ".migrations-state.json"
HISTORY_FILE = ".migrations-history.jsonl"
LOCK_FILE = ".migrations-state.lock"
FIRST_ORDER_ID = 20260101000000

# All that a run sees of the environment of the tests: no setting of the tool, no wish for colour.
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT")
_BASES = {"data": "DataBaseMigration", "schema": "SchemaBaseMigration"}
_HANGS_SECONDS = 60
# Variables that nothing looks at before a command reads its settings, and those of scripts.
_SETTINGS = (
    *("AIRTABLE_", "DATA_", "LOG_FORMAT", "MPT_", "NOTIFY_", "OTEL_", "SCHEMA_", "SERVICE_"),
    *("SLOW_", "STORAGE_", "BATCH_", "BUILD_", "CI_", "GITHUB_", "GITLAB_", "TF_BUILD"),
)
_OF_SCRIPTS = (
    "ACCOUNTS_URL",
    "DATABASE_URL",
    "HOLDS",
    "PYTHONFAULTHANDLER",
    "READY",
    "SHOP_",
    "SIGNING_KEY",
)


def content(file: IO[bytes]) -> str:
    """Return what a file holds, without moving the position, which whoever writes to it shares."""
    descriptor = file.fileno()
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


@cache
def _launcher() -> Launcher:
    return Launcher()


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished command left: its exit code and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def error(self) -> str:
        """What it wrote to stderr, without the line that says what tells more."""
        return re.sub(r"^More about this: .*\n", "", self.stderr, flags=re.MULTILINE)

    def json(self) -> Any:
        """Return the one JSON document that stdout is; one of ours follows its schema."""
        document = json.loads(self.stdout)
        if isinstance(document, dict):
            assert_follows_schema(document)
        return document


@dataclass(slots=True)
class Project:
    """A folder to run the command in.

    Args:
        root: an existing, empty folder.
        environment: variables for every run, beyond the few that any program needs.
    """

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    _scripts: int = field(default=0, init=False, repr=False)

    @property
    def migrations(self) -> Path:
        """The folder of the scripts; it is there once it has one."""
        return self.root / "migrations"

    @property
    def state_file(self) -> Path:
        return self.root / STATE_FILE

    def script(
        self,
        migration_id: str,
        *,
        order_id: int | None = None,
        type: str = "data",
        body: str = "pass",
        above: str = "",
    ) -> Path:
        """Write a script and return its path.

        Args:
            migration_id: the id, as it is to stand in the file's name.
            order_id: the number before it; by default one more than the last script's.
            type: `data` or `schema`.
            body: the statements of `run`.
            above: the statements at the top of the file.
        """
        if order_id is None:
            order_id = FIRST_ORDER_ID + self._scripts
        self._scripts += 1
        text = (
            f"{textwrap.dedent(above)}\n"
            f"from mpt_tool.migration import {_BASES[type]}\n"
            f"class Migration({_BASES[type]}):\n"
            f"    def run(self):\n"
            f"{textwrap.indent(textwrap.dedent(body), ' ' * 8)}\n"
        )
        return self.file(f"migrations/{order_id}_{migration_id}.py", text)

    def file(self, name: str, text: str) -> Path:
        """Write a file of the project, and the folders that it needs, and return its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def run(self, *arguments: str, env: Mapping[str, str] | None = None, below: str = "") -> Result:
        """Run `mpt-tool` to its end away from any terminal, in the root or a folder below."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            child = self.start(arguments, stdout, stderr, env=env, below=below)
            try:
                exit_code = child.wait(_HANGS_SECONDS)
            finally:
                child.kill()
            written = [content(stdout), content(stderr)]
        return Result(exit_code, *(text.replace("\r\n", "\n") for text in written))

    def start(
        self,
        arguments: Sequence[str],
        stdout: IO[bytes],
        stderr: IO[bytes],
        *,
        env: Mapping[str, str] | None = None,
        below: str = "",
        anew: bool = False,
    ) -> Command | subprocess.Popen[bytes]:
        """Start `mpt-tool` away from any terminal, in the root or a folder below.

        It has the libraries in memory already, unless it is to be started anew or something in its
        environment might matter to how it starts.
        """
        command, folder = [COMMAND, *arguments], self.root / below
        environment = self.environment_of_run(env)
        if not anew and all(
            name in _KEPT_VARIABLES or name.startswith((*_SETTINGS, *_OF_SCRIPTS))
            for name in environment
        ):
            return _launcher().start(command, folder, environment, stdout, stderr)
        return subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )

    def execute(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, below: str = ""
    ) -> Result:
        """Run any command as `run` does."""
        finished = subprocess.run(
            command,
            cwd=self.root / below,
            env=self.environment_of_run(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_HANGS_SECONDS,
            check=False,
        )
        return Result(finished.returncode, finished.stdout, finished.stderr)

    def environment_of_run(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return all variables of a run, those of `env` among them; for runs on a terminal too."""
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        # The tests themselves may run in a container.
        return {**kept, "STORAGE_EPHEMERAL": "true", **self.environment, **(env or {})}

    def state(self) -> dict[str, dict[str, Any]]:
        """Return what the state file holds: records by migration id."""
        records: dict[str, dict[str, Any]] = json.loads(self.state_file.read_bytes())
        return records

    def write_state(self, *records: Mapping[str, Any]) -> None:
        """Write a state file of these records."""
        by_id = {record["migration_id"]: record for record in records}
        self.state_file.write_text(json.dumps(by_id), encoding="utf-8")

    def history(self) -> list[dict[str, Any]]:
        """Return what the history file holds, the oldest entry first."""
        path = self.root / HISTORY_FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def attempts(self) -> list[dict[str, Any]]:
        """Return the attempts that the history file holds, the oldest first."""
        # The others are failed items.
        return [entry for entry in self.history() if "outcome" in entry]

    def outcomes(self) -> list[tuple[str, str]]:
        """Return id and outcome of all attempts, the oldest first."""
        return [(attempt["migration_id"], attempt["outcome"]) for attempt in self.attempts()]

    def tree(self) -> dict[str, bytes | None]:
        """Return everything in the project: the content of files, None for folders, by path.

        The file that is locked is left out: it stays, and is empty.
        """
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else None
            for path in self.root.rglob("*")
            if path.name != LOCK_FILE
        }


def record(
    migration_id: str,
    *,
    order_id: int = FIRST_ORDER_ID,
    type: str = "data",
    started_at: str | None = None,
    applied_at: str | None = None,
    **further: Any,
) -> dict[str, Any]:
    """Return a record as a state file holds it."""
    return {
        "migration_id": migration_id,
        "order_id": order_id,
        "started_at": started_at,
        "applied_at": applied_at,
        "type": type,
        **further,
    }
