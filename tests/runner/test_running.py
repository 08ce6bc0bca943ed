"""`migrate --data` and `migrate --schema` on the local store."""

import json
import os
import re
from datetime import datetime, timedelta

import pytest
from support.project import COMMAND, HISTORY_FILE, LOCK_FILE, STATE_FILE, Project, record

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - (\w+) - (.*)")
DAY = "2026-01-13T18:05:20.000000"


def logged(stderr: str) -> list[tuple[str, str]]:
    """Return (level, message) of the lines of a log; a line of another form is a failure."""
    lines = [LOG_LINE.fullmatch(line) for line in stderr.splitlines()]
    assert all(lines), stderr
    return [(line[1], line[2]) for line in lines if line]


@pytest.mark.parametrize(
    ("migration_type", "last_line"),
    [
        ("data", "Migrations completed successfully."),
        ("schema", "schema migrations applied successfully."),
    ],
)
def test_a_run_applies_what_is_pending_of_its_type_and_says_so(
    project: Project, migration_type: str, last_line: str
) -> None:
    other_type = {"data": "schema", "schema": "data"}[migration_type]
    project.script("first", type=migration_type)
    project.script("other", type=other_type, body="raise AssertionError")
    project.script("second", type=migration_type)

    result = project.run("migrate", f"--{migration_type}")

    assert result.exit_code == 0
    summary = re.compile(r"2 applied, 0 skipped, 0 failed in \d+\.\d s\.")
    first_line, counts, end = result.stdout.splitlines()
    assert first_line == f"Running {migration_type} migrations..."
    assert summary.fullmatch(counts)
    assert end == last_line
    messages = [message for _, message in logged(result.stderr) if message.startswith("Running")]
    assert messages == ["Running migration: first", "Running migration: second"]
    assert [(r["migration_id"], r["type"]) for r in project.state().values()] == [
        ("first", migration_type),
        ("second", migration_type),
    ]


def test_scripts_run_in_order_of_their_numbers_and_then_of_their_ids(project: Project) -> None:
    for order_id, migration_id in [(10, "b"), (9, "z"), (10, "a"), (100, "A"), (0, "last_made")]:
        project.script(migration_id, order_id=order_id, body=f"print('ran', {migration_id!r})")

    result = project.run("migrate", "--data")

    ran = [line for line in result.stdout.splitlines() if line.startswith("ran")]
    assert ran == ["ran last_made", "ran z", "ran a", "ran b", "ran A"]


def test_the_state_file_has_the_documented_form(project: Project) -> None:
    project.script("data_example", order_id=20260113180013)
    project.script("schema_example", order_id=20260214121033, body="1 / 0")

    project.run("migrate", "--data")

    moment = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"'
    documented = """\
{
  "data_example": {
    "migration_id": "data_example",
    "order_id": 20260113180013,
    "started_at": MOMENT,
    "applied_at": MOMENT,
    "type": "data"
  },
  "schema_example": {
    "migration_id": "schema_example",
    "order_id": 20260214121033,
    "started_at": null,
    "applied_at": null,
    "type": "data"
  }
}"""
    text = project.state_file.read_text()
    assert re.sub(moment, "MOMENT", text) == documented
    moments = [datetime.fromisoformat(each.strip('"')) for each in re.findall(moment, text)]
    assert moments == sorted(moments)
    assert all(each.utcoffset() == timedelta(0) for each in moments)


def test_the_start_is_stored_before_the_script_runs(project: Project) -> None:
    project.script("copies", body="import shutil; shutil.copy('.migrations-state.json', 'seen')")

    project.run("migrate", "--data")

    [seen] = json.loads((project.root / "seen").read_text()).values()
    assert seen["started_at"] == project.state()["copies"]["started_at"] is not None
    assert seen["applied_at"] is None


