"""Follows a page of the documentation as a reader would: writes its files, runs its commands."""

import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .pages import Block, assert_shown, commands
from .process import Process, wait_until
from .project import Project, Result

_KEYS = {"Ctrl-C": signal.SIGINT, "Ctrl-\\": signal.SIGQUIT}


@dataclass(slots=True)
class Reader:
    """Somebody with a page before them, in a project that is theirs.

    Args:
        project: where they work.
        values: what they have in place of the values that a page exports.
        written: what the commands wrote since a page's output was compared last.
    """

    project: Project
    values: Mapping[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    exit_code: int = 0

    def follow(self, blocks: list[Block]) -> None:
        """Do what the blocks say, in their order; what they show is compared with what came."""
        for block in blocks:
            match block.language:
                case "bash" if not block.title or block.title.startswith("then press "):
                    self.run(block)
                case "text" if not block.title:
                    assert_shown(block.text, "".join(self.written))
                    self.written.clear()
                case "diff":
                    self._change(block)
                case _:
                    self._write(block)

    def run(self, block: Block) -> None:
        """Run the commands of a block; the last one is interrupted if its title says so."""
        *first, last = commands(block.text)
        for command in first:
            self._run(command)
        key = block.title.removeprefix("then press ")
        if key in _KEYS:
            self._interrupt(last, _KEYS[key])
        else:
            self._run(last)

    def _run(self, command: str) -> None:
        words = shlex.split(command, comments=True)
        if words[0] == "export":
            exported = [word.split("=", 1) for word in words[1:]]
            given = {name: self.values.get(value, value) for name, value in exported}
            self.project.environment |= given
        elif command == "echo $?":
            self.written.append(f"{self.exit_code}\n")
        elif words[0] in ("mpt-tool", "mpt-service-cli") and not re.search(r"[|><&;$*]", command):
            self._take(self.project.run(*words[1:]))
        else:
            # The commands of this environment, as in one that the reader has activated.
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            self._take(self.project.execute(["sh", "-c", command], env={"PATH": path}))

    def _interrupt(self, command: str, number: signal.Signals) -> None:
        """Send a signal to a command once it has saved how far it came."""
        before = self._progress()
        with Process(self.project, *shlex.split(command)[1:]) as process:
            wait_until(lambda: self._progress() not in (before, [], [None]))
            process.send(number)
            self._take(process.wait())

    def _progress(self) -> list[object]:
        if not self.project.state_file.exists():
            return []
        return [each.get("checkpoint") for each in self.project.state().values()]

    def _take(self, result: Result) -> None:
        self.exit_code = result.exit_code
        self.written.append(result.stderr + result.stdout)

    def _path(self, block: Block) -> Path:
        if "…" not in block.title:
            return self.project.root / block.title
        [path] = self.project.root.glob(block.title.replace("…", "*"))
        return path

    def _write(self, block: Block) -> None:
        assert block.title, f"what is done with the {block.language} in line {block.line}?"
        path = self._path(block)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def _change(self, block: Block) -> None:
        lines = block.text.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        path = self._path(block)
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1
        path.write_text(text.replace(before, after), encoding="utf-8")
