"""What a report takes, in time and in bytes, as the history grows."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

MIGRATIONS = 250
SIZES = (0, 1, 5_000, 20_000)
HEAD = ("Attempts", "`.html`", "size", "`.md`", "size")
_BEGAN = datetime(2026, 1, 5, 8, tzinfo=UTC)
_ERROR = {
    "kind": "HTTPStatusError",
    "message": "502 Bad Gateway for https://api.example.com/public/v1/commerce/agreements",
    "frames": ["20260101000000_step.py:17 in run: response.raise_for_status()"],
}


def figures(contender: Contender, folder: Path, runs: int) -> Iterator[Sequence[str]]:
    """Yield a row for each number of attempts, of which every fourth failed."""
    for size in SIZES:
        project = folder / str(size)
        projects.create(project, min(size, MIGRATIONS))
        projects.reset_state(project, min(size, MIGRATIONS))
        _write_history(project, size)
        row = [f"{size:,}"]
        for name in ("report.html", "report.md"):
            result = Measurements()
            for turn in range(runs + 1):
                command = [contender.command, "report", name]
                measure(command, project, result if turn else None)
            row += [str(result), f"{(project / name).stat().st_size:,} bytes"]
        yield row


def _write_history(project: Path, size: int) -> None:
    records = islice(cycle(projects.records(MIGRATIONS)), size)
    with (project / ".migrations-history.jsonl").open("w", encoding="utf-8") as file:
        for number, record in enumerate(records):
            attempt = {
                "run_id": f"{number // 3:012x}",
                "user": "deploy",
                "host": "extension-7d9f8b6c5d-x2x4q",
                "process": 12,
                "version": "4.2.0",
                "tool_version": "7.0.0",
                "migration_id": record["migration_id"],
                "order_id": record["order_id"],
                "type": "data",
                "outcome": "failed" if number % 4 == 3 else "applied",
                "started_at": (_BEGAN + timedelta(hours=number)).isoformat(),
                "ended_at": (_BEGAN + timedelta(hours=number, seconds=90)).isoformat(),
                "seconds": 90.0,
                **({"error": _ERROR} if number % 4 == 3 else {}),
            }
            file.write(f"{json.dumps(attempt)}\n")
