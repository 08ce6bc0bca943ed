"""`migrate --check`."""

import re
from pathlib import Path

import pytest
from support.project import Project

GOOD = """
    from mpt_tool.migration import DataBaseMigration


    class Migration(DataBaseMigration):
        def run(self): ...
    """


def test_sound_scripts_pass_without_being_imported(project: Project) -> None:
    project.script("first", above="raise AssertionError('imported')")
    project.script("second", type="schema")
    project.file("migrations/3_imported.py", "from shared import Migration")
    project.file("migrations/4_starred.py", "from shared import *")
    project.file("migrations/5_annotated.py", "import shared\nMigration: type = shared.Migration")
    project.file("migrations/__init__.py", "1 / 0")
    before = project.tree()

    result = project.run("migrate", "--check", env={"STORAGE_TYPE": "airtable"})

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Checking migrations...\n")
    assert project.tree() == before


def broken_project(project: Project) -> None:
    """Give the project one script for each mistake."""
    texts = {
        "1_twin.py": GOOD,
        "2_twin.py": GOOD,
        "3_left.py": GOOD,
        "003_right.py": GOOD,
        "4_bad-name.py": GOOD,
        "5_broken.py": "import sys\n\nclass Migration(:\n",
        "6_empty.py": "",
        "7_stranger.py": "x = 1\nclass Migration:\n    def run(self): ...",
        "8_binary.py": "\0",
        "9_breaks.py": "class Migration(DataBaseMigration): ...\nbreak",
    }
    for name, text in texts.items():
        project.file(f"migrations/{name}", text)


EXPECTED = [
    ("003_right.py", None, "duplicate timestamp 3: 3_left.py, 003_right.py"),
    ("1_twin.py", None, "duplicate id twin: 1_twin.py, 2_twin.py"),
    ("2_twin.py", None, "duplicate id twin: 1_twin.py, 2_twin.py"),
    ("3_left.py", None, "duplicate timestamp 3: 3_left.py, 003_right.py"),
    ("4_bad-name.py", None, "malformed name: "),
    ("5_broken.py", 3, "syntax error: "),
    ("6_empty.py", None, "no Migration class"),
    (
        "7_stranger.py",
        2,
        "Migration derives from neither DataBaseMigration nor SchemaBaseMigration",
    ),
    ("8_binary.py", None, ""),
    ("9_breaks.py", 2, "syntax error: 'break' outside loop"),
]


def test_every_finding_is_told_at_once_with_its_file(project: Project) -> None:
    broken_project(project)

    result = project.run("migrate", "--check")

    assert result.exit_code == 1
    first_line, *lines = result.stdout.splitlines()
    assert first_line == "Checking migrations..."
    for line, (file, number, message) in zip(lines, EXPECTED, strict=True):
        place = f"{file}:{number}" if number else file
        assert line.startswith(f"{place}: {message}")
    assert result.error.startswith("Error running check command: 10 ")
    assert result.stderr.endswith("\nAborted.\n")


def test_the_findings_have_a_json_form(project: Project) -> None:
    broken_project(project)

    result = project.run("migrate", "--check", "--json")

    assert (result.exit_code, result.stderr) == (1, "")
    document = result.json()
    assert (document["version"], document["command"]) == (1, "check")
    for finding, (file, line, message) in zip(document["findings"], EXPECTED, strict=True):
        assert finding.keys() == {"file", "line", "message"}
        assert (finding["file"], finding["line"]) == (file, line)
        assert finding["message"].startswith(message)


def test_no_finding_is_an_empty_list_in_json(project: Project) -> None:
    project.script("first")

    result = project.run("migrate", "--check", "--json")

    assert result.exit_code == 0
    assert result.json() == {"version": 1, "command": "check", "findings": []}


@pytest.mark.parametrize("as_json", [False, True])
def test_a_missing_folder_is_an_error(project: Project, as_json: bool) -> None:
    project.write_state()

    result = project.run("migrate", "--check", *(["--json"] if as_json else []))

    message = "Migration folder not found: migrations"
    assert result.exit_code == 1
    assert result.error == f"Error running check command: {message}\nAborted.\n"
    if as_json:
        assert result.json() == {"version": 1, "command": "check", "error": message}


HOOK = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"


def hook(*own_arguments: str) -> list[str]:
    """Return the command of the hook, with arguments of a project's own in place of the hook's."""
    text = HOOK.read_text(encoding="utf-8")
    [entry] = re.findall(r"^  entry: mpt-tool (.+)$", text, re.MULTILINE)
    [arguments] = re.findall(r"^  args: \[(.+)\]$", text, re.MULTILINE)
    return [*entry.split(), *(own_arguments or arguments.split(", "))]


def test_the_hook_lets_a_commit_pass_where_there_are_no_migrations(project: Project) -> None:
    before = project.tree()

    result = project.run(*hook())

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith("\nNothing to check: there is no folder migrations.\n")
    assert project.tree() == before


def test_the_hook_stops_a_commit_with_a_broken_script(project: Project) -> None:
    project.file("migrations/5_broken.py", "class Migration(:\n")
    project.file("backend/migrations/6_broken.py", "class Migration(:\n")

    default, given = project.run(*hook()), project.run(*hook("--folder", "backend/migrations"))

    assert (default.exit_code, given.exit_code) == (1, 1)
    assert "5_broken.py" in default.stdout
    assert "6_broken.py" in given.stdout


def test_a_folder_that_the_hook_is_given_has_to_be_there(project: Project) -> None:
    result = project.run(*hook("--folder", "backend/migrations"))

    assert result.exit_code == 1
    assert "Migration folder not found: backend/migrations" in result.stderr
