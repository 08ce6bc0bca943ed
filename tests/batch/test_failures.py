"""Items of a batch migration that fail: the run stops or collects them, and they are retried."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.batches import ASYNC, MIGRATION, SYNC, TOTAL, Numbers, numbers
from support.process import Process
from support.project import Project
from support.terminal import Gate

pytestmark = pytest.mark.slow

ALL = list(range(1, TOTAL + 1))
COLLECT: dict[str, Any] = {"on_error": "'collect'"}
FIND = "def find(self, cursor): return cursor"
# Fails as long as the number is in the file of broken ones.
FAIL_IF_BROKEN = """
if str(number) in Path("broken").read_text().split():
    raise ValueError(f"{number} is broken")
"""
KINDS = pytest.mark.parametrize(
    ("process", "workers"),
    [(SYNC, 1), (ASYNC, 1), (SYNC, 3), (ASYNC, 3)],
    ids=["sync", "async", "sync workers", "async workers"],
)


def break_numbers(project: Project, *broken: int) -> None:
    """Let just these numbers fail from now on."""
    project.file("broken", " ".join(map(str, broken)))


def failures(migration: Numbers) -> list[tuple[int, str]]:
    """Return cursor and error of the failed items that are kept."""
    kept = migration.project.run("failures", MIGRATION, "--json").json()["failures"]
    return [(failure["cursor"], failure["error"]) for failure in kept]


# --- stop


@KINDS
def test_the_first_item_that_fails_ends_the_run_and_the_next_run_starts_with_it(
    project: Project, process: str, workers: int
) -> None:
    break_numbers(project, 3, 5)
    migration = numbers(project, FAIL_IF_BROKEN, process=process, workers=workers)

    failed = project.run("migrate", "--data")

    assert failed.exit_code == 1
    message = f"Migration {MIGRATION} failed: 3: 3 is broken\n"
    assert f"Error running data command: {message}" in failed.stderr
    assert failed.stderr.count("Traceback") == 1
    assert 3 not in migration.processed
    assert migration.cursor == 2
    assert (migration.record["started_at"], migration.record["applied_at"]) == (None, None)
    assert migration.attempts == [("failed", {"processed": 2, "failed": 0})]
    [attempt] = project.attempts()
    assert (attempt["error"]["kind"], attempt["error"]["message"]) == ("ValueError", "3 is broken")

    break_numbers(project)
    before = len(migration.processed)
    resumed = project.run("migrate", "--data")

    assert resumed.exit_code == 0
    assert sorted(migration.processed[before:]) == ALL[2:]
    assert migration.attempts[-1] == ("applied", {"processed": TOTAL, "failed": 0})


def test_an_item_is_named_as_the_migration_describes_it(project: Project) -> None:
    break_numbers(project, 1)
    methods = "def describe(self, number): return f'agreement no. {number}'"
    numbers(project, FAIL_IF_BROKEN, methods=methods)

    result = project.run("migrate", "--data")

    assert f"{MIGRATION} failed: agreement no. 1: 1 is broken" in result.stderr


def test_the_first_item_may_fail_without_any_progress_to_keep(project: Project) -> None:
    break_numbers(project, 1)
    migration = numbers(project, FAIL_IF_BROKEN)

    assert project.run("migrate", "--data").exit_code == 1

    assert "checkpoint" not in migration.record


@pytest.mark.parametrize("on_error", ["'stop'", "'collect'"])
def test_an_error_of_the_items_themselves_ends_the_run_and_keeps_the_progress(
    project: Project, on_error: str
) -> None:
    methods = """
    def items(self, cursor):
        yield from [1, 2, 3]
        raise ConnectionError("no further page")
    """
    migration = numbers(project, methods=methods, on_error=on_error)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f"Migration {MIGRATION} failed: no further page\n" in result.stderr
    assert migration.cursor == 3


@pytest.mark.parametrize(("process", "workers"), [(SYNC, 1), (ASYNC, 1), (SYNC, 3)])
def test_a_script_that_exits_in_an_item_ends_the_run_with_its_code(
    project: Project, process: str, workers: int
) -> None:
    body = "if number == 3: raise SystemExit(7)"
    migration = numbers(project, body, process=process, workers=workers, **COLLECT)

    assert project.run("migrate", "--data").exit_code == 7

    assert migration.cursor == 2


# --- collect


@KINDS
def test_failed_items_are_collected_and_end_the_migration_as_failed_never_as_applied(
    project: Project, process: str, workers: int
) -> None:
    break_numbers(project, 3, 5)
    migration = numbers(project, FAIL_IF_BROKEN, process=process, workers=workers, **COLLECT)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert sorted(migration.processed) == [1, 2, 4, *ALL[5:]]
    assert result.stderr.endswith(
        f"Error running data command: Migration {MIGRATION} failed for 2 of {TOTAL} items"
        " (3: 3 is broken; 5: 5 is broken). Once they can succeed:"
        f" mpt-tool batch {MIGRATION} --retry-failed\nAborted.\n"
    )
    assert (migration.record["started_at"], migration.record["applied_at"]) == (None, None)
    assert failures(migration) == [(3, "3 is broken"), (5, "5 is broken")]
    assert migration.attempts == [("failed", {"processed": TOTAL - 2, "failed": 2})]


def test_the_first_failure_of_a_kind_is_logged_with_the_frames_of_the_script(
    project: Project,
) -> None:
    body = """
    if number in (2, 3):
        {}[str(number)]
    if number == 4:
        raise ExceptionGroup("several", [ValueError("one"), ValueError("other")])
    """
    migration = numbers(project, body, methods=FIND, attempts=2, retry_seconds=0, **COLLECT)

    result = project.run("migrate", "--data")

    _, second, third, fourth, *_ = result.stderr.splitlines()
    assert "2 failed: KeyError: '2'\\nTraceback" in second
    assert f"{migration.path.name}" in second
    assert "mpt_tool" not in second
    assert third.endswith("3 failed: KeyError: '3'")
    assert "4 failed: several (2 sub-exceptions): one; other" in fourth
    assert "ValueError: other" in fourth
    assert (4, "several (2 sub-exceptions): one; other") in failures(migration)
    retried = project.run("batch", MIGRATION, "--retry-failed")
    assert "3 failed: KeyError: '3'\n" in retried.stderr


def test_a_further_run_handles_no_failed_item_again_and_still_fails(project: Project) -> None:
    break_numbers(project, 3)
    migration = numbers(project, FAIL_IF_BROKEN, **COLLECT)
    project.run("migrate", "--data")
    before = migration.processed

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f"failed for 1 of {TOTAL} items (3: 3 is broken)" in result.stderr
    assert migration.processed == before


def test_failures_are_kept_across_a_kill(project: Project, tmp_path: Path) -> None:
    break_numbers(project, 2)
    with Gate(tmp_path / "gate") as gate:
        body = f"{FAIL_IF_BROKEN}\nif number == 4:\n    self.log.info('at 4.')\n    {gate.wait}"
        migration = numbers(project, body, batch_size=1, **COLLECT)
        with Process(project, "migrate", "--data") as run:
            run.wait_for("at 4.")
            run.kill()
        gate.open()

        assert project.run("migrate", "--data").exit_code == 1

    assert failures(migration) == [(2, "2 is broken")]
    assert migration.attempts[-1] == ("failed", {"processed": TOTAL - 1, "failed": 1})


def test_of_many_failures_some_are_listed_and_the_others_counted(project: Project) -> None:
    numbers(project, "raise ValueError('bad')", total=1025, max_failures=2000, **COLLECT)

    result = project.run("migrate", "--data")

    last_line = result.stderr.splitlines()[-2]
    assert "failed for 1,025 of 1,025 items (1: bad; 2: bad;" in last_line
    assert "; 20: bad; and 1,005 more)" in last_line


def test_the_history_says_how_many_failed_and_leaves_which_to_the_list_of_them(
    project: Project,
) -> None:
    numbers(project, "assert number > 3, 'too small'", on_error="'collect'")
    project.run("migrate", "--data")

    [attempt] = project.attempts()

    assert attempt["error"]["message"] == f"Migration {MIGRATION} failed for 3 of {TOTAL} items"


def test_no_secret_is_kept_with_a_failed_item(project: Project) -> None:
    project.environment["MPT_API_TOKEN"] = "token-of-the-platform"
    body = "raise ValueError('x' * 90 + os.environ['MPT_API_TOKEN'])"
    numbers(project, body, total=1, **COLLECT)

    result = project.run("migrate", "--data")

    written = [result.stdout, result.stderr, *project.tree().values()]
    assert not any("token-of" in str(text) for text in written)


# --- --retry-failed


def failed_run(project: Project, *broken: int, methods: str = FIND, **attributes: Any) -> Numbers:
    """Run a migration to its end while some items fail."""
    break_numbers(project, *broken)
    migration = numbers(project, FAIL_IF_BROKEN, methods=methods, **COLLECT, **attributes)
    assert project.run("migrate", "--data").exit_code == 1
    return migration


@pytest.mark.parametrize("process", [SYNC, ASYNC])
def test_retrying_handles_just_the_failed_items_and_applies_the_migration(
    project: Project, process: str
) -> None:
    migration = failed_run(project, 3, 5, process=process)
    before = migration.processed
    break_numbers(project)

    result = project.run("batch", MIGRATION, "--retry-failed")

    assert result.exit_code == 0, result.stderr
    assert migration.processed == [*before, 3, 5]
    assert migration.record["applied_at"]
    assert "checkpoint" not in migration.record
    assert migration.attempts[-1] == ("applied", {"processed": TOTAL, "failed": 0})


def test_find_may_be_asynchronous(project: Project) -> None:
    body = f"assert isinstance(number, int)\n{FAIL_IF_BROKEN}"
    break_numbers(project, 3)
    find = "async def find(self, cursor): return cursor"
    migration = numbers(project, body, methods=find, **COLLECT)
    project.run("migrate", "--data")
    break_numbers(project)

    result = project.run("batch", MIGRATION, "--retry-failed")

    assert result.exit_code == 0, result.stderr
    assert migration.processed[-1] == 3


def test_items_that_fail_again_are_left_to_the_next_retry(project: Project) -> None:
    migration = failed_run(project, 3, 5, 7)
    break_numbers(project, 5)

    result = project.run("batch", MIGRATION, "--retry-failed")

    assert result.exit_code == 1
    assert f"failed for 1 of {TOTAL} items (5: 5 is broken)" in result.stderr
    assert failures(migration) == [(5, "5 is broken")]
    assert migration.attempts[-1] == ("failed", {"processed": TOTAL - 1, "failed": 1})


@pytest.mark.parametrize(
    ("find", "error"),
    [("{}[cursor]", "KeyError: 3"), ("{}.get(cursor)", "find(cursor) found nothing")],
)
def test_an_item_that_is_not_found_has_failed_again(
    project: Project, find: str, error: str
) -> None:
    migration = failed_run(project, 3, methods=f"def find(self, cursor): return {find}")

    assert project.run("batch", MIGRATION, "--retry-failed").exit_code == 1

    assert failures(migration) == [(3, error)]


def test_an_item_that_is_not_implemented_has_failed_as_any_other(project: Project) -> None:
    body = "if number in (3, 5): raise NotImplementedError('not yet')"
    migration = numbers(project, body, methods=FIND, **COLLECT)
    project.run("migrate", "--data")

    result = project.run("batch", MIGRATION, "--retry-failed")

    assert f"failed for 2 of {TOTAL} items (3: not yet; 5: not yet)" in result.stderr
    assert failures(migration) == [(3, "not yet"), (5, "not yet")]


def test_without_find_nothing_is_retried_and_that_is_said(project: Project) -> None:
    migration = failed_run(project, 3, methods="")
    kept = migration.record["checkpoint"]

    result = project.run("batch", MIGRATION, "--retry-failed")

    assert result.exit_code == 1
    assert "Migration has no find(cursor), so no item can be found again" in result.stderr
    assert "NotImplementedError" not in result.stderr
    assert migration.record["checkpoint"] == kept


def test_a_retry_goes_on_behind_the_cursor_once_no_failed_item_is_left(project: Project) -> None:
    migration = failed_run(project, 2, 4, max_failures=1)
    assert migration.cursor == 4
    break_numbers(project)

    retried = project.run("batch", MIGRATION, "--retry-failed")

    assert retried.exit_code == 0
    assert migration.processed == [1, 3, 2, 4, *ALL[4:]]
    assert migration.record["applied_at"]


def test_a_stopped_retry_keeps_what_it_did(project: Project) -> None:
    body = "if Path('retrying').exists(): os.kill(os.getpid(), signal.SIGTERM)\n" + FAIL_IF_BROKEN
    break_numbers(project, 3, 5, 7)
    migration = numbers(project, body, methods=FIND, **COLLECT)
    project.run("migrate", "--data")
    break_numbers(project)
    project.file("retrying", "")

    result = project.run("batch", MIGRATION, "--retry-failed")

    assert result.exit_code == 75
    assert f"run it again to go on: mpt-tool batch {MIGRATION} --retry-failed" in result.stderr
    assert failures(migration) == [(5, "5 is broken"), (7, "7 is broken")]


@pytest.mark.parametrize("has_progress", [True, False])
def test_without_failed_items_there_is_nothing_to_retry(
    project: Project, has_progress: bool
) -> None:
    break_numbers(project, 2 if has_progress else 1)
    migration = numbers(project, FAIL_IF_BROKEN, methods=FIND)
    project.run("migrate", "--data")

    result = project.run("batch", MIGRATION, "--retry-failed")

    assert result.exit_code == 1
    assert f"Migration {MIGRATION} has no failed items\n" in result.stderr
    assert len(migration.attempts) == 1


def test_listing_shows_how_many_items_failed(project: Project) -> None:
    failed_run(project, 3, 5)

    [listed] = project.run("migrate", "--list", "--json").json()["migrations"]

    assert listed["status"] == "failed"
    assert listed["notes"] == [f"resumes after {TOTAL}", "2 items failed"]


# --- max_failures


@pytest.mark.parametrize(
    ("attributes", "last"),
    [
        ({"max_failures": 2}, 6),
        ({"max_failures": 0}, 2),
        ({"max_failures": 0.3, "batch_size": 1}, 2),
        ({"max_failures": 0.45, "batch_size": 5}, 6),
        ({"max_failures": 0.5, "batch_size": 1}, None),
    ],
)
@pytest.mark.parametrize("workers", [1, 3])
def test_more_failures_than_allowed_end_the_run_at_the_last_of_them(
    project: Project, attributes: dict[str, Any], last: int | None, workers: int
) -> None:
    break_numbers(project, *ALL[1::2])
    migration = numbers(project, FAIL_IF_BROKEN, workers=workers, **COLLECT, **attributes)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert migration.cursor == (last or TOTAL)
    number_of_failures = (last or TOTAL) // 2
    assert len(failures(migration)) == number_of_failures
    if last:
        many = "1 item" if number_of_failures == 1 else f"{number_of_failures} items"
        reason = f"as {many} failed, more than max_failures: {last} is broken"
        assert f"failed: {last}, {reason}" in result.stderr


# --- attempts

FAIL_TWICE = """
with open(f"tries-of-{number}", "a") as file:
    file.write("x")
