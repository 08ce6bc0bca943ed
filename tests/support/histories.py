"""Made-up histories, from a few attempts to thousands."""

import json
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any

from .project import HISTORY_FILE, Project, record

BEGAN = datetime(2026, 1, 5, 8, tzinfo=UTC)
ERROR = {
    "kind": "RuntimeError",
    "message": "agreement AGR-0042 cannot be written",
    "frames": ["7_sync_prices.py:17 in run: self.write(agreement)"],
    "cause": {
        "kind": "TimeoutError",
        "message": "no answer from api.example.com\nin 60 s",
        "frames": ["7_sync_prices.py:31 in write: response = self.post(agreement)"],
    },
}
_OUTCOMES = ("applied", "applied", "failed", "applied", "stopped", "applied", "found dead")


def write_history(
    project: Project, count: int, migrations: int = 7, began: datetime = BEGAN
) -> None:
    """Give a project so many attempts, three a run, at migrations whose records fit them.

    Args:
        project: without a state.
        count: how many attempts there are.
        migrations: at how many migrations, at most.
        began: when the first of them began.
    """
    outcomes = cycle(_OUTCOMES)
    attempts = [_attempt(n, n % migrations, next(outcomes), began) for n in range(count)]
    lines = "".join(f"{json.dumps(attempt)}\n" for attempt in attempts)
    project.file(HISTORY_FILE, lines)
    last = {attempt["migration_id"]: attempt for attempt in attempts}
    project.write_state(*map(_record, last.values()))
    for attempt in islice(last.values(), migrations):
        project.script(attempt["migration_id"], order_id=attempt["order_id"], type=attempt["type"])


def _attempt(number: int, migration: int, outcome: str, first: datetime) -> dict[str, Any]:
    began = first + timedelta(hours=7 * (number // 3), seconds=30 * (number % 3))
    seconds = 1 + number % 25
    attempt: dict[str, Any] = {
        "run_id": f"{number // 3:012x}",
        "user": "deploy",
        "host": "extension-7d9f8b6c5d-x2x4q",
        "process": 12,
        "version": "4.2.0",
        "tool_version": "7.0.0",
        "migration_id": f"sync_prices_{migration}",
        "order_id": 20260101000000 + migration,
        "type": "data" if migration % 3 else "schema",
        "outcome": outcome,
        "started_at": began.isoformat(),
        "ended_at": (began + timedelta(seconds=seconds)).isoformat(),
        "seconds": seconds,
    }
    if outcome == "failed":
        attempt["error"] = ERROR
    if outcome == "applied" and number % 2:
        attempt["outcomes"] = {"changed": 40, "right already": 2}
    return attempt


def _record(attempt: dict[str, Any]) -> dict[str, Any]:
    keys = ("migration_id", "order_id", "type", "version")
    is_applied = attempt["outcome"] == "applied"
    times = (attempt["started_at"], attempt["ended_at"]) if is_applied else (None, None)
    return record(**{key: attempt[key] for key in keys}, started_at=times[0], applied_at=times[1])
