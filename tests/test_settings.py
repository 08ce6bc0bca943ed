"""Settings from the environment, `.env` and `pyproject.toml`."""

import sys
from pathlib import Path

import pytest
from support.project import Project

from mpt_tool.errors import SettingsError
from mpt_tool.settings import Settings, load_settings

ERROR = "Error running list command: "


@pytest.mark.parametrize(
    ("name", "source"), [("STORAGE_TYPE", "environment"), ("MPT_TOOL_STORAGE_TYPE", ".env")]
)
def test_an_unknown_storage_type_is_an_error_that_names_the_accepted_ones(
    project: Project, name: str, source: str
) -> None:
    project.script("pending")
    if source == ".env":
        project.file(".env", f"{name}=postgres")

    result = project.run(
        "migrate", "--data", env={name: "postgres"} if source == "environment" else {}
    )

    assert result.exit_code == 2
    assert result.error.startswith("Error running data command: STORAGE_TYPE")
    assert "MPT_TOOL_STORAGE_TYPE" in result.stderr
    assert "postgres" in result.stderr
    assert "local, airtable" in result.stderr
    assert result.stderr.endswith("\nAborted.\n")
    assert not project.state_file.exists()


@pytest.mark.parametrize(
    ("environment", "in_env_file", "in_pyproject", "used"),
    [
        ({}, "", "", "migrations"),
        ({}, "", 'folder = "from/pyproject"', "from/pyproject"),
        ({}, "MPT_TOOL_FOLDER=from_env_file", 'folder = "from_pyproject"', "from_env_file"),
        ({"MPT_TOOL_FOLDER": "from_env"}, "MPT_TOOL_FOLDER=from_env_file", "", "from_env"),
        ({"MPT_TOOL_FOLDER": ""}, "", 'folder = "from_pyproject"', "from_pyproject"),
        ({}, "MPT_TOOL_FOLDER=", 'folder = "from_pyproject"', "from_pyproject"),
    ],
)
def test_the_environment_wins_over_the_env_file_and_that_over_pyproject(
    project: Project, environment: dict[str, str], in_env_file: str, in_pyproject: str, used: str
) -> None:
    project.file(".env", in_env_file)
    project.file("pyproject.toml", f"[tool.mpt-tool]\n{in_pyproject}")

    result = project.run("migrate", "--check", env=environment)

    assert result.exit_code == 1
    assert f": Migration folder not found: {used}\n" in result.stderr


@pytest.mark.parametrize("source", ["environment", ".env"])
def test_the_newer_name_of_a_variable_wins(project: Project, source: str) -> None:
    both = {"STORAGE_TYPE": "unknown", "MPT_TOOL_STORAGE_TYPE": "local"}
    if source == ".env":
        project.file(".env", "\n".join(f"{name}={value}" for name, value in both.items()))

    result = project.run("migrate", "--list", env=both if source == "environment" else {})

    assert (result.exit_code, result.stderr) == (0, "")


def test_every_action_uses_the_configured_folder(project: Project) -> None:
    project.file("pyproject.toml", '[tool.mpt-tool]\nfolder = "backend/migrations"')

    created = project.run("migrate", "--new-data", "first")
    checked = project.run("migrate", "--check", "--json")
    ran = project.run("migrate", "--data")
    listed = project.run("migrate", "--list", "--json")

    assert [each.exit_code for each in (created, checked, ran, listed)] == [0, 0, 0, 0]
    [path] = (project.root / "backend/migrations").glob("*.py")
    assert listed.json()["migrations"][0]["file"] == str(path.relative_to(project.root))
    assert listed.json()["migrations"][0]["status"] == "applied"
    assert project.state_file.exists()
    assert not project.migrations.exists()