if Path(f"tries-of-{number}").stat().st_size < 3:
    raise ConnectionError("try again")
"""


def tries(project: Project, number: int) -> int:
    """Return how often an item was tried by `FAIL_TWICE`."""
    return len((project.root / f"tries-of-{number}").read_text())


@KINDS
def test_an_item_is_tried_again_as_often_as_allowed(
    project: Project, process: str, workers: int
) -> None:
    retries: dict[str, Any] = {"attempts": 3, "retry_seconds": 0.001}
    migration = numbers(project, FAIL_TWICE, total=4, process=process, workers=workers, **retries)

    assert project.run("migrate", "--data").exit_code == 0

    assert sorted(migration.processed) == [1, 2, 3, 4]
    assert [tries(project, number) for number in migration.processed] == 4 * [3]


@KINDS
def test_a_stop_leaves_an_item_that_waits_for_its_next_try_to_the_next_run(
    project: Project, process: str, workers: int
) -> None:
    body = """
    if number == 3:
        self.log.info("3 fails")
        raise ValueError("try again")
    """
    retries: dict[str, Any] = {"attempts": 2, "retry_seconds": 3600}
    migration = numbers(project, body, process=process, workers=workers, **retries)

    with Process(project, "migrate", "--data") as run:
        run.wait_for("3 fails")
        run.send(signal.SIGTERM)
        result = run.wait()

    assert result.exit_code == 75
    assert migration.cursor == 2
    assert migration.attempts == [("stopped", {"processed": 2, "failed": 0})]


def test_a_stop_leaves_a_failed_item_that_waits_for_its_next_try_failed(project: Project) -> None:
    break_numbers(project, 3)
    body = f"self.log.info('tried')\n{FAIL_IF_BROKEN}"
    migration = numbers(project, body, methods=FIND, **COLLECT)
    project.run("migrate", "--data")
    numbers(project, body, methods=FIND, attempts=2, retry_seconds=3600, **COLLECT)

    with Process(project, "batch", MIGRATION, "--retry-failed") as run:
        run.wait_for("tried")
        run.send(signal.SIGTERM)
        result = run.wait()

    assert result.exit_code == 75
    assert failures(migration) == [(3, "3 is broken")]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"attempts": 2}, 2),
        ({"attempts": 3, "retry_on": "(KeyError,)"}, 1),
        ({"attempts": 2, "retry_on": "(KeyError, OSError)"}, 2),
        ({}, 1),
    ],
)
def test_an_item_fails_for_good_after_its_last_try_or_another_error(
    project: Project, attributes: dict[str, Any], expected: int
) -> None:
    numbers(project, FAIL_TWICE, retry_seconds=0.001, **attributes)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f"{MIGRATION} failed: 1: try again\n" in result.stderr
    assert tries(project, 1) == expected


@KINDS
@pytest.mark.parametrize("ends", ["return", "raise ValueError('child')", "raise SystemExit(0)"])
def test_a_child_that_process_forks_handles_no_further_item_and_records_nothing(
    project: Project, process: str, workers: int, ends: str
) -> None:
    body = f"""
    if number == 3:
        child = os.fork()
        if not child:
            {ends}
        os.waitpid(child, 0)
    """
    migration = numbers(project, body, process=process, workers=workers, checkpoint_seconds=0)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "child" not in result.stderr
    assert sorted(migration.processed) == ALL
    assert migration.attempts == [("applied", {"processed": TOTAL, "failed": 0})]
