"""A migration that is made for several targets, by `run` or by its items."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.airtable_server import AirtableServer
from support.process import Process, wait_until
from support.project import HISTORY_FILE, Project, record

PRODUCTS = "MPT_PRODUCTS_IDS"
DAY = "2026-01-13T18:05:20+00:00"
# Notes each run, and fails for the targets that MPT_BAD lists.
SETUP = """\
import os, signal, sys, time
from pathlib import Path

from mpt_tool.migration import {base}


class Migration({base}):
    targets = {targets}

    def run(self):
        with open("ran.txt", "a") as file:
            file.write(f"{{self.target}}\\n")
        if self.target in os.environ.get("MPT_BAD", "").split(","):
            raise ValueError(f"{{self.target}} is bad")
        {body}
"""
ITEMS = """\
import os, signal, time
from pathlib import Path

from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    targets = "MPT_PRODUCTS_IDS"
    on_error = {on_error!r}
    batch_size = 1

    def items(self, cursor):
        yield from range((cursor or 0) + 1, 4)

    def find(self, cursor):
        return cursor

    def process(self, number):
        {body}
        with open("ran.txt", "a") as file:
            file.write(f"{{self.target}}{{number}}\\n")
        return "changed"
"""


def setup(
    project: Project, targets: str = repr(PRODUCTS), body: str = "pass", type: str = "Data"
) -> Path:
    """Write a migration that runs for each target."""
    text = SETUP.format(base=f"{type}BaseMigration", targets=targets, body=body)
    return project.file("migrations/1_setup.py", text)


def items(project: Project, body: str = "pass", on_error: str = "stop") -> Path:
    """Write a batch migration over 1, 2, 3 for each target."""
    return project.file("migrations/1_setup.py", ITEMS.format(body=body, on_error=on_error))


def ran(project: Project) -> list[str]:
    """Return the targets that it ran for, or its items, in that order."""
    notes = project.root / "ran.txt"
    return notes.read_text().split() if notes.exists() else []


def of_products(*products: str, **further: str) -> dict[str, str]:
    return {PRODUCTS: ",".join(products), **further}


def listed(project: Project, env: dict[str, str]) -> dict[str, Any]:
    """Return what `--list` tells of the first migration."""
    result = project.run("migrate", "--list", "--json", env=env)
    assert (result.exit_code, result.stderr) == (0, "")
    first: dict[str, Any] = result.json()["migrations"][0]
    return first


def test_it_runs_once_for_each_target_in_the_order_of_the_list(project: Project) -> None:
    setup(project)

    result = project.run("migrate", "--data", env={PRODUCTS: " B, A,,B "})

    assert result.exit_code == 0
    assert ran(project) == ["B", "A"]


def test_the_targets_may_stand_in_the_class(project: Project) -> None:
    setup(project, targets='("A", "B")', type="Schema")

    assert project.run("migrate", "--schema").exit_code == 0

    assert ran(project) == ["A", "B"]


def test_each_target_has_a_record_in_that_of_the_migration(project: Project) -> None:
    setup(project)

    project.run("migrate", "--data", env=of_products("A", "B"))

    state = project.state()["setup"]
    assert list(state)[:5] == ["migration_id", "order_id", "started_at", "applied_at", "type"]
    assert list(state["targets"]) == ["A", "B"]
    assert all(each["applied_at"] for each in state["targets"].values())
    assert state["started_at"] == state["targets"]["A"]["started_at"]
    assert state["applied_at"] == state["targets"]["B"]["applied_at"]


def test_each_target_has_an_attempt_in_the_history(project: Project) -> None:
    setup(project)

    project.run("migrate", "--data", env=of_products("A", "B", MPT_BAD="A"))

    told = [(each["target"], each["outcome"]) for each in project.attempts()]
    assert told == [("A", "failed"), ("B", "applied")]
    assert "setup (A)" in project.run("history").stdout
    assert "target: B" in project.run("history", "setup").stdout
    document = project.run("history", "--json").json()["attempts"]
    assert [each["target"] for each in document] == ["A", "B"]


def test_a_target_that_fails_does_not_keep_the_others_from_their_turn(project: Project) -> None:
    setup(project)

    result = project.run("migrate", "--data", env=of_products("A", "B", "C", MPT_BAD="A"))

    assert result.exit_code == 1
    assert ran(project) == ["A", "B", "C"]
    assert "Error running data command: Migration setup (A) failed: A is bad\n" in result.stderr


def test_the_next_run_runs_only_for_those_that_failed(project: Project) -> None:
    setup(project)
    project.run("migrate", "--data", env=of_products("A", "B", "C", MPT_BAD="B"))

    result = project.run("migrate", "--data", env=of_products("A", "B", "C"))

    assert result.exit_code == 0
    assert ran(project) == ["A", "B", "C", "B"]


def test_migrations_behind_one_that_failed_for_a_target_are_not_reached(project: Project) -> None:
    setup(project)
    project.script("behind", order_id=2)

    result = project.run("migrate", "--data", env=of_products("A", "B", MPT_BAD="A"))

    assert "Failed: setup\nNot reached: behind\n" in result.stdout


def test_several_that_fail_are_each_told_in_full_once(project: Project) -> None:
    setup(project)

    result = project.run("migrate", "--data", env=of_products("A", "B", "C", MPT_BAD="A,C"))

    assert result.exit_code == 1
    assert result.stderr.count("ValueError: A is bad") == 1
    assert result.stderr.count("ValueError: C is bad") == 1
    last = "Migration setup is not applied for 2 of 3 targets: A, C\nAborted.\n"
    assert result.stderr.endswith(f"Error running data command: {last}")


def test_an_exit_code_that_a_script_asks_for_is_passed_on(project: Project) -> None:
    setup(project, body="sys.exit(7)")

    assert project.run("migrate", "--data", env=of_products("A", "B")).exit_code == 7
    assert ran(project) == ["A", "B"]


def test_one_row_says_for_how_many_targets_it_is_applied(project: Project) -> None:
    setup(project)
    env = of_products("A", "B", "C")
    project.run("migrate", "--data", env=env | {"MPT_BAD": "B"})

    table = project.run("migrate", "--list", env=env).stdout.partition("\n\n")[0].splitlines()
    assert [line.split()[1] for line in table[2:]] == ["setup"]
    assert table[2].endswith("2 of 3 targets")


def test_verbose_has_a_row_for_each_target(project: Project) -> None:
    setup(project)
    env = of_products("A", "B")
    project.run("migrate", "--data", env=env | {"MPT_BAD": "B"})

    shown = project.run("migrate", "--list", "--verbose", env=env).stdout
    _, _, whole, *rows = shown.partition("\n\n")[0].splitlines()

    assert whole.split()[:4] == ["1", "setup", "data", "failed"]
    assert [row.split()[1:5] for row in rows] == [
        ["setup", "(A)", "data", "applied"],
        ["setup", "(B)", "data", "failed"],
    ]


def test_json_has_all_targets(project: Project) -> None:
    setup(project)
    project.run("migrate", "--data", env=of_products("A", "B", MPT_BAD="B"))

    entry = listed(project, of_products("A", "B", "C"))

    told = [(each["migration_id"], each["target"], each["status"]) for each in entry["targets"]]
    assert told == [
        ("setup", "A", "applied"),
        ("setup", "B", "failed"),
        ("setup", "C", "not applied"),
    ]


@pytest.fixture
def grown(project: Project) -> Project:
    """A project with a migration that is applied for A and B, whose variable now has C too.

    An import of the script would end the command.
    """
    path = setup(project)
    project.run("migrate", "--data", env=of_products("A", "B"))
    (project.root / "ran.txt").unlink()
    path.write_text(path.read_text() + "\nif os.environ.get('MPT_IMPORT'): sys.exit(9)\n")
    project.environment = of_products("A", "B", "C", MPT_IMPORT="1")
    return project


def test_a_target_that_is_added_makes_it_pending_without_an_import(grown: Project) -> None:
    entry = listed(grown, {})

    assert (entry["status"], entry["started_at"], entry["applied_at"]) == (
        "not applied",
        None,
        None,
    )
    assert grown.run("pending").exit_code == 3
    assert "2 of 3 targets" in grown.run("pending").stdout


def test_a_target_that_is_added_is_run_alone(grown: Project) -> None:
    result = grown.run("migrate", "--data", env={"MPT_IMPORT": ""})

    assert result.exit_code == 0
    assert ran(grown) == ["C"]
    assert grown.run("pending").exit_code == 0


def test_a_dry_run_says_for_which_target_it_would_run(grown: Project) -> None:
    told = grown.run("migrate", "--data", "--dry-run", env={"MPT_IMPORT": ""}).stdout
    document = grown.run("migrate", "--data", "--dry-run", "--json", env={"MPT_IMPORT": ""}).json()

    assert told.endswith("Would run, in this order (1):\n  1  setup (C)\n")
    assert document["would_run"][0]["targets"] == ["C"]


def test_one_that_waits_sees_a_target_that_is_added(grown: Project) -> None:
    grown.run("migrate", "--data", "--wait", "5", env={"MPT_IMPORT": ""})

    assert ran(grown) == ["C"]


def test_a_target_that_is_added_in_the_env_file_counts(grown: Project) -> None:
    grown.environment = {}
    grown.file(".env", f"{PRODUCTS}=A,B,D\n")

    assert grown.run("pending").exit_code == 3
    grown.run("migrate", "--data")
    assert ran(grown) == ["D"]


def test_a_strict_check_takes_a_target_that_is_added_for_no_mistake(grown: Project) -> None:
    assert grown.run("migrate", "--check", "--strict").exit_code == 0


def test_a_new_target_of_an_older_migration_is_no_script_that_came_late(grown: Project) -> None:
    grown.script("later", order_id=2)
    grown.run("migrate", "--fake", "later")

    assert listed(grown, {})["notes"] == []


def test_a_target_that_is_gone_keeps_its_record_and_does_not_count(project: Project) -> None:
    setup(project)
    project.run("migrate", "--data", env=of_products("A", "B", MPT_BAD="B"))

    entry = listed(project, of_products("A"))

    assert entry["status"] == "applied"
    assert entry["applied_at"] == entry["targets"][0]["applied_at"]
    assert (entry["targets"][1]["target"], entry["targets"][1]["notes"]) == ("B", ["target gone"])
    assert project.run("pending", env=of_products("A")).exit_code == 0


def test_one_that_was_applied_before_it_had_targets_stays_applied(project: Project) -> None:
    setup(project)
    project.write_state(record("setup", order_id=1, started_at=DAY, applied_at=DAY))

    result = project.run("migrate", "--data", env=of_products("A"))

    assert result.exit_code == 0
    assert ran(project) == []
    assert listed(project, of_products("A"))["status"] == "applied"


@pytest.mark.parametrize(
    "env", [{}, {PRODUCTS: ""}, {PRODUCTS: " , "}], ids=["no", "empty", "blank"]
)
def test_a_run_without_the_variable_is_a_setting_that_is_missing(
    project: Project, env: dict[str, str]
) -> None:
    setup(project)
    project.script("first", order_id=0)

    result = project.run("migrate", "--data", env=env)

    assert result.exit_code == 2
    assert f"{PRODUCTS} is not set, or empty: it lists what setup is made for" in result.stderr
    assert not project.state_file.exists()


def test_a_variable_that_is_missing_is_a_note_while_it_matters(project: Project) -> None:
    setup(project)
    pending = listed(project, {})
    project.run("migrate", "--data", env=of_products("A"))

    assert pending["notes"] == [f"{PRODUCTS} lists no target"]
    assert listed(project, {})["notes"] == []
    assert project.run("migrate", "--data").exit_code == 0


@pytest.mark.parametrize(
    "targets", ["tuple('AB')", "SHARED", "1", "('A', 1)", "[each for each in 'AB']"]
)
def test_targets_that_only_a_run_would_tell_are_refused(project: Project, targets: str) -> None:
    path = setup(project, targets=targets)
    path.write_text("SHARED = ('A',)\n" + path.read_text())

    checked = project.run("migrate", "--check")
    result = project.run("migrate", "--data")

    assert (checked.exit_code, result.exit_code) == (1, 1)
    assert "1_setup.py:9: targets cannot be read without running the script" in checked.stdout
    assert "without running the script" in result.stderr
    assert ran(project) == []


def test_targets_of_a_class_elsewhere_are_refused_by_a_run(project: Project) -> None:
    project.file("shared.py", "class OfProducts:\n    targets = ('A',)\n")
    project.file(
        "migrations/1_setup.py",
        """
        from mpt_tool.migration import DataBaseMigration
        from shared import OfProducts

        class Migration(OfProducts, DataBaseMigration):
            def run(self): raise AssertionError
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "write targets in its class Migration" in result.stderr
    assert not project.state_file.exists()


