"""Where the progress of a batch migration is kept, how often, and when it is not gone on from."""

import json
import signal
from itertools import pairwise
from typing import Any

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import MIGRATION, TOTAL, Numbers, numbers
from support.process import Process
from support.project import Project, record
from support.terminal import Gate

pytestmark = pytest.mark.slow

ALL = list(range(1, TOTAL + 1))
FAIL_AT_4 = "if Path('broken').exists() and number == 4: raise ValueError('broken')"
CHECKPOINT = {"name": "checkpoint", "type": "multilineText"}
MOMENT = "2026-01-13T18:05:20+00:00"


def fail_at_4(project: Project, **attributes: Any) -> Numbers:
    """Run a migration that fails at 4, and will not the next time."""
    project.file("broken", "")
    migration = numbers(project, FAIL_AT_4, **attributes)
    assert project.run("migrate", "--data").exit_code == 1
    (project.root / "broken").unlink()
    return migration


def stored(server: AirtableServer) -> Any:
    """Return the checkpoint that the table has."""
    return json.loads(server.records()[MIGRATION]["checkpoint"])


# --- the local store


def test_a_checkpoint_in_the_state_file_has_the_documented_form(project: Project) -> None:
    migration = fail_at_4(project, methods="def count(self): return 10")

    checkpoint, [attempt] = migration.record["checkpoint"], project.attempts()

    assert attempt["started_at"] < checkpoint.pop("since") < attempt["ended_at"]
    assert checkpoint.pop("checksum") == attempt["checksum"]
    assert attempt["started_at"] < checkpoint.pop("reached_at") < attempt["ended_at"]
    assert checkpoint.pop("rate") > 0
    assert checkpoint == {
        "cursor": 3,
        "processed": 3,
        "failed": 0,
        "total": 10,
        "done": False,
    }


def test_since_stays_when_the_first_run_began(project: Project) -> None:
    migration = fail_at_4(project)
    since = migration.record["checkpoint"]["since"]
    project.file("broken", "")

    project.run("migrate", "--data")

    assert migration.record["checkpoint"]["since"] == since


def test_listing_tells_where_a_stopped_migration_resumes(project: Project) -> None:
    numbers(project)
    checkpoint = {"cursor": 1200, "processed": 1190, "failed": 10, "total": 5000, "since": MOMENT}
    project.write_state(record(MIGRATION, order_id=1, checkpoint=checkpoint))

    result = project.run("migrate", "--list")

    [line] = [line for line in result.stdout.splitlines() if line.startswith("1  ")]
    assert line.endswith("resumes after 1,200 of 5,000; 10 items failed")


def test_a_single_item_is_one(project: Project) -> None:
    body = "if number == 2: raise ValueError"
    numbers(project, body, total=2, on_error="'collect'", methods="find = lambda _, cursor: cursor")
    project.run("migrate", "--data")

    listed = project.run("migrate", "--list")
    result = project.run("batch", MIGRATION, "--retry-failed")

    assert "resumes after 2; 1 item failed" in listed.stdout
    assert f"Retrying 1 item of {MIGRATION}\n" in result.stderr


@pytest.mark.parametrize(
    "cursor",
    ["{'page': 1, 'ids': ['a', None]}", "'größe'", "[1.5, True]", "False", "0"],
)
def test_any_json_value_is_a_cursor(project: Project, cursor: str) -> None:
    methods = f"""
    def items(self, cursor):
        assert cursor in (None, {cursor})
        yield from range(1, 4)

    def cursor(self, number):
        return {cursor}
    """
    migration = numbers(project, "assert number < 3", methods=methods)
    project.run("migrate", "--data")
    assert migration.record["checkpoint"]["processed"] == 2

    again = project.run("migrate", "--data")

    assert f"Resuming {MIGRATION} after 2 items" in again.stderr
    assert migration.processed == [1, 2, 1, 2]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("cursor", "what"),
    [
        ("{1, 2}", "which is no JSON value"),
        ("10**5000", "too long to be written, which is no JSON value"),
        ("number.__add__", "which is no JSON value"),
        ("float('nan')", "which is no JSON value"),
        ("(1, 2)", "which JSON would change"),
        ("{1: 2}", "which JSON would change"),
        ("None", "which stands for the beginning"),
    ],
)
def test_a_cursor_that_json_cannot_keep_fails_before_the_first_item(
    project: Project, cursor: str, what: str, workers: int
) -> None:
    methods = f"def cursor(self, number): return {cursor}"
    migration = numbers(project, methods=methods, workers=workers)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    [line] = [line for line in result.stderr.splitlines() if line.startswith("Error running")]
    assert line.startswith(
        f"Error running data command: Migration {MIGRATION} failed: cursor(item) returned "
    )
    assert line.endswith(what)
    assert migration.processed == []
    assert "checkpoint" not in migration.record


