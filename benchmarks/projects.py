"""Projects to measure in: a folder of migrations, and the state that they left."""

import json
from collections.abc import Iterator
from pathlib import Path

_SCRIPT = """\
from mpt_tool.migration import DataBaseMigration


class Migration(DataBaseMigration):
    def run(self):
        pass
"""
_MOMENT = "2026-01-01T12:00:00.000000+00:00"


def create(folder: Path, scripts: int, script: str = _SCRIPT) -> None:
    """Create a project with this many equal data migrations, none of which has run."""
    migrations = folder / "migrations"
    migrations.mkdir(parents=True)
    for number in range(scripts):
        path = migrations / f"{_order_id(number)}_{_migration_id(number)}.py"
        path.write_text(script, encoding="utf-8")


def records(applied: int) -> Iterator[dict[str, str | int]]:
    """Yield the records that the first migrations left, in the columns that all releases share."""
    for number in range(applied):
        yield {
            "migration_id": _migration_id(number),
            "order_id": _order_id(number),
            "started_at": _MOMENT,
            "applied_at": _MOMENT,
            "type": "data",
        }


def reset_state(folder: Path, applied: int) -> None:
    """Make the project's state say that the first migrations are applied, and no others."""
    state = {record["migration_id"]: record for record in records(applied)}
    # Not as one text: this process has to stay smaller than those that it measures.
    with (folder / ".migrations-state.json").open("w", encoding="utf-8") as file:
        json.dump(state, file, indent=2)


def _order_id(number: int) -> int:
    return 20260101000000 + number


def _migration_id(number: int) -> str:
    return f"step_{number:05}"