def test_faking_marks_all_targets_there_are(project: Project) -> None:
    setup(project)
    project.run("migrate", "--data", env=of_products("A", "B", MPT_BAD="B"))

    result = project.run("migrate", "--fake", "setup", env=of_products("A", "B", "C"))

    entry = listed(project, of_products("A", "B", "C"))
    assert result.exit_code == 0
    assert [each["status"] for each in entry["targets"]] == ["applied", "faked", "faked"]
    assert [each["target"] for each in project.attempts()] == ["A", "B", "B", "C"]


def test_faking_needs_the_variable(project: Project) -> None:
    setup(project)

    assert project.run("migrate", "--fake", "setup").exit_code == 2


def test_a_run_killed_within_a_target_goes_on_with_that_one(project: Project) -> None:
    setup(project, body="if self.target == 'B': os.kill(os.getpid(), signal.SIGKILL)")
    killed = project.run("migrate", "--data", env=of_products("A", "B", "C"))
    running = listed(project, of_products("A", "B", "C"))
    setup(project)

    result = project.run("migrate", "--data", env=of_products("A", "B", "C"))

    assert killed.exit_code != 0
    assert running["status"] == "running"
    assert "Migration setup (B) began at" in result.stderr
    assert ran(project) == ["A", "B", "B", "C"]