def test_what_runs_follows_from_the_status(project: Project) -> None:
    moments = {"failed": (None, None), "running": (DAY, None), "applied": (DAY, DAY)}
    moments["faked"] = (None, DAY)
    for status in moments:
        project.script(status, above=f"print('imported', {status!r})", body=f"print({status!r})")
    records = {
        status: record(status, started_at=started_at, applied_at=applied_at)
        for status, (started_at, applied_at) in moments.items()
    }
    project.write_state(*records.values())

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:-2] == [
        *("imported failed", "imported running"),
        *("failed", "running"),
    ]
    state = project.state()
    assert (state["applied"], state["faked"]) == (records["applied"], records["faked"])
    assert all(state[status]["started_at"] > DAY for status in ("failed", "running"))
    assert all(state[status]["applied_at"] > DAY for status in ("failed", "running"))


def test_a_run_skips_what_is_applied_and_says_so_only_when_asked(project: Project) -> None:
    project.script("done")
    project.script("by_hand")
    project.script("done_schema", type="schema")
    project.write_state(
        record("done", started_at=DAY, applied_at=DAY),
        record("by_hand", applied_at=DAY),
        record("done_schema", type="schema", applied_at=DAY),
    )

    plain, verbose = project.run("migrate", "--data"), project.run("migrate", "--data", "--verbose")

    assert "0 applied, 2 skipped, 0 failed in 0.0 s.\n" in plain.stdout
    assert plain.stderr == ""
    assert logged(verbose.stderr) == [
        ("DEBUG", "Skipping applied migration: done"),
        ("DEBUG", "Skipping applied migration: by_hand"),
    ]


def test_a_script_recorded_with_the_other_type_is_not_imported(project: Project) -> None:
    project.script("now_data", above="raise AssertionError('imported')")
    before = record("now_data", type="schema")
    project.write_state(before)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert project.state() == {"now_data": before}


def test_a_failure_ends_the_run_and_tells_how_far_it_came(project: Project) -> None:
    project.script("fine")
    project.script("broken", body="raise RuntimeError('out of paper')")
    project.script("next")
    project.script("last")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[:4] == [
        "Running data migrations...",
        "Applied before the failure: fine",
        "Failed: broken",
        "Not reached: next, last",
    ]
    assert re.fullmatch(r"1 applied, 0 skipped, 1 failed in \d+\.\d s\.", lines[4])
    assert lines[5:] == [
        "Next: mpt-tool migrate --data",
        "      broken failed: mpt-tool history broken says why",
    ]
    assert result.stderr.count("Migration broken failed: out of paper") == 1
    assert result.stderr.endswith(
        "Error running data command: Migration broken failed: out of paper\nAborted.\n"
    )
    assert project.state().keys() == {"fine", "broken"}
    broken = project.state()["broken"]
    assert (broken["started_at"], broken["applied_at"]) == (None, None)


def test_the_last_line_of_a_run_that_failed_is_what_to_do(project: Project) -> None:
    project.script("broken", body="raise RuntimeError('out of paper')")

    result = project.execute(["sh", "-c", f"{COMMAND} migrate --data 2>&1"])

    assert result.exit_code == 1
    assert result.stdout.endswith(
        "Aborted.\n"
        "Next: mpt-tool migrate --data\n"
        "      broken failed: mpt-tool history broken says why\n"
    )


def test_a_later_run_takes_up_at_the_migration_that_failed(project: Project) -> None:
    project.script("fine", body="print('ran fine')")
    project.script("flaky", body="open('repaired').close(); print('ran flaky')")
    project.script("last", body="print('ran last')")
    project.run("migrate", "--data")
    fine = project.state()["fine"]
    project.file("repaired", "")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    ran = [line for line in result.stdout.splitlines() if line.startswith("ran")]
    assert ran == ["ran flaky", "ran last"]
    assert project.state()["fine"] == fine
    assert all(each["started_at"] <= each["applied_at"] for each in project.state().values())