def test_a_pyproject_without_a_table_of_the_tool_changes_nothing(project: Project) -> None:
    project.file("pyproject.toml", '[project]\nname = "extension"\n[tool.other]\nfolder = 3')

    assert project.run("migrate", "--list").exit_code == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[tool.mpt-tool", "pyproject.toml cannot be read: "),
        (f"folder = {'[' * 2000}", "pyproject.toml cannot be read: maximum recursion depth"),
        ("tool.mpt-tool = 3", "pyproject.toml: [tool.mpt-tool] is not a table"),
        (
            "[tool.mpt-tool]\nfolders = 3",
            "pyproject.toml: folders in [tool.mpt-tool] is unknown: use one of airtable,",
        ),
        (
            "[tool.mpt-tool.airtabel]\nbase-id = 3",
            "pyproject.toml: airtabel in [tool.mpt-tool] is unknown: use one of airtable,",
        ),
        ("[tool.mpt-tool]\nfolder = 3", "folder"),
        (
            '[tool.mpt-tool]\nfolder = "a\\u0000b"',
            "folder in [tool.mpt-tool] is 'a\\x00b': no path holds a NUL",
        ),
        ('[tool.mpt-tool]\nstorage-type = "postgres"', "STORAGE_TYPE"),
    ],
)
def test_a_mistake_in_pyproject_is_one_message(project: Project, text: str, reason: str) -> None:
    project.file("pyproject.toml", text)

    result = project.run("migrate", "--list")

    assert result.exit_code == 2
    assert result.error.startswith(ERROR)
    assert reason.lower() in result.stderr.lower()
    assert result.stderr.endswith("\nAborted.\n")
    assert result.stderr.count("\n") == 2


@pytest.mark.parametrize("store", ["local", "airtable"])
@pytest.mark.parametrize(
    ("key", "variable"),
    [
        ("airtable.api-key", "AIRTABLE_API_KEY"),
        ("airtable.api_key", "AIRTABLE_API_KEY"),
        ("mpt.api-token", "MPT_API_TOKEN"),
    ],
)
def test_a_secret_in_pyproject_is_refused_and_not_shown(
    project: Project, key: str, variable: str, store: str
) -> None:
    project.file("pyproject.toml", f'[tool.mpt-tool]\n{key} = "patSecretValue"')

    result = project.run("migrate", "--list", env={"STORAGE_TYPE": store})

    assert result.exit_code == 2
    assert "is a secret" in result.stderr
    assert variable in result.stderr
    assert "patSecretValue" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tables = 'ours'", "pyproject.toml: tables in [tool.mpt-tool.airtable] is unknown"),
        ("base-id = 3", "base-id in [tool.mpt-tool.airtable] is 3: use text, in quotes"),
        ("lease-seconds = 1", "lease-seconds in [tool.mpt-tool.airtable] is 1: use a number"),
        ("", "AIRTABLE_API_KEY (or MPT_TOOL_STORAGE_AIRTABLE_API_KEY) and STORAGE_AIRTABLE_BASE"),
    ],
)
def test_what_is_wrong_in_the_table_of_the_store_is_one_message(
    project: Project, text: str, reason: str
) -> None:
    project.file("pyproject.toml", f"[tool.mpt-tool.airtable]\n{text}")

    result = project.run("migrate", "--list", env={"STORAGE_TYPE": "airtable"})

    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 2


