"""The reference that is made from the code has all of it."""

import re
from typing import Any

import pytest
from generated import GROUP, all_settings, filled
from support.pages import DOCS, text_of

from mpt_tool import errors
from mpt_tool.errors import ExitCode, MptToolError
from mpt_tool.settings import is_secret, variable_names
from mpt_tool.view.schemas import DOCUMENTS

COMMANDS = filled(text_of("commands"))
SETTINGS = filled(text_of("settings"))
CONFIGURATION = text_of("configuration")


def part_of(page: str, heading: str) -> str:
    """Return what stands below a heading of code."""
    return page.partition(f"\n## `{heading}`\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", ["", *GROUP.commands])
def test_each_command_has_all_its_arguments_and_options(name: str) -> None:
    command: Any = GROUP.commands.get(name, GROUP)
    described = part_of(COMMANDS, f"mpt-tool {name}".strip())

    assert described
    for parameter in command.params:
        for spelling in parameter.opts if parameter.opts[0][0] == "-" else [parameter.metavar]:
            assert re.search(rf"`{re.escape(spelling)}[ `]", described), spelling


@pytest.mark.parametrize("variable", sorted(all_settings()))
def test_each_setting_has_its_names_and_its_default(variable: str) -> None:
    section, field = all_settings()[variable]
    described = part_of(SETTINGS, variable)

    assert all(f"`{name}`" in described for name in variable_names(section, field)[:-1])
    assert ("it is a secret" in described) is is_secret(section, field)
    setting = section.model_fields[field]
    default = "not set" if setting.default is None else f"`{setting.default}`"
    assert f"- Default: {'none' if setting.is_required() else default}" in described


@pytest.mark.parametrize("variable", sorted(all_settings()))
def test_the_meaning_of_each_setting_stands_in_the_configuration(variable: str) -> None:
    assert f"| `{variable}` |" in CONFIGURATION


def test_each_exit_code_and_each_error_is_told() -> None:
    page = filled(text_of("exit-codes"))
    raised = [
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, MptToolError)
    ]

    assert [code for code in ExitCode if f"\n| {code} |" not in page] == []
    assert [name for name in raised if f"\n| `{name}` |" not in page] == []


def test_each_command_that_writes_json_has_a_schema() -> None:
    page = filled(text_of("json"))
    writing = {
        name
        for name, command in GROUP.commands.items()
        if any("--json" in each.opts for each in command.params)
    }

    # An action of `migrate` is a command of the envelope.
    assert writing - {"migrate"} <= DOCUMENTS.keys()
    assert all(f"`mpt_tool.view.schemas.{each.__name__}`" in page for each in DOCUMENTS.values())


def test_no_page_asks_for_a_part_that_nobody_makes() -> None:
    for path in DOCS.rglob("*.md"):
        assert "<!-- generated" not in filled(path.read_text(encoding="utf-8")), path