@pytest.mark.parametrize(
    ("body", "exit_code", "reason"),
    [
        ("sys.exit(3)", 3, "it exited with 3"),
        ("sys.exit('no licence')", 1, "it exited with no licence"),
        ("sys.exit(256)", 1, "it exited with 256"),
        ("raise Mute", 1, "Mute"),
    ],
)
def test_a_failure_is_recorded_and_decides_the_exit_code(
    project: Project, body: str, exit_code: int, reason: str
) -> None:
    mute = """
        import sys

        class Mute(Exception):
            def __str__(self):
                raise RuntimeError
        """
    project.script("stubborn", above=mute, body=body)

    result = project.run("migrate", "--data")

    assert result.exit_code == exit_code
    assert f"Migration stubborn failed: {reason}" in result.stderr
    assert project.state()["stubborn"]["started_at"] is None
    assert project.state()["stubborn"]["applied_at"] is None


def test_exiting_with_nothing_wrong_is_a_normal_return(project: Project) -> None:
    project.script("zero", body="raise SystemExit(0)")
    project.script("none", body="raise SystemExit")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert all(each["applied_at"] for each in project.state().values())
    assert "2 applied" in result.stdout


def test_an_id_runs_just_that_migration(project: Project) -> None:
    for migration_id in ("one", "two", "three"):
        project.script(migration_id, above=f"print('imported', {migration_id!r})")

    result = project.run("migrate", "--data", "two")

    assert result.exit_code == 0
    assert [line for line in result.stdout.splitlines() if "imported" in line] == ["imported two"]
    assert "1 applied, 0 skipped, 0 failed" in result.stdout
    assert project.state().keys() == {"two"}


@pytest.mark.parametrize(
    ("migration_id", "reason"),
    [
        ("unheard_of", "Migration unheard_of not found"),
        ("gone", "Migration gone not found"),
        ("done", "Migration done already applied"),
        ("column", "Migration column is not a data migration"),
        ("recorded_column", "Migration recorded_column is not a data migration"),
        ("riddle", "Migration riddle is not a data migration"),
    ],
)
def test_an_id_that_cannot_be_run_is_refused(
    project: Project, migration_id: str, reason: str
) -> None:
    project.script("done")
    project.script("column", type="schema")
    project.script("recorded_column")
    project.file("shared.py", "from mpt_tool.migration import SchemaBaseMigration as Base")
    project.file(
        "migrations/5_riddle.py",
        "import shared\n\nclass Migration(shared.Base):\n    def run(self): pass",
    )
    project.write_state(
        record("gone"),
        record("done", started_at=DAY, applied_at=DAY),
        record("recorded_column", type="schema"),
    )
    before = project.state_file.read_bytes()

    result = project.run("migrate", "--data", migration_id)

    assert result.exit_code == 1
    assert result.stdout == "Running data migrations...\n"
    assert result.error == f"Error running data command: {reason}\nAborted.\n"
    assert project.state_file.read_bytes() == before


@pytest.mark.parametrize("migration_type", ["data", "schema"])
def test_a_missing_folder_is_an_error(project: Project, migration_type: str) -> None:
    result = project.run("migrate", f"--{migration_type}")

    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"Running {migration_type} migrations...",
        "Next: mpt-tool migrate --new-data NAME",
    ]
    assert result.error.startswith(
        f"Error running {migration_type} command: Migration folder not found: migrations ("
    )
    assert project.tree() == {}


@pytest.mark.parametrize("options", [[], ["first"], ["--dry-run"]])
@pytest.mark.parametrize("migration_type", ["data", "schema"])
def test_a_folder_without_a_script_is_an_error(
    project: Project, migration_type: str, options: list[str]
) -> None:
    project.file("migrations/__init__.py", "")
    before = project.tree()

    result = project.run("migrate", f"--{migration_type}", *options)

    assert result.exit_code == 1
    reason = "No migration files found in migrations"
    assert result.error == f"Error running {migration_type} command: {reason}\nAborted.\n"
    assert project.tree() == before


def test_a_folder_without_a_script_of_the_type_is_none(project: Project) -> None:
    project.script("first", type="schema")

    assert project.run("migrate", "--data").exit_code == 0


