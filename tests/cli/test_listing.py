"""`migrate --list` on the local store, away from a terminal."""

import os
import re

import pytest
from support.project import HISTORY_FILE, STATE_FILE, Project, record

STARTED = "2026-01-13T18:05:20.000000"
APPLIED = "2026-01-13T20:06:21.123456+01:00"


def rows(stdout: str) -> list[list[str]]:
    """Return the cells of the table below its heading."""
    first_line, *lines = stdout.splitlines()
    assert first_line == "Listing migrations..."
    return [re.split(r"  +", line) for line in lines[: lines.index("")]]


def test_the_list_shows_every_status_with_its_times(project: Project) -> None:
    for order_id, migration_id in [(50, "no_record"), (10, "whole"), (20, "by_hand")]:
        project.script(migration_id, order_id=order_id)
    project.script("broken", order_id=3, type="schema")
    project.script("hanging", order_id=40)
    project.write_state(
        record("whole", order_id=10, started_at=STARTED, applied_at=APPLIED),
        record("by_hand", order_id=20, applied_at=APPLIED),
        record("broken", order_id=3, type="schema"),
        record("hanging", order_id=40, started_at=STARTED),
    )

    result = project.run("migrate", "--list")

    assert (result.exit_code, result.stderr) == (0, "")
    started, applied = "2026-01-13 18:05:20Z", "2026-01-13 19:06:21Z"
    assert rows(result.stdout) == [
        ["order id", "id", "type", "status", "started", "applied", "duration", "note"],
        ["3", "broken", "schema", "failed", "-", "-", "-", "-"],
        ["10", "whole", "data", "applied", started, applied, "1 h 1 min", "-"],
        ["20", "by_hand", "data", "faked", "-", applied, "-", "-"],
        ["40", "hanging", "data", "running", started, "-", "-", "left running by a dead run"],
        ["50", "no_record", "data", "not applied", "-", "-", "-", "-"],
    ]
    assert result.stdout.endswith(
        "\n\n5 migrations: 1 applied, 1 faked, 1 running, 1 failed, 1 not applied.\n"
        "Next: mpt-tool migrate --schema\n"
        "      broken failed: mpt-tool history broken says why\n"
    )


def test_the_list_imports_no_script_and_writes_nothing(project: Project) -> None:
    project.script("pending", above="raise AssertionError('imported')")
    project.file("migrations/3_broken.py", "this is no Python")
    project.file("migrations/4_untold.py", "from shared import Migration")
    project.file(
        "migrations/5_aliased.py",
        """
        import mpt_tool.migration as tool

        class Base(tool.SchemaBaseMigration): ...
        class Mixin: ...
        class Migration(Mixin, Base): ...
        """,
    )
    before = project.tree()

    result = project.run("migrate", "--list")

    assert result.exit_code == 0
    types = {row[1]: row[2] for row in rows(result.stdout)[1:]}
    assert types == {"broken": "-", "untold": "-", "aliased": "schema", "pending": "data"}
    assert project.tree() == before


def test_the_list_notes_what_is_odd(project: Project) -> None:
    project.script("twin", order_id=1)
    project.script("twin", order_id=2)
    project.script("bad-name", order_id=3)
    project.script("fine", order_id=4)
    project.write_state(record("gone", order_id=0, applied_at=APPLIED))

    result = project.run("migrate", "--list")

    assert result.exit_code == 0
    heading, *lines = rows(result.stdout)
    assert heading[-1] == "note"
    assert [(line[1], line[-1]) for line in lines] == [
        ("gone", "file gone"),
        ("twin", "duplicate id"),
        ("twin", "duplicate id"),
        ("bad-name", "malformed name"),
        ("fine", "-"),
    ]


def test_a_version_is_shown_once_a_record_has_one(project: Project) -> None:
    project.script("with_version", order_id=1)
    project.script("without", order_id=2)
    project.write_state(
        record("with_version", order_id=1, applied_at=APPLIED, version="4.2.0"),
        record("without", order_id=2),
    )

    heading, *lines = rows(project.run("migrate", "--list").stdout)

    assert heading[-1] == "version"
    assert [line[-1] for line in lines] == ["4.2.0", "-"]


def test_no_cell_is_cut(project: Project) -> None:
    long_id = "x" * 124
    project.script(long_id)
    project.write_state(record(long_id, started_at=STARTED, version="v" * 300))

    result = project.run("migrate", "--list", env={"COLUMNS": "40"})

    assert len(rows(result.stdout)) == 2
    assert f"  {long_id}  " in result.stdout
    assert "v" * 300 in result.stdout


def test_a_project_without_migrations_has_an_empty_list(project: Project) -> None:
    result = project.run("migrate", "--list")

    assert result.exit_code == 0
    next_ = "Next: mpt-tool migrate --new-data NAME\n      there is no migration yet"
    assert result.stdout == f"Listing migrations...\nNo migrations found.\n\n{next_}\n"


def test_the_list_has_a_json_form(project: Project) -> None:
    project.script("whole", order_id=1)
    project.script("pending", order_id=2, type="schema")
    project.write_state(
        record("whole", order_id=1, started_at=STARTED, applied_at=APPLIED, version="4.2.0"),
        record("gone", order_id=3),
    )

    result = project.run("migrate", "--list", "--json")

    assert (result.exit_code, result.stderr) == (0, "")
    whole = {
        "order_id": 1,
        "migration_id": "whole",
        "type": "data",
        "status": "applied",
        "started_at": "2026-01-13T18:05:20+00:00",
        "applied_at": "2026-01-13T19:06:21.123456+00:00",
        "seconds": 3661.123456,
        "version": "4.2.0",
        "file": "migrations/1_whole.py",
        "notes": [],
    }
    unset = dict.fromkeys(("started_at", "applied_at", "seconds", "version"))
    assert result.json() == {
        "version": 1,
        "command": "list",
        "migrations": [
            whole,
            {
                **whole,
                **unset,
                "order_id": 2,
                "migration_id": "pending",
                "type": "schema",
                "status": "not applied",
                "file": "migrations/2_pending.py",
            },
            {
                **whole,
                **unset,
                "order_id": 3,
                "migration_id": "gone",
                "status": "failed",
                "file": None,
                "notes": ["file gone"],
            },
        ],
        "notes": [],
    }


@pytest.mark.parametrize(
    ("name", "action", "exit_code"),
    [
        (STATE_FILE, "--list", 1),
        (STATE_FILE, "--data", 1),
        (HISTORY_FILE, "history", 1),
        (HISTORY_FILE, "--list", 0),
        (HISTORY_FILE, "--data", 0),
    ],
)
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(
    project: Project, name: str, action: str, exit_code: int
) -> None:
    project.script("first")
    os.mkfifo(project.root / name)

    result = project.run(*(["migrate", action] if action.startswith("-") else [action]))

    assert result.exit_code == exit_code
    assert f"{name} is no regular file" in result.stderr


def test_a_broken_state_file_is_told_with_its_reason(project: Project) -> None:
    project.script("pending")
    project.state_file.write_bytes(b'{"a": "\xff"}')

    result = project.run("migrate", "--list")

    assert result.exit_code == 1
    assert result.stdout == "Listing migrations...\n"
    assert "position 7" in result.stderr
    assert result.stderr.endswith("\nAborted.\n")