def test_a_later_cursor_that_json_cannot_keep_fails_before_its_item(project: Project) -> None:
    methods = "def cursor(self, number): return {number} if number == 3 else number"
    migration = numbers(project, methods=methods)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f"Failed: {MIGRATION}\n" in result.stdout
    assert migration.processed == [1, 2]
    assert migration.cursor == 2


@pytest.mark.parametrize(
    ("count", "said"),
    [
        ("def count(self): return 'ten'", "count() returned 'ten': use a whole number, or None\n"),
        ("def count(self): return 10.5", "count() returned 10.5: use"),
        ("def count(self): return -1", "count() returned -1: use"),
        ("def count(self): return 10**5000", "count() returned a value of the type int that is"),
        ("def count(self): return 1 / 0", "is not known: count() failed: division by zero\n"),
        ("async def count(self): return 1 / 0", "is not known: count() failed: division by zero\n"),
    ],
)
def test_a_count_that_is_no_number_is_a_warning_and_all_items_are_processed(
    project: Project, count: str, said: str
) -> None:
    migration = numbers(project, methods=count)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    [warning] = [line for line in result.stderr.splitlines() if "WARNING" in line]
    assert said in f"{warning}\n"
    assert "Traceback" not in result.stderr
    assert migration.processed == ALL


def test_a_count_may_be_asynchronous(project: Project) -> None:
    numbers(project, methods="async def count(self): return 10")

    assert project.run("migrate", "--data").exit_code == 0

    [attempt] = project.attempts()
    assert attempt["counts"]["total"] == 10


# --- the script was changed


def change(migration: Numbers, *, old: str = "", new: str = "") -> None:
    """Replace what is in the script, or add to its end."""
    text = migration.path.read_text()
    migration.path.write_text(text.replace(old, new) if old else text + new)


def test_a_changed_script_is_not_resumed_unless_it_is_said_how(project: Project) -> None:
    migration = fail_at_4(project)
    change(migration, old="'broken'", new="'broken now'")
    before = project.tree()

    result = project.run("migrate", "--data", MIGRATION)

    assert result.exit_code == 1
    assert result.error == (
        f"Error running data command: {migration.path.name} was changed since it came to 3 items."
        f" Begin anew: mpt-tool batch {MIGRATION} --restart; or go on from there with the"
        f" changed script: mpt-tool batch {MIGRATION} --resume-anyway\nAborted.\n"
    )
    assert project.tree() == before


@pytest.mark.parametrize(
    ("option", "processed"), [("--resume-anyway", ALL[3:]), ("--restart", ALL)]
)
def test_a_changed_script_goes_on_or_begins_anew(
    project: Project, option: str, processed: list[int]
) -> None:
    migration = fail_at_4(project)
    change(migration, new="\nCHANGED = True\n")

    result = project.run("batch", MIGRATION, option)

    assert result.exit_code == 0, result.stderr
    assert migration.processed == [1, 2, 3, *processed]
    assert migration.attempts[-1] == ("applied", {"processed": TOTAL, "failed": 0})
    assert ("Resuming" in result.stderr) == (option == "--resume-anyway")


def test_a_change_that_was_let_pass_once_is_not_asked_for_again(project: Project) -> None:
    migration = fail_at_4(project)
    change(migration, new="\nCHANGED = True\n")
    project.file("broken", "")
    project.run("batch", MIGRATION, "--resume-anyway")
    (project.root / "broken").unlink()

    assert project.run("migrate", "--data", MIGRATION).exit_code == 0


def test_comments_and_formatting_are_no_change(project: Project) -> None:
    migration = fail_at_4(project)
    change(migration, new="\n\n# a comment\n")
    change(migration, old="import asyncio, json", new="import  asyncio,json")

    assert project.run("migrate", "--data").exit_code == 0

    assert migration.processed == ALL


