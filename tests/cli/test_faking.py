"""`migrate --fake`, second name `--manual`."""

import pytest
from support.project import Project, record

DAY = "2026-01-13T18:05:20.000000+00:00"
TYPE_UNTOLD = """
    from shared import Base

    Migration = type("Migration", (Base,), {"run": lambda self: 1 / 0})
    """


@pytest.mark.parametrize(("option", "migration_type"), [("--fake", "data"), ("--manual", "schema")])
def test_faking_records_as_applied_without_importing(
    project: Project, option: str, migration_type: str
) -> None:
    project.script("skipped", order_id=7, type=migration_type, above="print('imported')")

    result = project.run("migrate", option, "skipped")

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "Migration skipped applied successfully."
    assert "imported" not in result.stdout
    applied_at = project.state()["skipped"]["applied_at"]
    assert applied_at.endswith("+00:00")
    assert project.state() == {
        "skipped": record("skipped", order_id=7, type=migration_type, applied_at=applied_at)
    }


@pytest.mark.parametrize("started_at", [None, DAY], ids=["failed", "running"])
def test_faking_what_has_a_record_updates_it(project: Project, started_at: str | None) -> None:
    project.script("stuck")
    before = record("stuck", started_at=started_at, owner="me")
    project.write_state(before)

    result = project.run("migrate", "--fake", "stuck", env={"SERVICE_VERSION": "4.2.0"})

    assert result.exit_code == 0
    after = project.state()["stuck"]
    assert after["applied_at"] > DAY
    assert after == {
        **before,
        "started_at": None,
        "applied_at": after["applied_at"],
        "version": "4.2.0",
    }


@pytest.mark.parametrize(
    ("migration_id", "reason"),
    [
        ("unheard_of", "Migration unheard_of not found"),
        ("gone", "Migration gone not found"),
        ("done", "Migration done already applied"),
        ("by_hand", "Migration by_hand already applied"),
    ],
)
def test_what_cannot_be_faked_is_refused(project: Project, migration_id: str, reason: str) -> None:
    project.script("done")
    project.script("by_hand")
    project.write_state(
        record("gone"),
        record("done", started_at=DAY, applied_at=DAY),
        record("by_hand", applied_at=DAY),
    )
    before = project.tree()

    result = project.run("migrate", "--fake", migration_id)

    assert result.exit_code == 1
    assert result.error == f"Error running fake command: {reason}\nAborted.\n"
    assert "applied successfully" not in result.stdout
    assert project.tree() == before


def test_a_missing_folder_is_an_error(project: Project) -> None:
    result = project.run("migrate", "--fake", "some_id")

    assert result.exit_code == 1
    assert result.error.startswith(
        "Error running fake command: Migration folder not found: migrations ("
    )


def test_a_script_is_loaded_if_nothing_else_tells_its_type(project: Project) -> None:
    project.file("shared.py", "from mpt_tool.migration import SchemaBaseMigration as Base")
    project.file("migrations/5_riddle.py", TYPE_UNTOLD)

    result = project.run("migrate", "--fake", "riddle")

    assert result.exit_code == 0
    assert project.state()["riddle"]["type"] == "schema"
