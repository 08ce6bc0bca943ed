"""`process_many`: several items at once, each alone where one of them fails."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from support.batches import ASYNC, MIGRATION, SYNC, Numbers, numbers
from support.process import Process
from support.project import Project
from support.terminal import Gate

pytestmark = pytest.mark.slow

TOTAL = 25
ALL = list(range(1, TOTAL + 1))
COLLECT: dict[str, Any] = {"on_error": "'collect'", "find": "lambda self, cursor: cursor"}
MANY = """
{process} process_many(self, numbers):
    with open("bundles.txt", "a") as file:
        file.write(json.dumps(numbers) + "\\n")
    {body}
    with open("processed.txt", "a") as file:
        file.write("".join(f"{{number}}\\n" for number in numbers))
    return ["even" if number % 2 == 0 else "odd" for number in numbers]
"""
OUTCOMES = {"odd": 13, "even": 12}


def bundled(
    project: Project, body: str = "pass", *, process: str = SYNC, **attributes: Any
) -> Numbers:
    """Write a migration that handles ten numbers at once."""
    methods = MANY.format(process=process, body=body)
    return numbers(project, methods=methods, total=TOTAL, **{"many": 10, **attributes})


def bundles(project: Project) -> list[list[int]]:
    """Return what `process_many` was given, in that order."""
    return [json.loads(line) for line in (project.root / "bundles.txt").read_text().splitlines()]


@pytest.mark.parametrize("process", [SYNC, ASYNC])
@pytest.mark.parametrize("workers", [1, 3])
def test_up_to_many_items_are_handled_at_once_and_each_is_counted(
    project: Project, process: str, workers: int
) -> None:
    migration = bundled(project, process=process, workers=workers)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert sorted(bundles(project)) == [ALL[:10], ALL[10:20], ALL[20:]]
    assert sorted(migration.processed) == ALL
    [attempt] = project.attempts()
    assert (attempt["counts"]["processed"], attempt["outcomes"]) == (TOTAL, OUTCOMES)


@pytest.mark.parametrize("process", [SYNC, ASYNC])
@pytest.mark.parametrize("workers", [1, 3])
def test_of_a_bundle_that_raises_each_item_is_handled_alone_so_that_failures_are_told_apart(
    project: Project, process: str, workers: int
) -> None:
    body = "assert 14 not in numbers, 'fourteen'"
    migration = bundled(project, body, process=process, workers=workers, **COLLECT)

    result = project.run("migrate", "--data")
    shown = project.run("failures", MIGRATION, "--json").json()["failures"]

    assert result.exit_code == 1
    assert [item["cursor"] for item in shown] == [14]
    assert sorted(migration.processed) == [number for number in ALL if number != 14]
    assert sorted(bundles(project)) == sorted(
        [ALL[:10], ALL[10:20], *[[n] for n in ALL[10:20]], ALL[20:]]
    )
    assert project.attempts()[0]["outcomes"] == {"odd": 13, "even": 11}


def test_the_failed_ones_are_retried_one_by_one(project: Project) -> None:
    migration = bundled(project, "assert 14 not in numbers or Path('ok').exists()", **COLLECT)
    project.run("migrate", "--data")
    project.file("ok", "")

    retried = project.run("batch", MIGRATION, "--retry-failed")

    assert retried.exit_code == 0, retried.stderr
    assert (bundles(project)[-1], sorted(migration.processed)) == ([14], ALL)


def test_an_item_that_ends_the_run_is_the_first_of_the_next_one(project: Project) -> None:
    migration = bundled(project, "assert 14 not in numbers or Path('ok').exists(), 'fourteen'")

    failed = project.run("migrate", "--data")
    cursor = migration.cursor
    project.file("ok", "")
    resumed = project.run("migrate", "--data")

    assert f"Migration {MIGRATION} failed: 14: fourteen\n" in failed.stderr
    assert cursor == 13
    assert resumed.exit_code == 0, resumed.stderr
    assert migration.processed == ALL


def test_an_item_is_tried_again_only_alone(project: Project) -> None:
    bundled(project, "assert 14 not in numbers, 'fourteen'", attempts=3, retry_seconds=0)

    project.run("migrate", "--data")

    assert bundles(project).count(ALL[10:20]) == 1
    assert bundles(project).count([14]) == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_a_stop_lets_the_bundles_in_flight_end_and_nothing_comes_again(
    project: Project, tmp_path: Path, workers: int
) -> None:
    with Gate(tmp_path / "gate") as gate:
        body = f"if 11 in numbers:\n        self.log.info('at 11')\n        {gate.wait}"
        migration = bundled(project, body, workers=workers, many=2, batch_size=8)
        with Process(project, "migrate", "--data") as run:
            run.wait_for("at 11")
            run.send(signal.SIGTERM)
            run.wait_for("Stopping")
            gate.open()
            stopped = run.wait()
        gate.open()

        resumed = project.run("migrate", "--data")

    assert (stopped.exit_code, resumed.exit_code) == (75, 0)
    assert sorted(migration.processed) == ALL
    assert project.attempts()[-1]["outcomes"] == OUTCOMES


@pytest.mark.parametrize("workers", [1, 3])
def test_a_kill_replays_one_checkpoint_at_most(
    project: Project, tmp_path: Path, workers: int
) -> None:
    with Gate(tmp_path / "gate") as gate:
        body = f"if 21 in numbers:\n        self.log.info('at 21')\n        {gate.wait}"
        migration = bundled(project, body, workers=workers, many=2, batch_size=8)
        with Process(project, "migrate", "--data") as run:
            run.wait_for("at 21")
            run.kill()
        gate.open()

        resumed = project.run("migrate", "--data")

    assert resumed.exit_code == 0, resumed.stderr
    assert sorted(set(migration.processed)) == ALL
    assert len(migration.processed) - TOTAL <= 8
    assert project.attempts()[-1]["outcomes"] == OUTCOMES


def test_a_pace_counts_the_items_of_a_bundle(project: Project) -> None:
    bundled(project, max_per_second=100)

    project.run("migrate", "--data")

    [attempt] = project.attempts()
    assert attempt["seconds"] >= (TOTAL - 1) / 100


def test_one_outcome_is_that_of_all(project: Project) -> None:
    methods = "def process_many(self, numbers): return 'changed'"
    numbers(project, methods=methods, total=TOTAL, many=10)

    project.run("migrate", "--data")

    assert project.attempts()[0]["outcomes"] == {"changed": TOTAL}


def test_a_rehearsal_handles_the_items_alone(project: Project) -> None:
    bundled(project)

    result = project.run("batch", MIGRATION, "--rehearse", "--unguarded")

    assert result.exit_code == 0, result.stderr
    assert sorted(number for bundle in bundles(project) for number in bundle) == ALL


def test_once_cannot_tell_the_items_of_a_bundle_apart(project: Project) -> None:
    bundled(project, "self.once('made', lambda: 1)")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "once() cannot tell the items of process_many() apart: use process()" in result.stderr