def test_an_unchanged_script_can_be_restarted(project: Project) -> None:
    migration = fail_at_4(project)

    project.run("batch", MIGRATION, "--restart")

    assert migration.processed == [1, 2, 3, *ALL]


@pytest.mark.parametrize("option", ["--restart", "--resume-anyway", "--retry-failed"])
def test_other_migrations_have_no_items_to_go_on_with(project: Project, option: str) -> None:
    project.script("plain")

    result = project.run("batch", "plain", option)

    assert result.exit_code == 1
    assert "Migration plain is no batch migration: it has no items\n" in result.stderr
    assert not project.state_file.exists()


# --- Airtable


@pytest.fixture
def on_airtable(project: Project, server: AirtableServer) -> Project:
    """A project whose state is in the table."""
    project.environment = server.settings
    return project


def test_a_checkpoint_is_kept_in_its_column_until_the_migration_is_applied(
    on_airtable: Project, server: AirtableServer
) -> None:
    initialized = on_airtable.run("migrate", "--init")
    assert "Created column checkpoint.\n" in initialized.stdout
    migration = fail_at_4(on_airtable)
    assert (stored(server)["cursor"], stored(server)["processed"]) == (3, 3)

    result = on_airtable.run("migrate", "--data")

    assert result.exit_code == 0
    assert f"Resuming {MIGRATION} after 3 items\n" in result.stderr
    assert "will not survive" not in result.stderr
    assert migration.processed == ALL
    assert "checkpoint" not in server.records()[MIGRATION]
    [_, applied] = on_airtable.run("history", "--json").json()["attempts"]
    assert applied["counts"] == {"processed": TOTAL, "failed": 0}


def test_without_the_column_the_run_says_first_that_progress_will_not_survive(
    on_airtable: Project, server: AirtableServer
) -> None:
    migration = numbers(on_airtable, "self.log.info(f'at {number}.'); assert number < 3")

    result = on_airtable.run("migrate", "--data")

    warning = (
        f"WARNING - The store has no column checkpoint: the progress of {MIGRATION} will not"
        " survive its end; mpt-tool migrate --init adds the column\n"
    )
    assert 0 < result.stderr.index(warning) < result.stderr.index("at 1.")
    assert result.stderr.count("no column checkpoint") == 1
    # Nor does what is to be typed next promise what is not kept.
    assert "Next: mpt-tool migrate --data\n" in result.stdout
    assert "resumes" not in result.stdout
    on_airtable.run("migrate", "--data")
    assert migration.processed == [1, 2, 1, 2]


def test_a_cursor_that_is_not_utf_8_is_kept_on_airtable_too(
    on_airtable: Project, server: AirtableServer
) -> None:
    server.add_column(BASE, TABLE, CHECKPOINT)
    # As the name of a file may be.
    methods = r"def cursor(self, number): return f'{number}\udcff'"
    numbers(on_airtable, "assert number < 3", methods=methods)

    result = on_airtable.run("migrate", "--data")

    assert "Traceback" in result.stderr
    assert "mpt_tool" not in result.stderr
    assert stored(server)["cursor"] == "2\udcff"


def test_more_failures_than_a_cell_has_room_for_are_kept_with_their_errors_and_retried(
    on_airtable: Project,
) -> None:
    on_airtable.run("migrate", "--init")
    body = "if not os.environ.get('READY'): raise ValueError(f'{number}: ' + 'x' * 90)"
    attributes: dict[str, Any] = {
        "on_error": "'collect'",
        "max_failures": 2_000,
        "find": "lambda _, cursor: cursor",
    }
    numbers(on_airtable, body, total=2_000, **attributes)

    failed = on_airtable.run("migrate", "--data")
    kept = on_airtable.run("failures", MIGRATION, "--json").json()["failures"]
    retried = on_airtable.run("batch", MIGRATION, "--retry-failed", env={"READY": "1"})

    assert (failed.exit_code, retried.exit_code) == (1, 0), failed.stderr[-2000:]
    assert [item["cursor"] for item in kept] == list(range(1, 2_001))
    assert all(item["error"] == f"{item['cursor']}: {'x' * 90}" for item in kept)


