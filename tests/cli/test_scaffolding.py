"""`migrate --new-data` and `migrate --new-schema`."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from support.project import Project


@pytest.mark.parametrize(
    ("option", "base"),
    [("--new-data", "DataBaseMigration"), ("--new-schema", "SchemaBaseMigration")],
)
def test_a_new_script_has_the_documented_form(project: Project, option: str, base: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    result = project.run("migrate", option, "sync_users")

    assert result.exit_code == 0
    [path] = project.migrations.iterdir()
    assert result.stdout == (
        f"Scaffolding migration: sync_users.\nMigration file: {path.name} has been created.\n"
    )
    assert result.stderr == ""
    timestamp = path.name.removesuffix("_sync_users.py")
    made = datetime.strptime(timestamp, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    assert before <= made <= datetime.now(UTC)
    assert path.read_text() == (
        f"from mpt_tool.migration import {base}\n"
        "\n"
        "\n"
        f"class Migration({base}):\n"
        "    def run(self):\n"
        "        # implement your logic here\n"
        "        pass\n"
    )


def test_new_scripts_pass_the_check_and_run_in_the_order_of_their_creation(
    project: Project,
) -> None:
    for migration_id in ("zebra", "ant", "Bee"):
        project.run("migrate", "--new-data", migration_id)

    checked, ran = project.run("migrate", "--check"), project.run("migrate", "--data")

    assert (checked.exit_code, ran.exit_code) == (0, 0)
    assert list(project.state()) == ["zebra", "ant", "Bee"]


@pytest.mark.parametrize("migration_id", ["", "sync-users", "1st", "../up", "a\nb", "x" * 125])
def test_a_malformed_id_is_refused(project: Project, migration_id: str) -> None:
    result = project.run("migrate", "--new-data", migration_id)

    assert result.exit_code == 1
    shown = migration_id.replace("\n", "\\n")
    assert result.stdout == f"Scaffolding migration: {shown}.\n"
    assert result.error.startswith(
        f"Error running newdata command: Invalid migration id {migration_id!r}: the id "
    )
    assert result.stderr.endswith("\nAborted.\n")
    assert project.tree() == {}


@pytest.mark.parametrize("migration_id", ["x" * 124, "größe", "_", "class"])
def test_any_identifier_shorter_than_125_characters_is_an_id(
    project: Project, migration_id: str
) -> None:
    result = project.run("migrate", "--new-schema", migration_id)

    assert result.exit_code == 0
    [path] = project.migrations.iterdir()
    assert path.name.endswith(f"_{migration_id}.py")


def test_an_id_that_exists_is_refused_whatever_its_type(project: Project) -> None:
    path = project.script("sync_users", order_id=7, type="data")
    before = project.tree()

    result = project.run("migrate", "--new-schema", "sync_users")

    assert result.exit_code == 1
    assert result.error == (
        "Error running newschema command: Migration sync_users already exists:"
        f" {path.relative_to(project.root)}\nAborted.\n"
    )
    assert project.tree() == before


def test_scripts_created_at_once_get_timestamps_of_their_own(project: Project) -> None:
    ids = [f"number_{number}" for number in range(4)]

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda each: project.run("migrate", "--new-data", each), ids))

    assert [result.exit_code for result in results] == [0] * len(ids)
    names = [path.name for path in project.migrations.iterdir()]
    assert len(names) == len({name.split("_")[0] for name in names}) == len(ids)


def test_an_id_created_twice_at_once_is_there_once(project: Project) -> None:
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda _: project.run("migrate", "--new-data", "same"), range(3)))

    assert sorted(result.exit_code for result in results) == [0, 1, 1]
    assert len(list(project.migrations.iterdir())) == 1


def test_creating_needs_no_store(project: Project) -> None:
    result = project.run("migrate", "--new-data", "first", env={"STORAGE_TYPE": "airtable"})

    assert result.exit_code == 0
    assert not project.state_file.exists()


def test_a_folder_that_cannot_be_made_is_told(project: Project) -> None:
    project.file("migrations", "a file")

    result = project.run("migrate", "--new-data", "first")

    assert result.exit_code == 1
    assert result.error.startswith("Error running newdata command: Migration first cannot be")
    assert result.stderr.count("\n") == 2


def test_an_id_that_python_takes_for_an_existing_one_is_refused(project: Project) -> None:
    project.script("caf\u00e9")

    result = project.run("migrate", "--new-data", "cafe\u0301")

    assert result.exit_code == 1
    assert " already exists: migrations/" in result.stderr
