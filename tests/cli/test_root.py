"""The project's root: found from a folder below it, and `--folder` for migrations elsewhere."""

import sys
from pathlib import Path

import pytest
from support.project import STATE_FILE, Project

NOT_FOUND = "Error running data command: Migration folder not found: {}\nAborted.\n"


@pytest.fixture
def project(project: Project) -> Project:
    """A repository with a folder below its root."""
    (project.root / ".git").mkdir()
    (project.root / "src" / "shop").mkdir(parents=True)
    return project


def make_folder(project: Project) -> None:
    project.script("first")


def make_state(project: Project) -> None:
    project.write_state()


def make_configuration(project: Project) -> None:
    project.file("pyproject.toml", "[tool.mpt-tool]\nfolder = 'backend/scripts'\n")


def make_folder_of_env_file(project: Project) -> None:
    project.file(".env", "MPT_TOOL_FOLDER=scripts\n")
    (project.root / "scripts").mkdir()


MARKS = [make_folder, make_state, make_configuration, make_folder_of_env_file]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("below", ["src", "src/shop"])
def test_the_root_is_the_nearest_folder_above_with_folder_state_or_configuration(
    project: Project, mark: object, below: str
) -> None:
    assert callable(mark)
    mark(project)
    there = set(project.tree())

    created = project.run("migrate", "--new-data", "second", below=below)

    assert created.exit_code == 0, created.stderr
    [script] = [name for name in set(project.tree()) - there if name.endswith("_second.py")]
    folder = {make_configuration: "backend/scripts", make_folder_of_env_file: "scripts"}
    assert str(Path(script).parent) == folder.get(mark, "migrations")
    assert not any((project.root / "src").rglob("*.py"))
    assert f"Migration file: {project.root / script} has been created.\n" in created.stdout


def test_a_run_from_below_is_the_run_of_the_root(project: Project) -> None:
    project.file(".env", "SERVICE_VERSION=1.4.0\n")
    project.file("data/regions.txt", "EMEA")
    project.script("first", body="print(open('data/regions.txt').read())")

    result = project.run("migrate", "--data", below="src")

    assert result.exit_code == 0, result.stderr
    assert "EMEA\n" in result.stdout
    assert project.state()["first"]["version"] == "1.4.0"
    assert not (project.root / "src" / STATE_FILE).exists()
    assert project.run("migrate", "--data").stdout.splitlines()[1].startswith("0 applied, 1 skip")


def test_from_below_scripts_are_named_by_their_whole_path(project: Project) -> None:
    script = project.script("first", body="raise ValueError")

    (migration,) = project.run("migrate", "--list", "--json", below="src").json()["migrations"]
    (in_root,) = project.run("migrate", "--list", "--json").json()["migrations"]

    assert migration["file"] == str(script)
    assert in_root["file"] == str(script.relative_to(project.root))


@pytest.mark.parametrize("mark", [make_state, make_configuration])
def test_the_folder_that_was_searched_is_named(project: Project, mark: object) -> None:
    assert callable(mark)
    mark(project)
    folder = "backend/scripts" if mark is make_configuration else "migrations"

    below = project.run("migrate", "--data", below="src")
    in_root = project.run("migrate", "--data")

    assert below.error == NOT_FOUND.format(project.root / folder)
    assert in_root.error == NOT_FOUND.format(folder)


def test_a_nearer_project_goes_before_one_further_above(project: Project) -> None:
    project.script("outer")
    project.file("src/migrations/1_inner.py", "")

    listed = project.run("migrate", "--list", "--json", below="src/shop").json()["migrations"]

    assert [migration["migration_id"] for migration in listed] == ["inner"]


def test_nothing_above_the_repository_is_looked_at(project: Project) -> None:
    project.script("outer")
    (project.root / "src" / ".git").mkdir()

    result = project.run("migrate", "--data", below="src/shop")

    searched = f"{project.root / 'src/shop'} and above, up to {project.root / 'src'}"
    assert result.error == NOT_FOUND.format(f"migrations (searched in {searched})")


def test_in_the_root_of_a_repository_nothing_above_is_said_to_be_searched(project: Project) -> None:
    result = project.run("migrate", "--data")

    assert result.error == NOT_FOUND.format(f"migrations (searched in {project.root})")


def test_a_folder_that_all_users_share_is_no_project(project: Project) -> None:
    project.script("of_a_stranger")
    project.root.chmod(0o1777)

    searched = f"(searched in {project.root / 'src'})"
    result = project.run("migrate", "--data", below="src")

    assert result.error == NOT_FOUND.format(f"migrations {searched}")
    assert project.run("migrate", "--data").exit_code == 0