def test_attempts_and_failed_items_of_each_target_have_rows_of_their_own(
    on_airtable: Project,
) -> None:
    on_airtable.run("migrate", "--init")
    body = "assert number != 3 or self.target != 'PRD-2', self.target"
    numbers(on_airtable, body, targets="('PRD-1', 'PRD-2', 'PRD-3')", on_error="'collect'")

    on_airtable.run("migrate", "--data")
    history = on_airtable.run("history", "--json").json()["attempts"]
    failures = on_airtable.run("failures", MIGRATION, "--json").json()["failures"]

    attempts = [(attempt["target"], attempt["outcome"]) for attempt in history]
    assert attempts == [("PRD-1", "applied"), ("PRD-2", "failed"), ("PRD-3", "applied")]
    assert [(item["target"], item["cursor"]) for item in failures] == [("PRD-2", 3)]


def test_failed_items_are_counted_where_no_history_keeps_them_and_never_taken_for_done(
    on_airtable: Project, server: AirtableServer
) -> None:
    server.add_column(BASE, TABLE, CHECKPOINT)
    attributes = {
        "on_error": "'collect'",
        "cursor": "lambda self, number: f'{number:05000}'",
        "find": "lambda self, cursor: int(cursor)",
    }
    numbers(on_airtable, "assert os.environ.get('READY')", total=50, **attributes)

    failed = on_airtable.run("migrate", "--data")
    retried = on_airtable.run("batch", MIGRATION, "--retry-failed", env={"READY": "1"})

    assert (failed.exit_code, retried.exit_code) == (1, 1)
    assert failed.stderr.count(f"Which items of {MIGRATION} fail is not kept") == 1
    assert "0 of 50 items that failed were kept: begin anew by" in retried.stderr
    kept = stored(server)
    assert (kept["cursor"], kept["processed"] + kept["failed"]) == (f"{50:05000}", 50)
    assert "applied_at" not in server.records()[MIGRATION]


def test_a_stop_saves_the_checkpoint_on_airtable_too(
    on_airtable: Project, server: AirtableServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server.add_column(BASE, TABLE, CHECKPOINT)
    with Gate(tmp_path_factory.mktemp("gates") / "gate") as gate:
        body = f"if number == 3:\n    self.log.info('at 3.')\n    {gate.wait}"
        numbers(on_airtable, body)
        with Process(on_airtable, "migrate", "--data") as run:
            run.wait_for("at 3.")
            run.send(signal.SIGTERM)
            gate.open()
            assert run.wait().exit_code == 75

    assert stored(server)["cursor"] == 3
    assert server.claims() == []


def test_on_airtable_a_checkpoint_is_one_request_every_so_many_seconds_and_no_more(
    on_airtable: Project, server: AirtableServer
) -> None:
    seconds = 0.3
    server.add_column(BASE, TABLE, CHECKPOINT)
    body = "time.sleep(0.01)"
    numbers(on_airtable, body, total=100, batch_size=1, checkpoint_seconds=seconds)

    assert on_airtable.run("migrate", "--data").exit_code == 0

    saves = [request.time for request in server.record_requests() if has_checkpoint(request.body)]
    assert len(saves) >= 2
    assert all(later - earlier >= seconds for earlier, later in pairwise(saves))


def has_checkpoint(body: Any) -> bool:
    """Whether a request writes a checkpoint."""
    return bool(body and body.get("fields", {}).get("checkpoint"))


def test_progress_that_cannot_be_saved_ends_the_run_as_an_error_of_the_store(
    on_airtable: Project,
    server: AirtableServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    server.add_column(BASE, TABLE, CHECKPOINT)
    with Gate(tmp_path_factory.mktemp("gates") / "gate") as gate:
        body = f"if number == 3:\n    self.log.info('at 3.')\n    {gate.wait}"
        migration = numbers(on_airtable, body, checkpoint_seconds=0)
        with Process(on_airtable, "migrate", "--data") as run:
            run.wait_for("at 3.")
            server.answer(403, {"error": "FORBIDDEN"}, method="PATCH", times=100)
            gate.open()
            result = run.wait()

    assert result.exit_code == 1
    assert f"Not recorded: {MIGRATION}\n" in result.stdout
    assert "Traceback" not in result.stderr
    assert migration.processed == [1, 2, 3]
    assert stored(server)["cursor"] == 2
