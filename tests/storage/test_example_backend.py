"""The package of `examples/backend/`, built and installed, is a store as ours are."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.pages import REPOSITORY, blocks, commands
from support.project import Project

EXAMPLE = REPOSITORY / "examples" / "backend"
SETTINGS = {"STORAGE_TYPE": "directory", "STORAGE_DIRECTORY_PATH": "state"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel of the example was installed in, as pip would."""
    folder = tmp_path_factory.mktemp("backend")
    # A copy, so that nothing is left beside the original.
    source = shutil.copytree(EXAMPLE, folder / "source")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def beside(project: Project, installed: Path) -> Project:
    """A project whose environment has the package."""
    project.environment["PYTHONPATH"] = str(installed)
    return project


def test_it_passes_the_contract_by_the_command_of_its_page(beside: Project) -> None:
    shutil.copytree(EXAMPLE / "tests", beside.root / "tests")

    result = beside.execute([sys.executable, "-m", "pytest", "-q", "tests"])

    assert result.exit_code == 0, result.stdout
    assert "skipped" not in result.stdout


def test_the_commands_of_its_page_do_what_it_says(beside: Project) -> None:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    [block] = [each for each in blocks(text) if each.language == "bash"]
    install, suite, settings, *further = commands(block.text)
    assert install == "python -m pip install ."
    assert suite == "python -m pytest tests"
    assert settings == f"export {' '.join('='.join(each) for each in SETTINGS.items())}"

    results = [beside.run(*command.split()[1:], env=SETTINGS) for command in further]
    ran = beside.run("migrate", "--data", env=SETTINGS)

    assert all(each.exit_code == 0 for each in (*results, ran)), results
    *_, listed, examined = results
    assert "greet_everybody" in listed.stdout
    assert "STORAGE_DIRECTORY_PATH: state (environment: STORAGE_DIRECTORY_PATH)" in examined.stdout
    records = [each.name for each in (beside.root / "state/records").iterdir()]
    assert records == ["greet_everybody.json"]
    assert not beside.state_file.exists()


@pytest.mark.parametrize(
    ("table", "env", "found"),
    [
        ("path = 'elsewhere'", {}, "elsewhere"),
        ("path = 'elsewhere'", {"STORAGE_DIRECTORY_PATH": "state"}, "state"),
        ("", {"MPT_TOOL_STORAGE_DIRECTORY_PATH": "newer", "STORAGE_DIRECTORY_PATH": "x"}, "newer"),
    ],
)
def test_its_settings_are_read_as_those_of_the_tool(
    beside: Project, table: str, env: Mapping[str, str], found: str
) -> None:
    beside.file(
        "pyproject.toml",
        f"[tool.mpt-tool]\nstorage-type = 'directory'\n[tool.mpt-tool.directory]\n{table}",
    )

    result = beside.run("migrate", "--init", env=env)

    assert result.exit_code == 0, result.stderr
    assert (beside.root / found / "records").is_dir()


def test_a_setting_of_its_own_that_is_wrong_is_refused(beside: Project) -> None:
    beside.file("pyproject.toml", "[tool.mpt-tool.directory]\npaht = 'x'")

    missing = beside.run("migrate", "--list", env={"STORAGE_TYPE": "directory"})
    beside.file("pyproject.toml", "")
    unset = beside.run("migrate", "--list", env={"STORAGE_TYPE": "directory"})

    assert (missing.exit_code, unset.exit_code) == (2, 2)
    assert "paht in [tool.mpt-tool.directory] is unknown: use one of path" in missing.stderr
    assert "STORAGE_DIRECTORY_PATH (or MPT_TOOL_STORAGE_DIRECTORY_PATH) is not set" in unset.stderr
