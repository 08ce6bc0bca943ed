"""What is nearly right is understood, or the message says what was probably meant."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.project import Project

import mpt_tool
from mpt_tool.view.topics import topics

PACKAGE = Path(mpt_tool.__file__).parent
WITH_ID = [
    ["migrate", "--data"],
    ["migrate", "--schema"],
    ["migrate", "--fake"],
    ["batch"],
    ["history"],
    ["failures"],
    ["verify"],
]
BASE = "from mpt_tool.migration import DataBaseMigration\n"


def error_of(project: Project, *arguments: str, **env: str) -> str:
    """Return what a command that fails writes to stderr, on one line."""
    result = project.run("--no-color", *arguments, env=env)

    assert result.exit_code in (1, 2)
    return " ".join(result.stderr.replace("│", " ").split())


# --- ids


@pytest.mark.parametrize("given", ["sync_user", "Sync_Users", "syncusers", "20260101000000"])
@pytest.mark.parametrize("command", WITH_ID, ids=" ".join)
def test_an_id_that_is_nearly_one_is_answered_with_that(
    project: Project, command: Sequence[str], given: str
) -> None:
    project.script("sync_users")
    project.script("other")

    message = error_of(project, *command, given)

    assert f"Migration {given} not found. Did you mean sync_users? Aborted." in message


@pytest.mark.parametrize(
    "given",
    [
        *("20260101000000_sync_users.py", "migrations/20260101000000_sync_users.py"),
        *("20260101000000_sync_users", "sync_users.py"),
    ],
)
@pytest.mark.parametrize("command", WITH_ID[::2], ids=" ".join)
def test_the_name_or_the_path_of_a_script_stands_for_its_id(
    project: Project, command: Sequence[str], given: str
) -> None:
    project.script("sync_users")

    written = project.run(*command, given).stderr

    assert "not found" not in written
    assert given not in written


def test_of_an_id_like_no_other_nothing_is_guessed(project: Project) -> None:
    project.script("sync_users")

    message = error_of(project, "history", "prices")

    assert "Did you mean" not in message
    assert message.startswith("More about this: mpt-tool explain not-found Error running history")


def test_a_new_id_that_is_none_is_answered_with_one(project: Project) -> None:
    assert "Did you mean sync_users?" in error_of(project, "migrate", "--new-data", "sync-users")


# --- files


@pytest.mark.parametrize(
    ("name", "proper"),
    [
        ("2026-01-01-sync.py", "20260101000000_sync.py"),
        ("20260101 sync-users.py", "20260101000000_sync_users.py"),
        ("add_users.py", "<digits>_add_users.py"),
    ],
)
def test_a_migration_in_a_file_of_another_name_is_left_alone_and_told(
    project: Project, name: str, proper: str
) -> None:
    project.file(f"migrations/{name}", f"{BASE}class Migration(DataBaseMigration): ...")
    told = f"{name} is left alone: rename it to {proper} if it is a migration"

    assert told in error_of(project, "migrate", "--data")
    assert f"Note: {told}.\n" in project.run("migrate", "--list").stdout
    assert told in project.run("migrate", "--list", "--json").json()["notes"]
    checked = project.run("migrate", "--check")
    assert (checked.exit_code, f"Note: {told}.\n" in checked.stdout) == (0, True)
    status, pending = project.run("status").stdout, project.run("pending").stdout
    assert f"{told}\n" in status
    assert re.search(r"^Next +mpt-tool migrate --check$", status, re.MULTILINE)
    assert f"Note: {told}.\n" in pending
    assert "Next: mpt-tool migrate --check\n" in pending
    for command in ("status", "pending"):
        assert project.run(command, "--json").json()["notes"] == [told]


def test_where_there_is_no_migration_each_command_says_how_to_create_one(project: Project) -> None:
    create = "mpt-tool migrate --new-data NAME"
    searching = [["migrate", "--data"], ["migrate", "--check"], ["pending"], ["verify"]]
    missing = [project.run(*each).stdout for each in searching]
    project.migrations.mkdir()
    showing = [["migrate", "--list"], ["pending"], ["migrate", "--data"]]
    nothing = [project.run(*each).stdout for each in showing]

    assert all(f"Next: {create}\n" in each for each in [*missing, *nothing])
    assert re.search(rf"^Next +{create}$", project.run("status").stdout, re.MULTILINE)


def test_other_files_beside_the_scripts_are_not_spoken_of(project: Project) -> None:
    project.script("first")
    project.file("migrations/__init__.py", "")
    project.file("migrations/helpers.py", "class Migrations: ...")
    project.file("migrations/notes.txt", "class Migration")

    assert "Note" not in project.run("migrate", "--list").stdout


def test_a_short_number_is_one(project: Project) -> None:
    project.script("initial", order_id=1)

    assert project.run("migrate", "--data").exit_code == 0


# --- classes


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "class Migration(DataBaseMigration):\n    def Run(self): pass",
            "Migration has no run(). Did you mean Run?",
        ),
        (
            "class Migration(DataBaseMigration):\n    def upgrade(self): pass",
            "Migration has no run(): define run(self), which is what is run",
        ),
        (
            "class SyncUsers(DataBaseMigration):\n    def run(self): pass",
            "rename SyncUsers to Migration",
        ),
        (
            "from django.db import migrations\nclass Migration(migrations.Migration): ...",
            "it is one of Django's, which are run by Django: is another folder meant?",
        ),
    ],
)
def test_a_class_that_is_nearly_a_migration_is_told_by_a_check_and_by_a_run(
    project: Project, text: str, told: str
) -> None:
    project.file("django/db/__init__.py", "")
    project.file("django/db/migrations.py", "class Migration: ...")
    project.file("migrations/0001_initial.py", BASE + text)

    assert told in project.run("migrate", "--check").stdout
    message = error_of(project, "migrate", "--data")
    assert told in message
    assert "Traceback" not in message


def test_a_base_that_brings_its_own_run_is_believed(project: Project) -> None:
    project.file("shared.py", f"{BASE}class Base(DataBaseMigration):\n    def run(self): pass")
    project.file("migrations/1_first.py", "from shared import Base\nclass Migration(Base): ...")

    assert project.run("migrate", "--check").exit_code == 0
    assert project.run("migrate", "--data").exit_code == 0


# --- commands and options


@pytest.mark.parametrize(
    ("call", "meant"),
    [
        (["list"], "mpt-tool migrate --list"),
        (["--list"], "mpt-tool migrate --list"),
        (["fake"], "mpt-tool migrate --fake MIGRATION_ID"),
        (["unlok"], "'unlock'"),
        (["migrate", "--history"], "mpt-tool history"),
        (["migrate", "--data", "first", "--restart"], "mpt-tool batch MIGRATION_ID --restart"),
        (["migrate", "--type", "data"], "mpt-tool pending --type TYPE"),
        (["batch", "--data"], "mpt-tool migrate --data"),
        (["migrate", "data"], "--data"),
        (["--log-format", "json", "migrate", "--list"], "mpt-tool COMMAND --log-format FORM"),
        (["--json", "status"], "mpt-tool COMMAND --json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_called_elsewhere_is_answered_with_where(
    project: Project, call: list[str], meant: str
) -> None:
    assert f". Did you mean {meant}?" in error_of(project, *call)


def test_of_several_actions_those_that_were_given_are_named(project: Project) -> None:
    message = error_of(project, "migrate", "--data", "--list")

    assert message.endswith("--check, not --data and --list ╰" + "─" * 78 + "╯")


def test_an_id_without_an_action_is_answered_with_what_runs_it(project: Project) -> None:
    assert ". MIGRATION_ID goes with --data or --schema" in error_of(project, "migrate", "first")


# --- settings


@pytest.mark.parametrize("given", ["airtabel", "Airtable"])
def test_a_store_that_is_nearly_one_is_answered_with_that(project: Project, given: str) -> None:
    message = error_of(project, "migrate", "--list", STORAGE_TYPE=given)

    assert f"is '{given}': use one of local, airtable, sql. Did you mean airtable?" in message


def test_a_key_that_is_nearly_one_is_answered_with_that(project: Project) -> None:
    project.file("pyproject.toml", "[tool.mpt-tool]\nstorage_typ = 'local'")

    assert "Did you mean storage-type?" in error_of(project, "migrate", "--list")


# --- where the documentation tells more


def test_each_topic_of_an_error_has_its_section_and_each_section_its_topic() -> None:
    named = {
        topic
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\btopic\b", line)
        for topic in re.findall(r'"([a-z-]+)"', line)
    }
    assert named == topics().keys()


def test_an_error_with_several_causes_leads_to_its_section(project: Project) -> None:
    project.script("first", above="import nothing_like_this")

    result = project.run("migrate", "--data")

    *_, more, error, aborted = result.stderr.splitlines()
    assert more == "More about this: mpt-tool explain cannot-be-loaded"
    assert error.startswith("Error running data command: migrations/20260101000000_first.py cannot")
    assert aborted == "Aborted."


def test_each_topic_is_explained_wherever_one_is_and_whatever_is_wrong(project: Project) -> None:
    project.file("pyproject.toml", "[tool.mpt-tool")

    for topic, text in topics().items():
        result = project.run("explain", topic)
        assert (result.exit_code, result.stdout, result.stderr) == (0, f"{text}\n", "")
        assert "](" not in text
        assert max(map(len, text.splitlines())) < 80

    assert project.run("explain").stdout.count("\n\n\n") == len(topics()) - 1


def test_of_a_topic_that_is_none_those_that_are_like_it_are_told(project: Project) -> None:
    assert "'lock' is no topic. Did you mean locked?" in error_of(project, "explain", "lock")
    assert "'x' is no topic. Use one of nothing-found, " in error_of(project, "explain", "x")


# --- told once


def test_a_failure_is_told_once_beside_its_traceback(project: Project) -> None:
    project.script("broken", body="raise ValueError('out of paper')")

    result = project.run("migrate", "--data")

    assert (result.stdout + result.stderr).count("Migration broken failed: out of paper") == 1
    assert result.stderr.count("ValueError: out of paper") == 1


def test_of_several_targets_each_failure_is_logged_and_the_rest_goes_on(project: Project) -> None:
    project.file(
        "migrations/1_priced.py",
        f"""
{BASE}
class Migration(DataBaseMigration):
    targets = ("one", "two", "three")
    def run(self):
        if self.target != "three":
            raise ValueError(self.target + " is closed")
""",
    )

    logged = project.run("migrate", "--data").stderr

    for target in ("one", "two"):
        line = f"ERROR - Migration priced ({target}) failed: {target} is closed"
        assert logged.count(line) == 1


def test_a_stop_that_was_asked_for_is_listed_as_one(project: Project) -> None:
    project.script("stopped", body="import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    project.script("broken", body="raise ValueError")
    project.run("migrate", "--data", "stopped")
    project.run("migrate", "--data", "broken")

    _, _, stopped, broken, *_ = project.run("migrate", "--list").stdout.splitlines()

    assert "  stopped  " in stopped
    assert "  failed  " in broken