def test_a_batch_stopped_within_a_target_goes_on_there(project: Project) -> None:
    items(project, "while (self.target, number) == ('B', 2) and Path('hold').exists(): pass")
    hold = project.file("hold", "")
    with Process(project, "migrate", "--data", env=of_products("A", "B", "C")) as process:
        wait_until(lambda: ran(project)[-1:] == ["B1"])
        process.send(signal.SIGTERM)
        process.wait_for("Stopping at SIGTERM")
        hold.unlink()
        stopped = process.wait()

    result = project.run("migrate", "--data", env=of_products("A", "B", "C"))

    assert (stopped.exit_code, result.exit_code) == (75, 0)
    assert ran(project) == [f"{target}{number}" for target in "ABC" for number in (1, 2, 3)]


def test_a_batch_has_a_checkpoint_for_each_target(project: Project) -> None:
    items(project, "assert number < 3 or self.target != 'A'")

    project.run("migrate", "--data", env=of_products("A", "B"))

    targets = project.state()["setup"]["targets"]
    assert targets["A"]["checkpoint"]["cursor"] == 2
    assert "checkpoint" not in targets["B"]
    whole = listed(project, of_products("A", "B"))
    (first, second) = whole["targets"]
    assert first["notes"] == ["resumes after 2 (2 changed)"]
    assert second["status"] == "applied"
    of_second = project.attempts()[-1]["outcomes"]["changed"]
    assert whole["outcomes"] == {"changed": 2 + of_second}