@pytest.mark.parametrize(
    "line",
    [
        "STORAGE_TYPE airtable",
        "STORAGE_TYPE:airtable",
        "STORAGE_TYPE: airtable",
        "STORAGE_TYPE",
        'STORAGE_TYPE="airtable',
        "STORAGE_TYPE='airtable' or 'local'",
        "\x00STORAGE_TYPE=airtable",
        "\u200bSTORAGE_TYPE=airtable",
        "S\x00T\x00O\x00R\x00A\x00G\x00E\x00_\x00T\x00Y\x00P\x00E\x00=a",
    ],
)
def test_an_env_file_with_a_line_that_is_no_variable_is_refused(
    project: Project, line: str
) -> None:
    project.script("any", body="print('ran')")
    project.file(".env", f"# production\nSERVICE_VERSION=1\n{line}\nOTHER=2\n")

    result = project.run("migrate", "--data")

    assert result.exit_code == 2
    assert ": .env cannot be read: line 3 is not NAME=VALUE\n" in result.stderr
    assert "ran" not in result.stdout


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("STORAGE_TYPE=${UNSET}", "line 2 STORAGE_TYPE refers to UNSET"),
        ("MPT_TOOL_STORAGE_TYPE='${UNSET}'", "line 2 MPT_TOOL_STORAGE_TYPE refers to UNSET"),
        ("STORAGE_TYPE=air${UNSET}", "line 2 STORAGE_TYPE refers to UNSET"),
        ("STORAGE_TYPE=${STORE}\nSTORE=airtable", "line 2 STORAGE_TYPE refers to STORE"),
        ("STORE=${UNSET}\nSTORAGE_TYPE=${STORE}", "line 3 STORAGE_TYPE refers to STORE"),
        ("SCHEMA_TIME_LIMIT=${UNSET}", "line 2 SCHEMA_TIME_LIMIT refers to UNSET"),
    ],
)
def test_a_setting_of_env_that_refers_to_what_is_not_set_is_refused(
    project: Project, lines: str, said: str
) -> None:
    project.script("any", body="print('ran')")
    project.file(".env", f"# production\n{lines}\n")

    result = project.run("migrate", "--data")

    assert result.exit_code == 2
    assert f": .env cannot be used: in {said}, which is not set: set it, or " in result.stderr
    assert "ran" not in result.stdout


@pytest.mark.parametrize(
    "line",
    [
        "STORAGE_TYPE=${UNSET:-local}",
        "STORAGE_TYPE=${UNSET:-}",
        "STORE=local\nSTORAGE_TYPE=${STORE}",
        "STORAGE_TYPE=${SERVICE_VERSION}",
        "OF_A_SCRIPT=${UNSET}",
        "SERVICE_VERSION=${UNSET}",
    ],
)
def test_a_variable_of_env_that_is_no_setting_or_has_a_default_may_refer_to_any(
    project: Project, line: str
) -> None:
    project.script("any")
    project.file(".env", line)

    result = project.run("migrate", "--data", env={"SERVICE_VERSION": "local"})

    assert (result.exit_code, result.stdout.count("1 applied")) == (0, 1), result.stderr


def test_an_env_file_of_an_editor_that_marks_its_encoding_is_read(project: Project) -> None:
    (project.root / ".env").write_bytes(b"\xef\xbb\xbfSTORAGE_TYPE=postgres")

    assert project.run("migrate", "--list").exit_code == 2


def test_a_virtual_environment_in_the_place_of_the_env_file_is_passed_over(
    project: Project,
) -> None:
    (project.root / ".env").mkdir()

    assert project.run("migrate", "--list").exit_code == 0


def test_an_env_file_that_is_no_text_is_told(project: Project) -> None:
    (project.root / ".env").write_bytes(b"A=\xff")

    result = project.run("migrate", "--list")

    assert result.exit_code == 2
    assert result.error.startswith(f"{ERROR}.env cannot be read: ")
    assert result.stderr.count("\n") == 2


