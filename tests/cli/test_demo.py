"""`mpt-tool demo`: what it shows, what does not matter to it, and that nothing of it is left."""

import os
import re
import shlex
import signal
from pathlib import Path

import pytest
from support.process import Process, wait_until
from support.project import COMMAND, Project
from support.terminal import Terminal

from mpt_tool.demo import scripts
from mpt_tool.scripts.check import check
from mpt_tool.scripts.folder import find

README = Path(__file__).parents[2] / "README.md"
# What would break each of its commands, if it came to them.
HOSTILE = {
    "STORAGE_TYPE": "nowhere",
    "MPT_TOOL_FOLDER": "elsewhere",
    "SERVICE_VERSION": "9.9.9",
    "DATA_TIME_LIMIT": "soon",
}
SHOWN = [
    "migrate --new-schema create_catalogue",
    "migrate --schema",
    "migrate --new-data import_prices",
    "migrate --data",
    "migrate --data",
    "migrate --new-data write_letters --batch",
    "migrate --data",
    "migrate --list",
    "migrate --data",
    "status",
    "migrate --list",
    "history",
    "report report.html",
]

# In this order.
TOLD = [
    r"cents = 100 \* int\(price\)",
    r"ValueError: invalid literal for int\(\) with base 10: '19.50'",
    r"\+ +cents = 100 \* float\(price\)",
    "Stopping at SIGINT",
    r"resumes after (\d+) of 120 \(\d+ by mail, \d+ by post\)",
    r"Resuming write_letters after \1 of 120 items",
    "There are 120 letters: each client got one",
    "write_letters +data +applied",
    "write_letters +data +stopped",
    "Wrote report.html: 3 migrations, 5 attempts",
]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_the_readmes_first_command_shows_all_and_leaves_nothing(
    project: Project, temporary: Path
) -> None:
    project.script("of_this_project", body="raise AssertionError('this is not to run')")
    project.file(".env", "no line of the form NAME=VALUE\n")
    project.file("sitecustomize.py", "raise AssertionError('this is not to be imported')")
    before = project.tree()
    [first, *_] = re.findall(r"```bash\n(.+)\n```", README.read_text(encoding="utf-8"))
    _, _, arguments = first.partition(" mpt-tool ")
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(temporary), **HOSTILE}
    variables = [f"{name}={value}" for name, value in environment.items()]

    # Without a home.
    finished = project.execute(["env", "-i", *variables, COMMAND, *shlex.split(arguments)])

    assert (finished.exit_code, finished.stderr) == (0, "")
    shown = finished.stdout
    assert re.findall(r"^\$ mpt-tool (.+)$", shown, re.MULTILINE) == SHOWN
    assert re.search(".*".join(TOLD), shown, re.DOTALL), shown
    assert "9.9.9" not in shown
    assert list(temporary.iterdir()) == []
    assert project.tree() == before


@pytest.mark.slow
def test_a_kept_project_is_whole(project: Project) -> None:
    finished = project.run("demo", "--keep", "kept")

    assert finished.exit_code == 0
    kept = Project(project.root / "kept")
    assert {each["applied_at"] is not None for each in kept.state().values()} == {True}
    assert [outcome for _, outcome in kept.outcomes()] == [
        *("applied", "failed", "applied", "stopped", "applied")
    ]
    assert (kept.root / "report.html").exists()
    letters = (kept.root / "letters.txt").read_text(encoding="utf-8").splitlines()
    assert letters == [f"Dear client {number}" for number in range(1, 121)]
    assert {path.name for path in project.root.iterdir()} == {"kept"}


def test_a_folder_that_is_there_is_left_alone(project: Project) -> None:
    project.file("kept/mine.txt", "mine")
    before = project.tree()

    result = project.run("demo", "--keep", "kept")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error running demo command: kept cannot be created: File exists" in result.stderr
    assert project.tree() == before


@pytest.mark.slow
def test_ctrl_c_ends_the_tour_and_leaves_nothing(project: Project, temporary: Path) -> None:
    environment = project.environment_of_run({"TMPDIR": str(temporary)})
    with Terminal([COMMAND, "demo"], project.root, environment) as terminal:
        terminal.wait_for("Running schema migrations")
        terminal.press("\x03")
        exit_code = terminal.wait()

    assert exit_code == 130
    # The terminal echoes the key wherever the cursor is just then.
    assert terminal.lines[-1].removeprefix("^C") == "Aborted."
    assert terminal.text.count("Stopping at SIGINT") <= 1
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_signal_to_the_tour_alone_stops_its_command_too(
    project: Project, temporary: Path
) -> None:
    with Process(project, "demo", env={"TMPDIR": str(temporary)}, anew=True) as tour:
        wait_until(lambda: "letters.txt" in names(temporary))
        tour.send(signal.SIGTERM)
        result = tour.wait()

    assert result.exit_code == 143
    assert result.stderr.endswith("Aborted.\n")
    assert list(temporary.iterdir()) == []
    assert "3 migrations" not in result.stdout


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_the_scripts_of_the_tour_pass_the_check(project: Project) -> None:
    for number, path in enumerate(sorted(Path(scripts.__file__).parent.glob("[a-z]*.py"))):
        project.file(f"migrations/{number + 1}_{path.name}", path.read_text(encoding="utf-8"))

    assert check(find(project.migrations)) == []
