"""The names that projects depend on."""

import sys
from importlib.metadata import entry_points
from importlib.resources import files

import pytest
from support.project import COMMAND, Project

from mpt_tool import cli, enums, migration
from mpt_tool.migration import mixins


def test_both_console_scripts_are_one_command() -> None:
    scripts = entry_points(group="console_scripts")

    assert {scripts[name].value for name in ("mpt-tool", "mpt-service-cli")} == {
        "mpt_tool.cli:main"
    }


@pytest.mark.parametrize(
    "command",
    [
        [COMMAND],
        [COMMAND.removesuffix("mpt-tool") + "mpt-service-cli"],
        [sys.executable, "-m", "mpt_tool"],
    ],
    ids=["mpt-tool", "mpt-service-cli", "python -m mpt_tool"],
)
def test_the_command_has_three_names(project: Project, command: list[str]) -> None:
    version = project.execute([*command, "--version"])
    listed = project.execute([*command, "migrate", "--list"])

    assert version.exit_code == 0
    assert version.stdout.startswith("mpt-tool ")
    assert listed.stdout.startswith("Listing migrations...\nNo migrations found.\n")


def test_the_names_of_the_package_are_there() -> None:
    assert callable(cli.main)
    assert callable(cli.app)
    assert [(each.name, each.value) for each in enums.MigrationTypeEnum] == [
        ("DATA", "data"),
        ("SCHEMA", "schema"),
    ]
    assert migration.DataBaseMigration.type is enums.MigrationTypeEnum.DATA
    assert migration.SchemaBaseMigration.type is enums.MigrationTypeEnum.SCHEMA
    assert {"MPTAPIClientMixin", "AirtableAPIClientMixin"} <= set(mixins.__all__)


@pytest.mark.parametrize(
    ("type", "base", "mixin"),
    [
        ("data", "data_base.DataBaseMigration", "mpt_client.MPTAPIClientMixin"),
        ("schema", "schema_base.SchemaBaseMigration", "airtable_client.AirtableAPIClientMixin"),
    ],
)
def test_a_script_may_import_from_the_modules_of_release_6(
    project: Project, type: str, base: str, mixin: str
) -> None:
    (base_module, base_name), (mixin_module, mixin_name) = base.split("."), mixin.split(".")
    project.file(
        "migrations/1_old.py",
        f"""\
        from mpt_tool.migration.{base_module} import {base_name}
        from mpt_tool.migration.mixins.{mixin_module} import {mixin_name}

        class Migration({base_name}, {mixin_name}):
            def run(self):
                pass
        """,
    )

    [listed] = project.run("migrate", "--list", "--json").json()["migrations"]
    result = project.run("migrate", f"--{type}")

    assert (listed["type"], result.exit_code) == (type, 0)


@pytest.mark.parametrize(
    ("environment", "values"),
    [
        ({}, [None, None, None, None, "Migrations", None, "local"]),
        (
            {
                "MPT_API_TOKEN": "token-1",
                "MPT_TOOL_STORAGE_AIRTABLE_API_KEY": "key-1",
                "STORAGE_AIRTABLE_BASE_ID": "app1",
                "STORAGE_AIRTABLE_TABLE_NAME": "Table",
                "SERVICE_VERSION": "1.2",
                "MPT_TOOL_STORAGE_TYPE": "airtable",
            },
            ["token-1", "https://api.example.com", "key-1", "app1", "Table", "1.2", "airtable"],
        ),
    ],
)
def test_a_mixin_of_an_extension_may_ask_for_settings_as_in_release_6(
    project: Project, environment: dict[str, str], values: list[str | None]
) -> None:
    if environment:
        project.file(".env", "MPT_API_BASE_URL=https://api.example.com")
    code = """
from mpt_tool.config import get_service_version, get_storage_type
from mpt_tool.config import get_airtable_config, get_mpt_config
print([
    get_mpt_config("api_token"), get_mpt_config("base_url"),
    get_airtable_config("api_key"), get_airtable_config("base_id"),
    get_airtable_config("table_name"), get_service_version(), get_storage_type(),
])
assert get_mpt_config("other") is None
"""

    result = project.execute([sys.executable, "-c", code], env=environment)

    assert result.stdout == f"{values}\n", result.stderr


def test_the_package_is_marked_as_typed() -> None:
    assert files("mpt_tool").joinpath("py.typed").is_file()