@pytest.mark.parametrize(
    ("further_file", "named"),
    [
        ("20260102000000_bad-id.py", "20260102000000_bad-id.py"),
        ("20260102000000_.py", "20260102000000_.py"),
        (f"1_{'x' * 125}.py", "longer than 124"),
        ("20260102000000_twin.py", "20260101000000_twin.py, 20260102000000_twin.py"),
    ],
)
def test_names_that_leave_a_doubt_stop_a_run_before_anything_happened(
    project: Project, further_file: str, named: str
) -> None:
    project.script("twin", above="print('imported')")
    project.file(f"migrations/{further_file}", "print('imported')")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert result.stdout == "Running data migrations...\n"
    assert named in result.stderr
    assert not project.state_file.exists()


def test_the_version_of_the_service_is_recorded_where_it_is_known(project: Project) -> None:
    project.script("first")
    project.script("second", body="open('repaired').close()")
    project.run("migrate", "--data", env={"SERVICE_VERSION": "4.2.0"})
    project.file("repaired", "")

    project.run("migrate", "--data")

    assert project.state()["first"]["version"] == "4.2.0"
    assert list(project.state()["first"]) == [
        *("migration_id", "order_id", "started_at", "applied_at", "type"),
        "version",
    ]


def test_what_the_tool_does_not_know_stays_in_the_state(project: Project) -> None:
    project.script("again")
    project.script("done")
    others = [
        record("done", started_at=DAY, applied_at=DAY, version="1.0", owner={"team": ["ä"]}),
        record("gone", started_at="2026-01-13T18:05:20+02:00", checkpoint=None),
    ]
    project.write_state(others[0], record("again", owner="me", attempts=[1, 2.50]), others[1])

    project.run("migrate", "--data")

    state = project.state()
    assert list(state) == ["done", "again", "gone"]
    assert [state["done"], state["gone"]] == others
    assert (state["again"]["owner"], state["again"]["attempts"]) == ("me", [1, 2.5])
    assert state["again"]["applied_at"]


def test_the_state_file_is_replaced_not_written_over(project: Project) -> None:
    project.script("first")
    project.write_state()
    project.state_file.chmod(0o640)
    os.link(project.state_file, project.root / "old_state")

    project.run("migrate", "--data")

    assert (project.root / "old_state").read_text() == "{}"
    assert project.state().keys() == {"first"}
    assert project.state_file.stat().st_mode & 0o777 == 0o640
    assert {path.name for path in project.root.iterdir()} == {
        *("migrations", "old_state", STATE_FILE, HISTORY_FILE, LOCK_FILE),
    }


def test_a_linked_state_file_stays_a_link(project: Project) -> None:
    project.script("first")
    target = project.file("volume/state.json", "{}")
    project.state_file.symlink_to("volume/state.json")

    project.run("migrate", "--data")

    assert project.state_file.is_symlink()
    assert json.loads(target.read_text()).keys() == {"first"}


def test_a_script_does_not_run_if_its_start_cannot_be_stored(project: Project) -> None:
    project.script("first", body="print('ran')")
    project.state_file.symlink_to("missing/state.json")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "ran" not in result.stdout.splitlines()
    assert "state.json cannot be written: its folder is not there\nAborted.\n" in result.stderr


def test_an_end_that_cannot_be_stored_is_told_with_what_to_do(project: Project) -> None:
    project.script("first", body="import shutil; shutil.rmtree('volume')")
    project.script("second", body="print('ran second')")
    project.file("volume/state.json", "{}")
    project.state_file.symlink_to("volume/state.json")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "Migration first was applied, but that could not be recorded" in result.stderr
    assert "mpt-tool migrate --fake first" in result.stderr
    assert "ran second" not in result.stdout


