"""A small real run first: `--limit`, `--only`, and another pace for one run."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.batches import ASYNC, MIGRATION, SYNC, TOTAL, numbers
from support.process import Process
from support.project import Project
from support.terminal import Gate

pytestmark = pytest.mark.slow

ALL = list(range(1, TOTAL + 1))
FIND = "def find(self, cursor): return cursor"
CHANGE = """
process_silently = process

def process(self, number):
    self.process_silently(number)
    return "changed"
"""

# --- --limit


@pytest.mark.parametrize("process", [SYNC, ASYNC])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_limited_run_handles_so_many_items_keeps_its_progress_and_the_next_goes_on(
    project: Project, process: str, workers: int
) -> None:
    migration = numbers(project, process=process, workers=workers)

    limited = project.run("batch", MIGRATION, "--limit", "4")
    cursor, done = migration.cursor, sorted(migration.processed)
    rest = project.run("batch", MIGRATION)

    assert limited.exit_code == 75
    assert (
        "was limited after 4 items: its progress is kept, run it again to go on" in limited.stderr
    )
    assert not any(word in limited.stderr for word in ("Error", "ERROR", "Aborted"))
    assert (cursor, done) == (4, ALL[:4])
    assert rest.exit_code == 0, rest.stderr
    assert sorted(migration.processed) == ALL
    assert [outcome for outcome, _ in migration.attempts] == ["stopped", "applied"]


@pytest.mark.parametrize("limit", [TOTAL, TOTAL + 1])
def test_a_limit_that_comes_to_the_end_applies_the_migration(project: Project, limit: int) -> None:
    migration = numbers(project)

    assert project.run("batch", MIGRATION, "--limit", str(limit)).exit_code == 0
    assert (migration.processed, bool(migration.record["applied_at"])) == (ALL, True)


def test_a_limit_counts_items_where_many_are_handled_at_once(project: Project) -> None:
    methods = "def process_many(self, numbers): Path('seen').write_text(str(numbers))"
    migration = numbers(project, methods=methods, many=10)

    limited = project.run("batch", MIGRATION, "--limit", "4")

    assert (limited.exit_code, migration.cursor) == (75, 4)
    assert (project.root / "seen").read_text() == "[1, 2, 3, 4]"


def test_items_that_fail_count_for_a_limit(project: Project) -> None:
    migration = numbers(project, "assert number != 2", on_error="'collect'")

    limited = project.run("batch", MIGRATION, "--limit", "4")

    assert (limited.exit_code, migration.cursor, migration.processed) == (75, 4, [1, 3, 4])
    assert "was limited after 4 items, of which 1 failed: its progress is kept" in limited.stderr


def test_a_target_that_failed_is_told_where_a_limit_ends_the_run(project: Project) -> None:
    body = "assert self.target != 'A', 'A is broken'"
    numbers(project, body, targets=("A", "B"))

    limited = project.run("batch", MIGRATION, "--limit", "4")

    # What was stopped with its progress kept has to go on, whatever failed before.
    assert limited.exit_code == 75
    assert "A is broken" in limited.stderr
    last = f"Migration {MIGRATION} is not applied for 2 of 2 targets: A, B\nAborted.\n"
    assert limited.stderr.endswith(f"Error running batch command: {last}")


# --- --only


@pytest.mark.parametrize("workers", [1, 3])
def test_just_the_items_of_some_cursors_are_handled_and_no_cursor_moves(
    project: Project, workers: int
) -> None:
    migration = numbers(project, methods=f"{FIND}\n{CHANGE}", workers=workers)
    project.run("batch", MIGRATION, "--limit", "3")
    before = project.state_file.read_bytes()

    tried = project.run("batch", MIGRATION, "--only", "7", "--only", "2")

    assert tried.exit_code == 0, tried.stderr
    assert tried.stdout.endswith("Handled 2 items: 2 changed.\n")
    assert sorted(migration.processed[3:]) == [2, 7]
    assert project.state_file.read_bytes() == before
    attempt = project.attempts()[-1]
    assert (attempt["outcome"], attempt["outcomes"]) == ("tried", {"changed": 2})
    assert attempt["counts"] == {"processed": 2, "failed": 0}
    assert "  tried  " in project.run("history").stdout


@pytest.mark.parametrize("targets", [None, ("A", "B")])
def test_items_may_be_handled_before_the_first_run_which_is_none(
    project: Project, targets: tuple[str, ...] | None
) -> None:
    attributes: dict[str, Any] = {"targets": targets} if targets else {}
    methods = f"{FIND}\ndef make(self): return 1"
    migration = numbers(project, "self.once('step', self.make)", methods=methods, **attributes)
    of_target = ("--target", "A") if targets else ()

    tried = project.run("batch", MIGRATION, "--only", "7", *of_target)
    listed = project.run("migrate", "--list", "--json").json()["migrations"]
    next_ = project.run("status", "--json").json()["next"]

    assert (tried.exit_code, migration.processed) == (0, [7]), tried.stderr
    assert [each["status"] for each in listed] == ["not applied"]
    assert next_ == {"command": "mpt-tool migrate --data", "reason": "1 is pending"}
    assert project.run("migrate", "--data").exit_code == 0
    assert len(migration.processed) == 1 + TOTAL * len(targets or [""])


def test_a_run_that_fails_after_items_were_tried_has_failed(project: Project) -> None:
    numbers(project, "assert number != 3", methods=FIND)
    project.run("batch", MIGRATION, "--only", "7")

    assert project.run("migrate", "--data").exit_code == 1

    [listed] = project.run("migrate", "--list", "--json").json()["migrations"]
    assert (listed["status"], "tried" in project.state()[MIGRATION]["checkpoint"]) == (
        "failed",
        False,
    )


def test_while_items_are_handled_it_runs_and_one_that_dies_is_told(
    project: Project, tmp_path: Path
) -> None:
    with Gate(tmp_path / "gate") as gate:
        held = f"if not Path('free').exists():\n    self.log.info('is held')\n    {gate.wait}"
        migration = numbers(project, held, methods=FIND)
        with Process(project, "batch", MIGRATION, "--only", "7") as run:
            run.wait_for("is held")
            [meanwhile] = project.run("status", "--json").json()["running"]
            run.kill()
    [left] = project.run("status", "--json").json()["running"]
    project.file("free", "")
    again = project.run("migrate", "--data")

    assert (meanwhile["is_left"], left["is_left"]) == (False, True)
    assert "in a run that died: it runs again" in again.stderr
    assert project.outcomes() == [(MIGRATION, "found dead"), (MIGRATION, "applied")]
    assert migration.processed == ALL


@pytest.mark.parametrize(
    ("given", "cursor"),
    [
        ("AGR-7", "AGR-7"),
        ('["AGR-1", 7]', ["AGR-1", 7]),
        ("7", 7),
        ('"7"', "7"),
        ("[" * 10**5, "[" * 10**5),
    ],
    ids=range(5),
)
def test_a_cursor_is_given_as_text_or_as_json(project: Project, given: str, cursor: Any) -> None:
    methods = f"def find(self, cursor):\n    assert cursor == {cursor!r}\n    return 7"
    migration = numbers(project, methods=methods)

    result = project.run("batch", MIGRATION, "--only", given)

    assert (result.exit_code, migration.processed) == (0, [7]), result.stderr


@pytest.mark.parametrize(
    ("methods", "error"),
    [
        ("", "failed: Migration has no find(cursor), so no item can be found again"),
        ("def find(self, cursor): return None", "failed for 1 of 1 items (7: find(cursor) found"),
        ("def find(self, cursor): return cursor * 100", "for 1 of 1 items (7: 700 is too much)"),
    ],
)
def test_an_item_that_cannot_be_handled_is_an_error_and_on_record(
    project: Project, methods: str, error: str
) -> None:
    numbers(project, "assert number < 20, f'{number} is too much'", methods=methods)

    result = project.run("batch", MIGRATION, "--only", "7")

    assert result.exit_code == 1
    assert f"Migration {MIGRATION} failed" in result.stderr
    assert error in result.stderr
    assert "mpt_tool" not in result.stderr
    assert project.outcomes() == [(MIGRATION, "tried")]
    assert project.run("pending", "--json").json()["pending"][0]["status"] == "not applied"


@pytest.mark.parametrize("workers", [1, 3])
def test_all_that_are_named_are_handled_and_those_that_fail_are_told(
    project: Project, workers: int
) -> None:
    body = "assert number not in (2, 5), f'{number} is broken'"
    migration = numbers(project, body, methods=FIND, workers=workers)
    options = [word for cursor in "25739" for word in ("--only", cursor)]

    result = project.run("batch", MIGRATION, *options)

    assert result.exit_code == 1
    assert sorted(migration.processed) == [3, 7, 9]
    assert "failed for 2 of 5 items (2: 2 is broken; 5: 5 is broken)\n" in result.stderr
    # That tells of all items, and of what `failures` shows: these are none of that.
    assert "explain failed-items" not in result.stderr
    assert project.attempts()[-1]["counts"] == {"processed": 3, "failed": 2}
    assert result.stdout.endswith("\nHandled 3 of 5 items.\n")
    assert project.outcomes() == [(MIGRATION, "tried")]
    assert project.run("status", "--json").json()["last_failure"] is None


@pytest.mark.parametrize(
    "methods", [FIND, f"{FIND}\ndef prepare(self): assert 'TRIES' not in os.environ"]
)
def test_one_that_was_stopped_is_so_still_whatever_comes_of_some_items(
    project: Project, methods: str
) -> None:
    numbers(project, "assert number != 7", methods=methods)
    project.run("batch", MIGRATION, "--limit", "3")
    before = project.run("migrate", "--list").stdout

    project.run("batch", MIGRATION, "--only", "7", env={"TRIES": "yes"})

    assert "  stopped  " in before
    assert project.run("migrate", "--list").stdout == before


@pytest.mark.parametrize(("cursors", "exit_code"), [((7, 2), 143), ((7,), 0)])
def test_a_stop_lets_the_item_in_flight_end_and_leaves_the_others(
    project: Project, tmp_path: Path, cursors: tuple[int, ...], exit_code: int
) -> None:
    with Gate(tmp_path / "gate") as gate:
        migration = numbers(project, f"self.log.info('is held')\n{gate.wait}", methods=FIND)
        options = [word for cursor in cursors for word in ("--only", str(cursor))]
        with Process(project, "batch", MIGRATION, *options) as run:
            run.wait_for("is held")
            run.send(signal.SIGTERM)
            run.wait_for("Stopping")
            gate.open()
            stopped = run.wait()

    assert (stopped.exit_code, migration.processed) == (exit_code, [7]), stopped.stderr
    assert project.outcomes() == [(MIGRATION, "tried")]


def test_one_that_failed_has_failed_still_after_some_items_were_stopped(
    project: Project, tmp_path: Path
) -> None:
    with Gate(tmp_path / "gate") as gate:
        body = f"assert number != 3\nif number == 7:\n    self.log.info('is held')\n    {gate.wait}"
        numbers(project, body, methods=FIND)
        project.run("migrate", "--data")
        before = project.run("migrate", "--list").stdout
        with Process(project, "batch", MIGRATION, "--only", "7", "--only", "8") as run:
            run.wait_for("is held")
            run.send(signal.SIGTERM)
            run.wait_for("Stopping")
            gate.open()
            run.wait()

    assert "  failed  " in before
    assert project.run("migrate", "--list").stdout == before


def test_what_was_applied_is_not_handled_again(project: Project) -> None:
    numbers(project, methods=FIND)
    project.run("batch", MIGRATION)

    result = project.run("batch", MIGRATION, "--only", "7")

    assert result.exit_code == 1
    assert f"Migration {MIGRATION} already applied" in result.stderr


# --- another pace


def test_workers_and_pace_are_others_for_one_run_alone(project: Project) -> None:
    body = "print(self.workers, self.max_per_second, self.max_requests_per_second)"
    numbers(project, body, total=2, max_per_second=90)
    options = ("--workers", "2", "--max-per-second", "50.5", "--max-requests-per-second", "7")

    other = project.run("batch", MIGRATION, "--limit", "1", *options)
    own = project.run("batch", MIGRATION)

    assert "\n2 50.5 7.0\n" in other.stdout
    assert "\n1 90 0\n" in own.stdout


def test_so_many_workers_as_are_asked_for_work_side_by_side(project: Project) -> None:
    methods = "import threading\nmeeting = threading.Barrier(3)"
    numbers(project, "self.meeting.wait(10)", methods=methods, total=3)

    assert project.run("batch", MIGRATION, "--workers", "3").exit_code == 0


def test_so_many_items_a_second_as_are_asked_for_begin(project: Project) -> None:
    numbers(project)

    project.run("batch", MIGRATION, "--max-per-second", "50")

    assert project.attempts()[0]["seconds"] >= (TOTAL - 1) / 50


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        (["--workers", "0"], "Invalid value for '--workers'"),
        (["--limit", "0"], "Invalid value for '--limit'"),
        (["--max-per-second", "-1"], "Invalid value for '--max-per-second'"),
        (["--only", "7", "--limit", "3"], "--only and --limit exclude each other"),
        (["--only", "7", "--restart"], "--only and --restart exclude each other"),
        (["--retry-failed", "--limit", "3"], "--retry-failed and --limit exclude each other"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    project: Project, options: list[str], mistake: str
) -> None:
    numbers(project, methods="raise AssertionError('imported')")

    result = project.run("--no-color", "batch", MIGRATION, *options)

    assert result.exit_code == 2
    assert mistake in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("option", ["--max-per-second", "--max-requests-per-second"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_pace_that_is_no_number_is_refused(project: Project, option: str, value: str) -> None:
    migration = numbers(project)

    result = project.run("--no-color", "batch", MIGRATION, option, value)

    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr
    assert migration.processed == []
