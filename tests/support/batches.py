"""A batch migration over numbers that notes what it does, for a project of the tests."""

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .project import Project

MIGRATION = "numbers"
TOTAL = 10
SYNC, ASYNC = "def", "async def"
_NOTES = "processed.txt"
_SCRIPT = """\
import asyncio, json, os, shutil, signal, time
from pathlib import Path

from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    {attributes}

    {items} items(self, cursor):
        for number in range((cursor or 0) + 1, {total} + 1):
            yield number

    {process} process(self, number):
        {body}
        # In one write, so that neither workers nor a kill mix or cut lines.
        with open({notes!r}, "a") as file:
            file.write(f"{{number}}\\n")

    {methods}
"""


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the migration `numbers` of a project did so far."""

    project: Project
    path: Path

    @property
    def processed(self) -> list[int]:
        """What it processed to the end, in that order; what came again is there twice."""
        notes = self.project.root / _NOTES
        return [int(line) for line in notes.read_text().split()] if notes.exists() else []

    @property
    def record(self) -> dict[str, Any]:
        """Its record in the state file."""
        return self.project.state()[MIGRATION]

    @property
    def cursor(self) -> int | None:
        """The cursor of its checkpoint in the state file; None if there is no checkpoint."""
        cursor: int | None = self.record.get("checkpoint", {}).get("cursor")
        return cursor

    @property
    def attempts(self) -> list[tuple[str, dict[str, int] | None]]:
        """The outcome and the counts of each attempt, the oldest first."""
        return [(each["outcome"], each.get("counts")) for each in self.project.attempts()]


def numbers(
    project: Project,
    body: str = "",
    *,
    total: int = TOTAL,
    process: str = SYNC,
    items: str = SYNC,
    methods: str = "",
    **attributes: object,
) -> Numbers:
    """Write the migration into the project: it walks over 1, 2 and so on to the total.

    Args:
        project: where it is to be.
        body: what `process(self, number)` does before it notes that it processed the number.
        total: the last number.
        process: `def` or `async def`.
        items: the same for the items.
        methods: further methods of the class; `process_many` takes the place of `process`.
        attributes: those of the class, as `workers`; text is taken as the source of the value.
    """
    values = {"checkpoint_seconds": 1000, **attributes}
    if "process_many" in methods:
        methods = f"del process\n{textwrap.dedent(methods)}"
    path = project.file(
        f"migrations/1_{MIGRATION}.py",
        _SCRIPT.format(
            attributes="\n    ".join(f"{name} = {value}" for name, value in values.items()),
            items=items,
            process=process,
            total=total,
            body=_indented(body or "pass", 8),
            notes=_NOTES,
            methods=_indented(methods, 4),
        ),
    )
    return Numbers(project, path)


def seen_cursors(project: Project) -> list[int | None]:
    """Return the cursors of the checkpoints that `COPY_STATE` saw, in the order of the numbers."""
    copies = sorted(project.root.glob("seen-*.json"), key=lambda path: int(path.stem[5:]))
    records = [json.loads(copy.read_text())[MIGRATION] for copy in copies]
    return [record.get("checkpoint", {}).get("cursor") for record in records]


# Keeps the state file as it is while a number is processed.
COPY_STATE = "shutil.copy('.migrations-state.json', f'seen-{number}.json')"


def _indented(statements: str, width: int) -> str:
    return textwrap.indent(textwrap.dedent(statements), " " * width).strip()