@pytest.mark.parametrize("arguments", [("--new-data", "first"), ("--check",)])
def test_an_action_asks_only_for_the_settings_it_needs(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.migrations.mkdir()

    result = project.run("migrate", *arguments, env={"STORAGE_TYPE": "airtable"})

    assert (result.exit_code, result.stderr) == (0, "")


def test_a_variable_that_only_looks_like_a_setting_is_none(project: Project) -> None:
    project.script("any")

    result = project.run("migrate", "--list", env={"folder": "elsewhere", "storage_type": "none"})

    assert result.exit_code == 0
    assert "any" in result.stdout


READS_VARIABLE = """
import os
from mpt_tool.migration import DataBaseMigration

AT_IMPORT = os.environ["MPT_PRODUCTS_IDS"]

class Migration(DataBaseMigration):
    def run(self):
        print(AT_IMPORT, os.environ["MPT_PRODUCTS_IDS"], os.environ.get("UNSET"))
"""


@pytest.mark.parametrize(
    ("env", "found"), [({}, "PRD-1"), ({"MPT_PRODUCTS_IDS": "PRD-2"}, "PRD-2")]
)
def test_scripts_find_in_the_environment_what_env_sets_and_it_lacks(
    project: Project, env: dict[str, str], found: str
) -> None:
    project.file("migrations/1_first.py", READS_VARIABLE)
    project.file(".env", "MPT_PRODUCTS_IDS=PRD-1\nUNSET=\n")

    planned = project.run("migrate", "--data", "--dry-run", env=env)
    result = project.run("migrate", "--data", env=env)

    assert (planned.exit_code, result.exit_code) == (0, 0)
    assert f"{found} {found} None\n" in result.stdout


def test_env_gives_scripts_no_newer_name_that_would_win_over_the_environment(
    project: Project,
) -> None:
    project.file(".env", "MPT_TOOL_STORAGE_AIRTABLE_API_KEY=of_env_file")
    body = "from mpt_tool.config import get_airtable_config; print(get_airtable_config('api_key'))"
    project.script("first", body=body)

    result = project.run("migrate", "--data", env={"AIRTABLE_API_KEY": "any"})

    assert result.exit_code == 0
    assert "\nany\n" in result.stdout


@pytest.mark.parametrize("blank", ["", "  "])
@pytest.mark.parametrize("source", ["environment", ".env"])
def test_what_is_blank_hides_neither_the_older_name_nor_the_next_place(
    project: Project, blank: str, source: str
) -> None:
    project.file("pyproject.toml", '[tool.mpt-tool]\nfolder = "from_pyproject"')
    blanks = {"MPT_TOOL_FOLDER": blank, "MPT_TOOL_STORAGE_TYPE": blank, "STORAGE_TYPE": "postgres"}
    if source == ".env":
        project.file(".env", "".join(f"{name}='{value}'\n" for name, value in blanks.items()))
    environment = blanks if source == "environment" else {}

    checked = project.run("migrate", "--check", env=environment)
    listed = project.run("migrate", "--list", env=environment)

    assert ": Migration folder not found: from_pyproject\n" in checked.stderr
    assert "is 'postgres': use one of" in listed.stderr


def test_a_scheduler_of_dask_needs_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_EXECUTOR", "dask:tcp://scheduler:8786")
    assert load_settings(Settings, tmp_path).batch_executor == "dask:tcp://scheduler:8786"
    # As if it was not installed.
    monkeypatch.setitem(sys.modules, "distributed", None)

    with pytest.raises(SettingsError, match=r"it needs an extra: pip install 'mpt-tool\[dask\]'"):
        load_settings(Settings, tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("schema-time-limit", "'ten'", "is 'ten': use a number"),
        ("data-time-limit", "-1", "is -1: use a number from 0 on"),
        ("data-time-limit", "1e400", "is inf: use a number up to 1,000,000,000"),
        ("notify-stalled-seconds", "0", "is 0: use a number above 0"),
        ("folder", "5", "is 5: use a path, in quotes"),
        ("storage-type", "5", "is 5: use text, in quotes"),
        ("service-version", "[1]", "is [1]: use text, in quotes"),
    ],
)
def test_of_a_wrong_value_is_told_where_it_stands_and_what_to_write(
    project: Project, key: str, value: str, told: str
) -> None:
    project.file("pyproject.toml", f"[tool.mpt-tool]\n{key} = {value}\n")

    result = project.run("migrate", "--list")

    assert result.exit_code == 2
    assert result.error == f"{ERROR}{key} in [tool.mpt-tool] {told}\nAborted.\n"


def test_a_wrong_value_of_a_variable_is_told_by_the_variable(project: Project) -> None:
    project.file("pyproject.toml", "[tool.mpt-tool]\ndata-time-limit = 5\n")

    result = project.run("migrate", "--list", env={"MPT_TOOL_DATA_TIME_LIMIT": "ten"})

    names = "DATA_TIME_LIMIT (or MPT_TOOL_DATA_TIME_LIMIT)"
    assert result.error == f"{ERROR}{names} is 'ten': use a number\nAborted.\n"
