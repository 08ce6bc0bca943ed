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
    assert listed.stdout == "Listing migrations...\nNo migrations found.\n"


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


def test_the_package_is_marked_as_typed() -> None:
    assert files("mpt_tool").joinpath("py.typed").is_file()