def test_the_duration_of_the_whole_is_that_of_its_targets_without_the_time_between(
    project: Project,
) -> None:
    items(project)
    day = "2026-01-{}T10:00:{:02}+00:00"
    targets = {
        target: {"started_at": day.format(13 + n, 0), "applied_at": day.format(13 + n, seconds)}
        for n, (target, seconds) in enumerate({"A": 3, "B": 4}.items())
    }
    began, ended = targets["A"]["started_at"], targets["B"]["applied_at"]
    project.run("migrate", "--data", env=of_products("A", "B"))
    state = project.state()["setup"]
    project.write_state({**state, "started_at": began, "applied_at": ended, "targets": targets})

    whole = listed(project, of_products("A", "B"))

    assert (whole["started_at"], whole["applied_at"], whole["seconds"]) == (began, ended, 7.0)
    assert [each["seconds"] for each in whole["targets"]] == [3.0, 4.0]
    table = project.run("migrate", "--list", env=of_products("A", "B")).stdout
    assert "  7.0 s" in table


def test_the_failed_items_name_their_target(project: Project) -> None:
    items(project, "assert number != 2 or self.target == 'B', 'odd'", on_error="collect")
    result = project.run("migrate", "--data", env=of_products("A", "B", "C"))

    failures = project.run("failures", "setup", "--json").json()["failures"]

    assert result.exit_code == 1
    assert [(each["target"], each["cursor"]) for each in failures] == [("A", 2), ("C", 2)]
    assert project.run("failures", "setup", "--csv").stdout.splitlines()[1] == "A,2,odd"


