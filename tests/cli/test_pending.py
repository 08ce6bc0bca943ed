"""The gate of a deployment: `mpt-tool pending`, and `mpt_tool.pending()`."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.project import Project, record

import mpt_tool
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import MptToolError

DAY = "2026-01-13T18:05:20+00:00"


@pytest.fixture
def statuses(project: Project) -> Project:
    """A project with a data migration in each status, and a schema migration that is pending."""
    for migration_id in ("applied", "faked", "failed", "running", "not_applied"):
        project.script(migration_id, above="raise AssertionError('imported')")
    project.script("column", type="schema")
    project.write_state(
        record("applied", started_at=DAY, applied_at=DAY),
        record("faked", applied_at=DAY),
        record("failed"),
        record("running", started_at=DAY),
        record("gone"),
    )
    return project


@pytest.mark.parametrize(
    ("options", "pending"),
    [
        ([], ["failed", "running", "not_applied", "column"]),
        (["--type", "data"], ["failed", "running", "not_applied"]),
        (["--type", "schema"], ["column"]),
    ],
    ids=["both", "data", "schema"],
)
def test_what_is_pending_is_listed_in_order_and_tells_by_the_exit_code(
    statuses: Project, options: list[str], pending: list[str]
) -> None:
    before = statuses.tree()

    table = statuses.run("pending", *options)
    document = statuses.run("pending", *options, "--json")

    assert (table.exit_code, table.stderr) == (3, "")
    heading, *lines = table.stdout.partition("\n\n")[0].splitlines()
    assert [line.split()[1] for line in lines] == pending
    assert not {"applied", "duration"} & set(heading.split())
    why = "1 is pending; failed failed: mpt-tool history failed says why"
    assert f"\nNext: mpt-tool migrate --schema\n      {why}\n" in table.stdout
    assert (document.exit_code, document.stderr) == (3, "")
    listed = document.json()
    assert (listed["version"], listed["command"]) == (1, "pending")
    assert [each["migration_id"] for each in listed["pending"]] == pending
    assert statuses.tree() == before


def test_nothing_pending_is_success(project: Project) -> None:
    project.script("done")
    project.script("column", type="schema")
    project.write_state(record("done", started_at=DAY, applied_at=DAY))

    data = project.run("pending", "--type", "data")
    quiet = project.run("pending", "--type", "data", "--quiet")
    document = project.run("pending", "--type", "data", "--json")

    assert (data.exit_code, data.stdout) == (0, "Nothing is pending.\n")
    assert (quiet.exit_code, quiet.stdout) == (0, "")
    assert (document.exit_code, document.json()["pending"]) == (0, [])


def test_a_migration_of_a_type_that_cannot_be_told_is_pending_in_either(project: Project) -> None:
    project.file("migrations/5_riddle.py", "from shared import Migration")

    for migration_type in ("data", "schema"):
        assert project.run("pending", "--type", migration_type).exit_code == 3


def break_state(project: Project) -> None:
    project.state_file.write_text("no state")


def misname_script(project: Project) -> None:
    project.file("migrations/7_bad-name.py", "")


def remove_folder(project: Project) -> None:
    (project.migrations / "20260101000000_first.py").unlink()
    project.migrations.rmdir()


@pytest.mark.parametrize("spoil", [break_state, misname_script, remove_folder])
def test_an_error_is_neither_pending_nor_done(
    project: Project, spoil: Callable[[Project], None]
) -> None:
    project.script("first")
    spoil(project)

    result = project.run("pending")

    assert result.exit_code == 1
    assert result.error.startswith("Error running pending command: ")
    with pytest.raises(MptToolError):
        mpt_tool.pending(root=project.root)


def test_a_working_folder_that_is_gone_is_an_error_of_ours(project: Project) -> None:
    program = """
import os, mpt_tool
from mpt_tool.errors import MptToolError

os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
try:
    mpt_tool.pending()
except MptToolError as error:
    print(error)
print(mpt_tool.pending(root=os.environ["ROOT"]))
"""
    project.script("first")
    project.environment = {"ROOT": str(project.root)}

    # Python 3.13.0 itself fails to import where the folder is gone, if it looks for modules there.
    result = project.execute([sys.executable, "-P", "-c", program])

    said, found = result.stdout.splitlines()
    assert said == "The working folder is gone: change to the project's root"
    assert "first" in found


def test_python_gets_the_same(statuses: Project) -> None:
    document = statuses.run("pending", "--json").json()["pending"]
    before = statuses.tree()

    both = mpt_tool.pending(root=statuses.root)

    assert [entry.migration_id for entry in both] == [each["migration_id"] for each in document]
    assert [entry.status for entry in both] == [each["status"] for each in document]
    (column,) = mpt_tool.pending(MigrationTypeEnum.SCHEMA, statuses.root)
    assert column.migration_id == "column"
    assert column.script
    assert column.script.path.parent == statuses.migrations
    assert statuses.tree() == before


def test_a_type_that_does_not_exist_is_an_error_and_not_nothing_pending(project: Project) -> None:
    project.script("first")

    with pytest.raises(ValueError, match="typo"):
        mpt_tool.pending("typo", project.root)

    (entry,) = mpt_tool.pending("data", str(project.root))
    assert entry.migration_id == "first"


def test_a_service_asks_in_its_working_folder_and_its_store(
    project: Project, server: AirtableServer
) -> None:
    project.environment = server.settings
    project.script("first")
    project.script("second")
    server.add_row(BASE, TABLE, record("first", applied_at=DAY))
    program = "import mpt_tool; print(*(entry.migration_id for entry in mpt_tool.pending()))"

    result = project.execute([sys.executable, "-c", program])

    assert (result.exit_code, result.stdout, result.stderr) == (0, "second\n", "")
    assert {request.method for request in server.requests()} == {"GET"}
    assert not Path(project.root / "migrations/__pycache__").exists()
