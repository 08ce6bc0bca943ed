"""What a migration requires: applied before it, or nothing begins."""

import pytest
from support.project import Project, record

DAY = "2026-01-13T18:05:20+00:00"
SCRIPT = """\
from mpt_tool.migration import {base}


class Migration({base}):
    requires = {requires}

    def run(self):
        with open("ran.txt", "a") as file:
            file.write("{name}\\n")
"""


def requiring(project: Project, name: str, requires: str, *, type: str = "Data") -> None:
    """Write a migration with the first free number; `requires` is the source of the value."""
    number = len(list(project.migrations.glob("*.py"))) + 1
    text = SCRIPT.format(base=f"{type}BaseMigration", requires=requires, name=name)
    project.file(f"migrations/{number}_{name}.py", text)


def ran(project: Project) -> list[str]:
    notes = project.root / "ran.txt"
    return notes.read_text().split() if notes.exists() else []


def test_what_runs_before_it_in_the_same_run_serves(project: Project) -> None:
    requiring(project, "first", "()")
    requiring(project, "second", "('first',)")

    assert project.run("migrate", "--data").exit_code == 0

    assert ran(project) == ["first", "second"]


@pytest.mark.parametrize("started_at", [DAY, None], ids=["applied", "faked"])
def test_what_is_applied_serves_though_its_script_is_gone(
    project: Project, started_at: str | None
) -> None:
    project.write_state(record("gone", started_at=started_at, applied_at=DAY))
    requiring(project, "second", "('gone',)")

    assert project.run("migrate", "--data").exit_code == 0


def test_nothing_begins_where_anything_required_is_not_applied(project: Project) -> None:
    requiring(project, "sound", "()")
    requiring(project, "column", "()", type="Schema")
    requiring(project, "second", "('column', 'typo')")
    requiring(project, "third", "('sound', 'failed')")
    project.write_state(record("failed"))

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert ran(project) == []
    assert (
        "Nothing was run: second requires column (schema, not applied), typo (unknown);"
        " third requires failed (data, failed): run what is required first\n"
    ) in result.stderr


@pytest.mark.parametrize("command", [("migrate", "--data", "second"), ("migrate", "--data")])
def test_one_of_the_other_type_serves_once_it_is_applied(
    project: Project, command: tuple[str, ...]
) -> None:
    requiring(project, "column", "()", type="Schema")
    requiring(project, "second", "('column',)")

    refused = project.run(*command)
    project.run("migrate", "--schema")

    assert refused.exit_code == 1
    assert project.run(*command).exit_code == 0
    assert ran(project) == ["column", "second"]


def test_one_that_was_asked_for_alone_does_not_run_what_it_requires(project: Project) -> None:
    requiring(project, "first", "()")
    requiring(project, "second", "('first',)")

    result = project.run("migrate", "--data", "second")

    assert result.exit_code == 1
    assert "second requires first (data, not applied)" in result.stderr
    assert ran(project) == []


def test_a_batch_requires_too(project: Project) -> None:
    project.file(
        "migrations/1_shop.py",
        """
        from mpt_tool.migration import BatchDataMigration

        class Migration(BatchDataMigration):
            requires = ("column",)
            def items(self, cursor): raise AssertionError
            def process(self, item): ...
        """,
    )

    result = project.run("batch", "shop")

    assert result.exit_code == 1
    assert "shop requires column (unknown)" in result.stderr


def test_one_that_is_applied_for_some_of_its_targets_does_not_serve(project: Project) -> None:
    requiring(project, "first", "()\n    targets = 'PRODUCTS'")
    requiring(project, "second", "('first',)")
    project.run("migrate", "--data", "first", env={"PRODUCTS": "A"})

    result = project.run("migrate", "--data", "second", env={"PRODUCTS": "A,B"})

    assert result.exit_code == 1


def test_what_only_a_run_would_tell_is_refused(project: Project) -> None:
    requiring(project, "second", "tuple('ab')")

    assert "requires cannot be read" in project.run("migrate", "--check").stdout
    result = project.run("migrate", "--data")
    assert result.exit_code == 1
    assert "without running the script" in result.stderr


def test_a_text_in_place_of_ids_is_refused(project: Project) -> None:
    requiring(project, "second", "'first'")

    assert "requires cannot be read" in project.run("migrate", "--check").stdout
    assert project.run("migrate", "--data").exit_code == 1


# --- without a run


def findings(project: Project, *options: str) -> list[str]:
    document = project.run("migrate", "--check", "--json", *options).json()
    return [f"{each['file']}: {each['message']}" for each in document["findings"]]


def test_a_check_finds_ids_that_no_script_has(project: Project) -> None:
    requiring(project, "second", "('typo',)")

    assert findings(project) == [
        "1_second.py: requires typo, and no script has this id; --strict knows what is applied, too"
    ]


def test_a_strict_check_knows_what_was_applied_and_is_gone(project: Project) -> None:
    project.write_state(record("gone", order_id=0, applied_at=DAY), record("failed"))
    requiring(project, "second", "('gone', 'failed')")

    of_second = [each for each in findings(project, "--strict") if each.startswith("1_second")]

    assert of_second == ["1_second.py: requires failed, and no script has this id"]


def test_a_check_finds_circles(project: Project) -> None:
    requiring(project, "a", "('b',)")
    requiring(project, "b", "('c',)")
    requiring(project, "c", "('a',)")
    requiring(project, "d", "('d',)")
    requiring(project, "e", "('a',)")

    assert findings(project) == [
        "1_a.py: requires itself: a requires b requires c requires a",
        "2_b.py: requires itself: b requires c requires a requires b",
        "3_c.py: requires itself: c requires a requires b requires c",
        "4_d.py: requires itself: d requires d",
    ]


def test_a_check_finds_what_would_run_too_late(project: Project) -> None:
    requiring(project, "a", "('b', 'column')")
    requiring(project, "b", "()")
    requiring(project, "column", "()", type="Schema")

    assert findings(project) == ["1_a.py: requires b, which runs after it"]