def test_the_failed_items_of_all_targets_are_retried(project: Project) -> None:
    items(project, "assert number != 2, 'odd'", on_error="collect")
    project.run("migrate", "--data", env=of_products("A", "B"))
    items(project, on_error="collect")

    result = project.run("batch", "setup", "--retry-failed", env=of_products("A", "B"))

    assert result.exit_code == 0
    assert ran(project)[-2:] == ["A2", "B2"]


def test_a_batch_may_run_for_one_target_alone(project: Project) -> None:
    items(project)

    result = project.run("batch", "setup", "--target", "B", env=of_products("A", "B"))

    assert result.stdout.endswith("Migration setup (B) applied successfully.\n")
    assert ran(project) == ["B1", "B2", "B3"]
    assert project.run("pending", env=of_products("A", "B")).exit_code == 3


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("X", "X is no target of setup: use one of A, B"),
        ("A", "Migration setup already applied for A"),
    ],
)
def test_a_target_that_cannot_run_is_refused(project: Project, target: str, said: str) -> None:
    items(project)
    project.run("batch", "setup", "--target", "A", env=of_products("A", "B"))

    result = project.run("batch", "setup", "--target", target, env=of_products("A", "B"))

    assert result.exit_code == 1
    assert said in result.stderr


def test_a_restart_leaves_targets_alone_that_are_applied(project: Project) -> None:
    items(project, "assert number < 3 or self.target != 'B'")
    project.run("migrate", "--data", env=of_products("A", "B"))
    items(project)

    project.run("batch", "setup", "--restart", env=of_products("A", "B"))

    assert ran(project) == ["A1", "A2", "A3", "B1", "B2", "B1", "B2", "B3"]


def test_a_retry_does_not_go_on_unasked_with_another_script(project: Project) -> None:
    items(project, "assert (self.target, number) != ('A', 3)", on_error="collect")
    project.run("batch", "setup", "--limit", "4", env=of_products("A", "B"))
    items(project, on_error="collect")

    result = project.run("batch", "setup", "--retry-failed", env=of_products("A", "B"))

    assert result.exit_code == 1
    assert "1_setup.py was changed since it came to 1 item" in result.stderr
    assert ran(project) == ["A1", "A2", "B1"]


def test_the_limit_of_items_is_one_for_all_targets(project: Project) -> None:
    items(project)

    result = project.run("batch", "setup", "--limit", "4", env=of_products("A", "B", "C"))

    assert result.exit_code == 75
    assert ran(project) == ["A1", "A2", "A3", "B1"]


def test_the_time_limit_is_that_of_each_target(project: Project) -> None:
    setup(project, body="time.sleep(60 if self.target == 'A' else 0)")

    result = project.run("migrate", "--data", env=of_products("A", "B", DATA_TIME_LIMIT="1"))

    assert result.exit_code == 1
    assert ran(project) == ["A", "B"]
    assert "Migration setup (A) failed: it took longer than the 1 seconds" in result.stderr


def test_a_store_without_a_place_for_them_says_so_once_and_works_on(
    project: Project, server: AirtableServer
) -> None:
    setup(project)
    project.environment = server.settings

    result = project.run("migrate", "--data", env=of_products("A", "B", "C"))

    assert result.exit_code == 0
    assert result.stderr.count("The store has no column targets") == 1
    assert ran(project) == ["A", "B", "C"]
    assert listed(project, of_products("A", "B", "C", "D"))["status"] == "applied"