BROKEN_STATES = {
    "not JSON": ('{\n  "recorded": ,\n}', "line 2 column 15"),
    "cut off": ('{"recorded": {"migration_id": ', "line 1 column"),
    "empty": ("", "line 1 column 1"),
    "a list": ("[]", "it holds no object of records by id"),
    "a record that is no object": ('{"recorded": 3}', "recorded: "),
    "a key twice": ('{"recorded": 1, "recorded": 2}', "recorded"),
    "another id than its key": (json.dumps({"key": record("recorded")}), "key: "),
    "an unknown type": (json.dumps({"recorded": record("recorded", type="x")}), "recorded: type: "),
    "a number as text": (
        json.dumps({"recorded": {**record("recorded"), "order_id": "1"}}),
        "recorded: order_id: ",
    ),
    "an impossible date": (
        json.dumps({"recorded": record("recorded", applied_at="2026-02-30T00:00:00")}),
        "recorded: applied_at: ",
    ),
    "a date that is a number": (
        json.dumps({"recorded": {**record("recorded"), "started_at": 1768327520}}),
        "recorded: started_at: ",
    ),
    "a missing key": (
        json.dumps({"recorded": dict(list(record("recorded").items())[:-1])}),
        "recorded: type: ",
    ),
}


@pytest.mark.parametrize(("text", "named"), BROKEN_STATES.values(), ids=BROKEN_STATES)
def test_a_file_that_cannot_be_read_as_state_is_refused_and_left_alone(
    project: Project, text: str, named: str
) -> None:
    project.script("recorded", body="print('ran')")
    project.state_file.write_text(text)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "ran" not in result.stdout.splitlines()
    assert ".migrations-state.json cannot be read as state: " in result.stderr
    assert named in result.stderr
    assert result.error.count("\n") == 2
    assert project.state_file.read_text() == text


@pytest.mark.parametrize("migration_type", ["data", "schema"])
def test_a_dry_run_shows_what_would_run_and_changes_nothing(
    project: Project, migration_type: str
) -> None:
    project.file("helpers.py", "")
    project.script("second", order_id=20, type=migration_type, body="raise AssertionError")
    project.script("first", order_id=3, type=migration_type, above="import helpers")
    project.script("done", order_id=1, type=migration_type)
    project.write_state(record("done", applied_at=DAY, type=migration_type))
    before = project.tree()

    result = project.run("migrate", f"--{migration_type}", "--dry-run")

    assert result.exit_code == 0
    assert result.stdout == "Would run, in this order (2):\n  3  first\n  20  second\n"
    assert result.stderr == ""
    assert project.tree() == before


def test_a_dry_run_with_nothing_pending_says_so(project: Project) -> None:
    project.script("column", type="schema")

    result = project.run("migrate", "--data", "--dry-run")

    assert (result.exit_code, result.stdout) == (0, "No pending data migrations.\n")
    assert not project.state_file.exists()


def test_a_dry_run_of_one_migration_finds_a_broken_script(project: Project) -> None:
    project.script("broken", above="import no_such_library")
    project.script("fine")
    before = project.tree()

    fine = project.run("migrate", "--data", "fine", "--dry-run")
    broken = project.run("migrate", "--data", "--dry-run")

    assert (fine.exit_code, broken.exit_code) == (0, 1)
    assert "No module named 'no_such_library'" in broken.stderr
    assert project.tree() == before


def test_a_run_with_a_yield_is_a_failure_for_nothing_of_it_ran(project: Project) -> None:
    project.script("walks", body="print('never'); yield")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "Migration walks failed: run() holds a yield" in result.stderr
    assert "TypeError" not in result.stderr
    assert project.state()["walks"]["applied_at"] is None


def test_a_script_of_another_type_than_recorded_is_refused(project: Project) -> None:
    project.script("changed", type="schema")
    project.write_state(record("changed", type="data"))

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "changed is a schema migration, but its record says data" in result.stderr


def test_a_renumbered_script_is_recorded_under_its_new_number(project: Project) -> None:
    project.script("moved", order_id=7)
    project.write_state(record("moved", order_id=5))

    project.run("migrate", "--data")

    assert project.state()["moved"]["order_id"] == 7


def test_the_version_is_that_of_the_last_run(project: Project) -> None:
    project.script("again", body="import os; assert 'READY' in os.environ")

    project.run("migrate", "--data", env={"SERVICE_VERSION": "1.0"})
    failed = project.state()["again"]
    project.run("migrate", "--data", env={"READY": "1"})

    assert failed["version"] == "1.0"
    assert "version" not in project.state()["again"]