@pytest.mark.parametrize("text", ["[tool.mpt-tool", "tool = 3"])
def test_a_broken_pyproject_above_is_told_and_one_of_others_passed_over(
    project: Project, text: str
) -> None:
    project.script("first")
    project.file("src/pyproject.toml", text)

    result = project.run("migrate", "--data", below="src/shop")

    is_broken = text.startswith("[")
    assert result.exit_code == (2 if is_broken else 0)
    assert ("pyproject.toml cannot be read" in result.stderr) == is_broken


def test_python_finds_the_same_root(project: Project) -> None:
    project.script("first")
    program = "import mpt_tool; print(*(entry.migration_id for entry in mpt_tool.pending()))"

    result = project.execute([sys.executable, "-c", program], below="src")

    assert (result.exit_code, result.stdout) == (0, "first\n")


MIGRATIONS = "backend/migrations"
CONFIGURED = {
    "pyproject.toml": f"[tool.mpt-tool]\nfolder = '{MIGRATIONS}'\nservice-version = '1.4.0'\n",
    ".env": f"MPT_TOOL_FOLDER={MIGRATIONS}\nSERVICE_VERSION=1.4.0\n",
}


@pytest.mark.parametrize("name", CONFIGURED)
@pytest.mark.parametrize("below", ["backend", "backend/shop", MIGRATIONS])
def test_migrations_that_a_folder_above_is_configured_with_are_its_own(
    project: Project, name: str, below: str
) -> None:
    project.file(name, CONFIGURED[name])
    project.file(f"{MIGRATIONS}/1_first.py", project.script("unused").read_text())
    (project.root / "backend/shop").mkdir()

    result = project.run("migrate", "--data", below=below)

    assert result.exit_code == 0, result.stderr
    assert project.state()["first"]["version"] == "1.4.0"
    assert not list((project.root / "backend").rglob(STATE_FILE))


def test_other_migrations_than_those_configured_above_are_a_project_of_their_own(
    project: Project,
) -> None:
    project.file("pyproject.toml", CONFIGURED["pyproject.toml"])
    project.file("src/migrations/1_inner.py", "")

    listed = project.run("migrate", "--list", "--json", below="src/shop").json()["migrations"]

    assert [migration["migration_id"] for migration in listed] == ["inner"]


def test_migrations_that_a_broken_configuration_above_may_claim_are_not_run(
    project: Project,
) -> None:
    project.file("pyproject.toml", "[tool.mpt-tool")
    project.file("src/migrations/1_inner.py", "")

    result = project.run("migrate", "--data", below="src")

    assert "pyproject.toml cannot be read" in result.stderr


# --- --folder


@pytest.mark.parametrize("below", ["src", "migrations"])
@pytest.mark.parametrize("how", ["--folder ../migrations", "--folder {}", "MPT_TOOL_FOLDER={}"])
def test_the_folder_that_is_given_does_not_move_the_root(
    project: Project, how: str, below: str
) -> None:
    script = project.script("first")
    project.run("migrate", "--data")
    given = how.format(script.parent)
    options = given.split() if given.startswith("-") else []
    env = {} if options else dict([given.split("=")])

    result = project.run("migrate", "--list", "--json", *options, below=below, env=env)

    (migration,) = result.json()["migrations"]
    assert migration["status"] == "applied"


@pytest.mark.parametrize(
    ("folder", "below"), [("backend/scripts", ""), ("../backend/scripts", "src")]
)
def test_the_folder_that_is_given_wins_over_the_setting(
    project: Project, folder: str, below: str
) -> None:
    project.script("first")
    script = project.file("backend/scripts/1_second.py", "")
    project.write_state()

    result = project.run("migrate", "--list", "--json", "--folder", folder, below=below)

    (migration,) = result.json()["migrations"]
    assert migration["migration_id"] == "second"
    assert (project.root / below / migration["file"]).resolve() == script


def test_a_folder_that_is_given_and_not_there_is_an_error(project: Project) -> None:
    project.script("first")

    result = project.run("migrate", "--data", "--folder", "elsewhere")

    assert result.error == NOT_FOUND.format("elsewhere")


def test_a_first_migration_is_created_in_the_folder_that_is_given(project: Project) -> None:
    result = project.run("migrate", "--new-data", "first", "--folder", "backend/scripts")

    assert result.exit_code == 0
    [script] = (project.root / "backend/scripts").iterdir()
    assert script.name.endswith("_first.py")
    assert f" backend/scripts/{script.name} has been created.\n" in result.stdout