def test_airtable_keeps_them_in_a_column_of_their_name(
    project: Project, server: AirtableServer
) -> None:
    setup(project)
    project.environment = server.settings
    project.run("migrate", "--init")
    project.run("migrate", "--data", env=of_products("A", "B", MPT_BAD="B"))

    project.run("migrate", "--data", "--wait", "5", env=of_products("A", "B", "C"))

    assert ran(project) == ["A", "B", "B", "C"]


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "not told"])
def test_what_the_history_tells_of_a_target_is_not_run_again(
    project: Project, is_told: bool
) -> None:
    setup(project)
    project.run("migrate", "--data", env=of_products("A", "B"))
    kept = project.state()["setup"]
    kept["targets"]["B"]["applied_at"] = kept["applied_at"] = None
    project.write_state(kept)
    if not is_told:
        history = project.root / HISTORY_FILE
        first, _ = history.read_text().splitlines()
        history.write_text(first + "\n")

    result = project.run("migrate", "--data", env=of_products("A", "B"))

    assert result.exit_code == 0
    assert ran(project) == (["A", "B"] if is_told else ["A", "B", "B"])


def test_a_signal_within_a_target_keeps_the_others_for_the_next_run(project: Project) -> None:
    setup(project, body="os.kill(os.getpid(), signal.SIGTERM)")

    result = project.run("migrate", "--data", env=of_products("A", "B"))

    assert result.exit_code == 143
    assert ran(project) == ["A"]


def test_single_items_need_to_know_for_which_target(project: Project) -> None:
    items(project)
    env = of_products("A", "B")

    refused = project.run("batch", "setup", "--only", "2", env=env)
    done = project.run("batch", "setup", "--only", "2", "--target", "B", env=env)

    assert (refused.exit_code, done.exit_code) == (1, 0)
    assert "--only is for one of A, B: say which by --target" in refused.stderr
    assert ran(project) == ["B2"]


def test_a_run_of_the_other_type_does_not_need_the_variable(project: Project) -> None:
    project.file("shared.py", "from mpt_tool.migration import DataBaseMigration as Base\n")
    project.file(
        "migrations/1_setup.py",
        f"""
        from shared import Base

        class Migration(Base):
            targets = "{PRODUCTS}"
            def run(self): raise AssertionError
        """,
    )

    assert project.run("migrate", "--schema").exit_code == 0
    assert project.run("migrate", "--data").exit_code == 2


def test_a_run_may_be_for_one_target_alone(project: Project) -> None:
    setup(project)

    result = project.run("migrate", "--data", "setup", "--target", "B", env=of_products("A", "B"))

    assert result.exit_code == 0
    assert ran(project) == ["B"]


def test_one_target_alone_may_be_faked(project: Project) -> None:
    setup(project)
    env = of_products("A", "B")

    result = project.run("migrate", "--fake", "setup", "--target", "B", env=env)

    assert result.stdout.endswith("Migration setup (B) applied successfully.\n")
    statuses = [each["status"] for each in listed(project, env)["targets"]]
    assert statuses == ["not applied", "faked"]


def test_what_could_not_be_recorded_is_advised_to_be_faked_for_its_target_alone(
    project: Project,
) -> None:
    setup(project, body="Path('.migrations-state.json').write_text('{}')")

    result = project.run("migrate", "--data", env=of_products("A$B", "C"))

    assert result.exit_code == 1
    assert ran(project) == ["A$B"]
    assert "mpt-tool migrate --fake setup --target 'A$B'\n" in result.stderr


def test_a_failure_before_a_stop_is_told_in_full_too(project: Project) -> None:
    setup(project, body="os.kill(os.getpid(), signal.SIGTERM)")

    result = project.run("migrate", "--data", env=of_products("A", "B", "C", MPT_BAD="A"))

    assert result.exit_code == 143
    assert result.stderr.count("ValueError: A is bad") == 1
    assert "Migration setup is not applied for 3 of 3 targets: A, B, C\n" in result.stderr


def test_progress_from_before_it_had_targets_is_not_theirs(project: Project) -> None:
    items(project)
    checkpoint = {"cursor": 2, "processed": 2, "since": DAY}
    project.write_state(record("setup", order_id=1, checkpoint=checkpoint))

    assert project.run("migrate", "--data", env=of_products("A")).exit_code == 0

    assert ran(project) == ["A1", "A2", "A3"]
    assert "checkpoint" not in project.state()["setup"]
