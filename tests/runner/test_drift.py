"""What no longer fits together: notes of `--list`, and findings of `--check --strict`."""

from collections.abc import Callable

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.project import HISTORY_FILE, Project, record

pytestmark = pytest.mark.slow

DAY = "2026-01-13T18:05:20+00:00"
CHANGED = "changed since it was applied"

type Edit = Callable[[str], str]


def notes(project: Project) -> dict[str, list[str]]:
    """Return the notes of each migration that is listed, without those that have none."""
    listed = project.run("migrate", "--list", "--json").json()["migrations"]
    return {each["migration_id"]: each["notes"] for each in listed if each["notes"]}


def strict_findings(project: Project) -> list[tuple[str, str]]:
    """Return file and message of what a strict check finds, once its exit code says the same."""
    result = project.run("migrate", "--check", "--strict", "--json")
    found = [(finding["file"], finding["message"]) for finding in result.json()["findings"]]
    assert result.exit_code == (1 if found else 0)
    return found


@pytest.fixture
def applied(project: Project) -> Project:
    """A project with a script that was run and one that was faked."""
    project.script("run", order_id=1, body="number = 1  # of something")
    project.script("faked", order_id=2)
    assert project.run("migrate", "--data", "run").exit_code == 0
    assert project.run("migrate", "--fake", "faked").exit_code == 0
    return project


@pytest.mark.parametrize("migration_id", ["run", "faked"])
def test_a_script_that_was_changed_since_it_was_applied_is_noted(
    applied: Project, migration_id: str
) -> None:
    (path,) = applied.migrations.glob(f"*_{migration_id}.py")
    path.write_text(path.read_text() + "import os\n")

    assert notes(applied) == {migration_id: [CHANGED]}
    assert strict_findings(applied) == [(path.name, CHANGED)]


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda text: f"# A comment.\n\n{text}\n# The end.\n", id="comments"),
        pytest.param(lambda text: text.replace("number = 1", "number=(1)"), id="spaces"),
        pytest.param(lambda text: text.replace("    ", "\t"), id="tabs"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="line ends"),
        pytest.param(lambda text: "\ufeff" + text, id="byte order mark"),
    ],
)
def test_comments_and_formatting_are_no_change(applied: Project, edit: Edit) -> None:
    path = applied.migrations / "1_run.py"
    text = edit(path.read_text())
    path.write_bytes(text.encode())

    assert notes(applied) == {}
    assert strict_findings(applied) == []


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda text: text.replace("number = 1", "number = 2"), id="a number"),
        pytest.param(lambda text: text.replace("number = 1", "number = 1.0"), id="its type"),
        pytest.param(lambda text: text.replace("number = 1", "number = '1'"), id="its quotes"),
        pytest.param(lambda text: text.replace("number", "amount"), id="a name"),
        pytest.param(lambda text: text.replace("def run", "async def run"), id="async"),
        pytest.param(lambda text: f"'''A docstring.'''\n{text}", id="a docstring"),
        pytest.param(lambda text: "this is no Python", id="all of it"),
    ],
)
def test_anything_else_is_one(applied: Project, edit: Edit) -> None:
    path = applied.migrations / "1_run.py"
    path.write_text(edit(path.read_text()))

    assert notes(applied) == {"run": [CHANGED]}


def test_a_script_that_is_changed_before_it_runs_again_is_no_drift(project: Project) -> None:
    project.script("first", order_id=1, body="1 / 0")
    project.run("migrate", "--data")
    project.script("first", order_id=1)

    assert notes(project) == {}
    project.run("migrate", "--data")
    assert notes(project) == {}


def test_what_has_no_history_is_not_taken_for_changed(applied: Project) -> None:
    (applied.root / HISTORY_FILE).unlink()
    applied.file("migrations/1_run.py", "import os")

    assert notes(applied) == {}


def test_a_record_whose_file_is_gone_is_noted(applied: Project) -> None:
    (applied.migrations / "1_run.py").unlink()

    assert notes(applied) == {"run": ["file gone"]}
    assert strict_findings(applied) == [("run", "file gone")]


def test_a_pending_script_older_than_the_newest_applied_one_of_its_type_is_noted(
    project: Project,
) -> None:
    for order_id, migration_id in [(10, "late"), (20, "failed"), (30, "done"), (40, "next")]:
        project.script(migration_id, order_id=order_id)
    project.script("column", order_id=15, type="schema")
    project.write_state(
        record("failed", order_id=20), record("done", order_id=30, started_at=DAY, applied_at=DAY)
    )

    older = "older than done, which is applied"
    assert notes(project) == {"late": [older], "failed": [older]}
    assert strict_findings(project) == [("10_late.py", older), ("20_failed.py", older)]


def test_a_strict_check_finds_what_a_plain_one_does_and_says_it_for_people(
    project: Project,
) -> None:
    project.script("run", order_id=1)
    project.file("migrations/2_broken.py", "class Migration(:")
    project.write_state(record("gone", order_id=3, applied_at=DAY))

    result = project.run("migrate", "--check", "--strict")

    assert result.exit_code == 1
    found = [line.split(": ")[0] for line in result.stdout.splitlines()[1:]]
    assert sorted(found) == ["1_run.py", "2_broken.py:1", "gone"]
    assert "Error running check command: 3 problem(s) found in migrations\n" in result.stderr


@pytest.mark.parametrize("spoil", ["broken state", "no server"])
def test_a_plain_check_never_touches_the_store(project: Project, spoil: str) -> None:
    project.script("first")
    if spoil == "broken state":
        project.state_file.write_text("no state")
    else:
        project.environment = {"STORAGE_TYPE": "airtable"}

    plain = project.run("migrate", "--check")
    strict = project.run("migrate", "--check", "--strict")

    assert plain.exit_code == 0
    assert strict.exit_code != 0
    assert "Error running check command: " in strict.stderr


BATCH = """
    from mpt_tool.migration import BatchDataMigration

    class Migration(BatchDataMigration): ...
    """


def test_a_table_without_a_column_that_would_be_used_is_noted(
    project: Project, server: AirtableServer
) -> None:
    project.environment = server.settings
    project.script("first")
    lacks = "the store has no column {}, so that is not recorded; --init adds it"

    assert strict_findings(project) == []

    project.environment["SERVICE_VERSION"] = "4.2.0"
    project.file("migrations/2_batch.py", BATCH)
    missing = [lacks.format("checkpoint"), lacks.format("version")]
    notes = f"\nNote: {missing[0]}.\nNote: {missing[1]}.\n\n"
    assert notes in project.run("migrate", "--list").stdout
    assert strict_findings(project) == [("store", missing[0]), ("store", missing[1])]
    assert {request.method for request in server.requests()} == {"GET"}

    for name in ("version", "checkpoint"):
        server.add_column(BASE, TABLE, {"name": name, "type": "multilineText"})
    assert strict_findings(project) == []
