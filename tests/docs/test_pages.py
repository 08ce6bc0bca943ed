"""What the documentation says in many places is the same, and complete, in each of them."""

import re
import tomllib

from generated import GROUP
from support.pages import PAGES, REPOSITORY, text_of

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
IS_RELEASED = f"## [{PROJECT['version']}] - unreleased" not in CHANGELOG
# What gets the tool from an index, be it a command or a step in prose.
INSTALLS = re.compile(r"(pip install|uv add) .*(?<![/.])mpt-tool|\*\*Install\*\* 7")
# All commands that write to the store.
WRITING = ("--data", "--schema", "--fake", "--init", "batch", "stop", "unlock")
NOT_YET = re.compile(r"#before-the-release\)|not released yet")


def test_wherever_a_release_is_installed_a_page_tells_whether_there_is_one() -> None:
    sections = [
        (str(path.relative_to(REPOSITORY)), section)
        for path in PAGES
        if path.name != "CHANGELOG.md"
        for section in re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    ]
    installing = {each for each in sections if INSTALLS.search(each[1])}
    telling = {each for each in sections if NOT_YET.search(each[1])}

    assert len(installing) > 6
    if IS_RELEASED:
        assert telling == set()
    else:
        assert installing - telling == set()


def test_the_table_of_commands_has_all_of_them() -> None:
    table = text_of("usage").partition("| Command |")[2].partition("\n\n")[0]

    assert re.findall(r"^\| \[`(\w+)", table, re.MULTILINE) == [*GROUP.commands]


def test_each_list_of_scopes_names_the_same_commands_that_write() -> None:
    rows = [
        re.search(r"^\| `data.records:write` \| (.*) \|$", text_of(name), re.MULTILINE)
        for name in ("airtable", "stores")
    ]

    listed = [set(re.findall(r"`([^`]+)`", row[1])) for row in rows if row]
    assert listed[0] == listed[1] == {*WRITING}
