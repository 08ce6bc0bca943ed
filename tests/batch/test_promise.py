"""What `BatchDataMigration` promises, sentence by sentence, of real processes."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.batches import (
    ASYNC,
    COPY_STATE,
    MIGRATION,
    SYNC,
    TOTAL,
    Numbers,
    numbers,
    seen_cursors,
)
from support.process import Process, wait_until
from support.project import Project
from support.terminal import Gate

from mpt_tool.errors import ExitCode

pytestmark = pytest.mark.slow

ALL = list(range(1, TOTAL + 1))
EVERY_KIND = pytest.mark.parametrize(
    ("process", "items"),
    [(SYNC, SYNC), (ASYNC, SYNC), (SYNC, ASYNC), (ASYNC, ASYNC)],
    ids=["sync", "async process", "async items", "async"],
)
PROCESS_KINDS = pytest.mark.parametrize("process", [SYNC, ASYNC])


def held_at(gate: Gate, *held: int, process: str = SYNC) -> str:
    """Return the statements that log that one of the numbers came, and wait for the gate."""
    wait = gate.wait if process == SYNC else f"await asyncio.to_thread(lambda: {gate.wait})"
    return f"if number in {held}:\n    self.log.info(f'at {{number}}.')\n    {wait}"


def migrate(project: Project) -> Process:
    """Begin a run of the migration."""
    return Process(project, "migrate", "--data", MIGRATION)


# --- all goes well


@pytest.mark.parametrize("workers", [1, 3])
@EVERY_KIND
def test_every_item_is_processed_once_and_counted(
    project: Project, workers: int, process: str, items: str
) -> None:
    migration = numbers(
        project, workers=workers, process=process, items=items, methods=f"count = lambda _: {TOTAL}"
    )

    result = project.run("migrate", "--data")

    assert (result.exit_code, result.stdout.splitlines()[-1]) == (
        0,
        "Migrations completed successfully.",
    )
    assert sorted(migration.processed) == ALL
    assert "checkpoint" not in migration.record
    counts = {"processed": TOTAL, "failed": 0, "total": TOTAL}
    assert migration.attempts == [("applied", counts)]


def test_a_migration_without_items_is_applied(project: Project) -> None:
    migration = numbers(project, total=0)

    assert project.run("migrate", "--data").exit_code == 0

    assert migration.attempts == [("applied", {"processed": 0, "failed": 0})]


# --- the cursor moves past an item only after it, and every item before it, was processed


@EVERY_KIND
def test_the_cursor_moves_past_an_item_only_after_it_was_processed(
    project: Project, process: str, items: str
) -> None:
    numbers(project, COPY_STATE, batch_size=1, process=process, items=items)

    assert project.run("migrate", "--data").exit_code == 0

    assert seen_cursors(project) == [None, *ALL[:-1]]


@PROCESS_KINDS
def test_with_workers_the_checkpoint_is_the_highest_cursor_below_which_all_is_done(
    project: Project, gate: Gate, process: str
) -> None:
    body = held_at(gate, 3, process=process)
    migration = numbers(project, body, total=6, checkpoint_seconds=0, workers=2, process=process)

    with migrate(project) as run:
        wait_until(lambda: len(migration.processed) == 5)
        wait_until(lambda: migration.cursor is not None and migration.cursor >= 2)
        at_the_kill = migration.cursor
        run.kill()

    assert sorted(migration.processed) == [1, 2, 4, 5, 6]
    assert at_the_kill == migration.cursor == 2
    gate.open()
    again = project.run("migrate", "--data")
    assert f"Resuming {MIGRATION} after 2 items" in again.stderr
    assert sorted(migration.processed[5:]) == [3, 4, 5, 6]


# --- a checkpoint is saved at least every batch_size items or checkpoint_seconds


@pytest.mark.parametrize(
    ("attributes", "cursors"),
    [
        ({"batch_size": 3, "checkpoint_seconds": 1000}, {None, 3, 6, 9}),
        ({"batch_size": 1000, "checkpoint_seconds": 0}, {None, *ALL[:-1]}),
        ({"batch_size": 1000, "checkpoint_seconds": 1000}, {None}),
    ],
    ids=["every third item", "after no time", "neither"],
)
def test_a_checkpoint_is_saved_after_so_many_items_or_seconds_whichever_comes_first(
    project: Project, attributes: dict[str, Any], cursors: set[int | None]
) -> None:
    numbers(project, COPY_STATE, **attributes)

    assert project.run("migrate", "--data").exit_code == 0

    seen = seen_cursors(project)
    assert set(seen) == cursors
    assert len(seen) == TOTAL


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("process", [SYNC, ASYNC])
def test_a_checkpoint_is_saved_in_time_although_an_item_is_slow(
    project: Project, gate: Gate, process: str, workers: int
) -> None:
    body = held_at(gate, 4, process=process)
    migration = numbers(project, body, process=process, workers=workers, checkpoint_seconds=0.05)

    with migrate(project) as run:
        wait_until(lambda: project.state_file.exists() and migration.cursor == 3)
        gate.open()
        assert run.wait().exit_code == 0

    assert sorted(migration.processed) == ALL


def test_a_checkpoint_is_saved_in_time_although_the_next_item_is_slow_to_come(
    project: Project, gate: Gate
) -> None:
    methods = f"""
    def items(self, cursor):
        yield from (1, 2, 3)
        {gate.wait}
    """
    migration = numbers(project, methods=methods, checkpoint_seconds=0.05)

    with migrate(project) as run:
        wait_until(lambda: project.state_file.exists() and migration.cursor == 3)
        gate.open()
        assert run.wait().exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_item_is_done_leaves_nothing_to_resume(
    project: Project, gate: Gate, number: signal.Signals
) -> None:
    methods = f"""
    def items(self, cursor):
        self.log.info("looking for items")
        {gate.wait}
        yield 1
    """
    migration = numbers(project, methods=methods)

    with migrate(project) as run:
        run.wait_for("looking for items")
        run.send(number)
        gate.open()
        result = run.wait()

    assert result.exit_code == 128 + number
    assert f"Migration {MIGRATION} was stopped by {number.name} before its first" in result.stderr
    assert "checkpoint" not in migration.record


# --- SIGTERM and SIGINT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@EVERY_KIND
def test_a_signal_lets_the_item_in_flight_end_and_saves_the_checkpoint(
    project: Project, gate: Gate, number: signal.Signals, process: str, items: str
) -> None:
    methods = f"count = lambda _: {TOTAL}"
    body = held_at(gate, 3, process=process)
    migration = numbers(project, body, process=process, items=items, methods=methods)

    with migrate(project) as run:
        run.wait_for("at 3.")
        run.send(number)
        gate.open()
        result = run.wait()

    assert result.exit_code == 75
    assert migration.processed == [1, 2, 3]
    assert (
        f"Migration {MIGRATION} was stopped by {number.name} after 3 of {TOTAL} items:"
        " its progress is kept, run it again to go on\n"
    ) in result.stderr
    assert f"Applied before the stop: none\nStopped: {MIGRATION}\n" in result.stdout
    assert not any(word in result.stderr for word in ("Error", "ERROR", "Aborted"))
    assert f" - WARNING - Stopping at {number.name}; once more ends at once\n" in result.stderr
    checkpoint = migration.record["checkpoint"]
    counts = {"processed": 3, "failed": 0, "total": TOTAL}
    assert checkpoint["cursor"] == 3
    assert counts.items() <= checkpoint.items()
    assert (migration.record["started_at"], migration.record["applied_at"]) == (None, None)
    assert migration.attempts == [("stopped", counts)]


@PROCESS_KINDS
def test_a_signal_lets_the_items_of_all_workers_end_and_begins_no_other(
    project: Project, gate: Gate, tmp_path: Path, process: str
) -> None:
    with Gate(tmp_path / "second gate") as second:
        body = [held_at(gate, 3, process=process), held_at(second, 4, process=process)]
        body.append("if number > 4: time.sleep(0.02)")
        migration = numbers(project, "\n".join(body), total=1000, workers=2, process=process)

        with migrate(project) as run:
            run.wait_for("at 3.")
            run.wait_for("at 4.")
            run.send(signal.SIGTERM)
            gate.open()
            second.open()
            result = run.wait()

    assert result.exit_code == 75
    reached = migration.cursor or 0
    assert 4 <= reached < 1000
    assert sorted(migration.processed) == list(range(1, reached + 1))
    assert migration.record["checkpoint"]["processed"] == reached


@pytest.mark.parametrize(("process", "workers"), [(SYNC, 2), (ASYNC, 1), (ASYNC, 2)])
def test_a_signal_that_does_not_wake_the_main_thread_is_noticed_soon(
    project: Project, gate: Gate, process: str, workers: int
) -> None:
    """As one that comes in the instant in which that thread falls asleep."""
    body = f"""
    if number == 1:
        import threading
        # Meanwhile the main thread falls asleep.
        time.sleep(0.2)
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        {gate.wait}
    """
    numbers(project, body, process=process, workers=workers)

    with migrate(project) as run:
        run.wait_for("Stopping at SIGTERM")
        gate.open()
        run.wait()


def test_the_run_after_a_stop_resumes_there_says_so_and_goes_on_counting(
    project: Project, gate: Gate
) -> None:
    migration = numbers(project, held_at(gate, 4))
    with migrate(project) as run:
        run.wait_for("at 4.")
        run.send(signal.SIGINT)
        gate.open()
        run.wait()

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert f"Resuming {MIGRATION} after 4 items\n" in result.stderr
    assert migration.processed == ALL
    assert migration.attempts[-1] == ("applied", {"processed": TOTAL, "failed": 0})
    assert "checkpoint" not in migration.record


def test_migrations_after_a_stopped_one_are_not_begun(project: Project, gate: Gate) -> None:
    numbers(project, held_at(gate, 4))
    project.script("later")
    with Process(project, "migrate", "--data") as run:
        run.wait_for("at 4.")
        run.send(signal.SIGTERM)
        gate.open()
        result = run.wait()

    assert result.exit_code == 75
    assert "Not reached: later\n" in result.stdout
    assert "later" not in project.state()


def test_a_signal_during_the_last_item_lets_the_migration_be_applied(
    project: Project, gate: Gate
) -> None:
    migration = numbers(project, held_at(gate, TOTAL))
    with migrate(project) as run:
        run.wait_for(f"at {TOTAL}.")
        run.send(signal.SIGTERM)
        gate.open()
        result = run.wait()

    assert result.exit_code == 0
    assert migration.record["applied_at"]


# --- SIGKILL


def assert_replayed(migration: Numbers, before: list[int], cursor: int) -> None:
    """Assert that the run after a kill began after the last checkpoint, and went to the end."""
    result = migration.project.run("migrate", "--data")

    assert result.exit_code == 0
    assert f"Resuming {MIGRATION} after {cursor} items\n" in result.stderr
    assert migration.processed == [*before, *ALL[cursor:]]
    assert [outcome for outcome, _ in migration.attempts] == ["found dead", "applied"]
    assert migration.attempts[-1][1] == {"processed": TOTAL, "failed": 0}


@EVERY_KIND
def test_a_kill_replays_only_what_came_after_the_last_checkpoint(
    project: Project, gate: Gate, process: str, items: str
) -> None:
    body = held_at(gate, 6, process=process)
    migration = numbers(project, body, batch_size=3, process=process, items=items)

    with migrate(project) as run:
        run.wait_for("at 6.")
        run.kill()

    gate.open()
    assert migration.cursor == 3
    assert_replayed(migration, before=[1, 2, 3, 4, 5], cursor=3)


@PROCESS_KINDS
@pytest.mark.parametrize("batch_size", [10, 5])
def test_a_kill_with_workers_replays_no_more_items_than_a_batch(
    project: Project, gate: Gate, process: str, batch_size: int
) -> None:
    """What is done beyond the one that holds up the checkpoint counts as well."""
    body = held_at(gate, 30, process=process)
    migration = numbers(project, body, total=60, batch_size=batch_size, workers=2, process=process)
    ahead = batch_size // 2 - 1

    with migrate(project) as run:
        wait_until(lambda: len(migration.processed) == 29 + ahead)
        run.kill()

    before = migration.processed
    gate.open()
    assert project.run("migrate", "--data").exit_code == 0
    replayed = set(before) & set(migration.processed[len(before) :])
    assert set(range(31, 31 + ahead)) <= replayed
    assert len(replayed) <= batch_size


def test_a_kill_before_the_first_checkpoint_replays_from_the_beginning(
    project: Project, gate: Gate
) -> None:
    migration = numbers(project, held_at(gate, 3))

    with migrate(project) as run:
        run.wait_for("at 3.")
        run.kill()

    gate.open()
    result = project.run("migrate", "--data")
    assert "Resuming" not in result.stderr
    assert migration.processed == [1, 2, *ALL]


# --- targets, outcomes, many at once


def test_a_target_that_fails_keeps_its_own_cursor_and_not_the_others_from_their_turn(
    project: Project,
) -> None:
    fails = "if (self.target, number) == ('b', 5) and not os.path.exists('mended'): raise OSError"
    migration = numbers(project, fails, targets=("a", "b", "c"), batch_size=1)

    assert project.run("migrate", "--data").exit_code == ExitCode.FAILED

    targets = migration.record["targets"]
    assert migration.record["applied_at"] is None
    assert [bool(targets[name]["applied_at"]) for name in "abc"] == [True, False, True]
    assert targets["b"]["checkpoint"]["cursor"] == 4
    project.file("mended", "")
    assert project.run("migrate", "--data").exit_code == ExitCode.DONE
    assert migration.record["applied_at"]
    assert sorted(migration.processed) == sorted(ALL * 3)


def test_an_outcome_is_counted_once_though_its_item_comes_again_after_a_kill(
    project: Project,
) -> None:
    project.file(
        "migrations/1_numbers.py",
        """\
        import os
        from mpt_tool.migration import BatchDataMigration

        class Migration(BatchDataMigration):
            batch_size, checkpoint_seconds = 3, 1000

            def items(self, cursor):
                return range((cursor or 0) + 1, 11)

            def process(self, number):
                with open("processed.txt", "a") as file:
                    print(number, file=file)
                if number == 8 and not os.path.exists("killed"):
                    open("killed", "w").close()
                    os.kill(os.getpid(), 9)
                return "even" if number % 2 == 0 else "odd"
        """,
    )

    assert project.run("migrate", "--data").exit_code == -signal.SIGKILL
    assert project.state()[MIGRATION]["checkpoint"]["outcomes"] == {"even": 3, "odd": 3}
    assert project.run("migrate", "--data").exit_code == ExitCode.DONE

    assert (project.root / "processed.txt").read_text().split().count("7") == 2
    assert project.attempts()[-1]["outcomes"] == {"even": 5, "odd": 5}


@pytest.mark.parametrize("process", [SYNC, ASYNC])
@pytest.mark.parametrize("workers", [1, 2])
def test_of_a_bundle_that_fails_just_the_item_fails_that_has_to(
    project: Project, process: str, workers: int
) -> None:
    many = f"""\
        {process} process_many(self, numbers):
            if 6 in numbers:
                raise ValueError(numbers)
            with open("processed.txt", "a") as file:
                file.write("".join(f"{{number}}\\n" for number in numbers))
            return ["done" for _ in numbers]
    """
    migration = numbers(project, methods=many, many=4, workers=workers, on_error='"collect"')

    assert project.run("migrate", "--data").exit_code == ExitCode.FAILED

    assert sorted(migration.processed) == [number for number in ALL if number != 6]
    assert migration.record["checkpoint"]["outcomes"] == {"done": TOTAL - 1}
    failures = project.run("failures", MIGRATION, "--json").json()["failures"]
    assert [each["error"] for each in failures] == ["[6]"]
