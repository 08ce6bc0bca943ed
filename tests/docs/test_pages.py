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

    assert re.findall(r"^\| \[`([\w-]+)", table, re.MULTILINE) == [*GROUP.commands]


def test_each_list_of_scopes_names_the_same_commands_that_write() -> None:
    rows = [
        re.search(r"^\| `data.records:write` \| (.*) \|$", text_of(name), re.MULTILINE)
        for name in ("airtable", "stores")
    ]

    listed = [set(re.findall(r"`([^`]+)`", row[1])) for row in rows if row]
    assert listed[0] == listed[1] == {*WRITING}


CONTRIBUTING = text_of("contributing")


def test_the_drawing_of_the_house_is_that_which_lint_holds_the_code_against() -> None:
    """Each group between two strokes is a layer, from above downwards."""
    drawing = CONTRIBUTING.partition("```text\n")[2].partition("```")[0]
    drawn = [
        set(re.findall(r"^(\w+)/? {2,}", group, re.MULTILINE))
        for group in re.split(r"^ │\n", drawing, flags=re.MULTILINE)
    ]
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    [layers] = [
        each["layers"] for each in contracts["importlinter"]["contracts"] if each["id"] == "layers"
    ]

    assert drawn == [set(layer.split(" | ")) for layer in layers]


def test_the_sessions_are_those_of_the_noxfile() -> None:
    defined = re.findall(
        r"^@nox\.session.*\ndef (\w+)", (REPOSITORY / "noxfile.py").read_text(), re.MULTILINE
    )
    table = CONTRIBUTING.partition("| Session |")[2].partition("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == defined


def test_whatever_the_way_of_a_run_names_is_there() -> None:
    way = CONTRIBUTING.partition("This is how `migrate --data` goes")[2].partition("\n## ")[0]
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in (REPOSITORY / "mpt_tool").rglob("*.py")
    )
    for name in re.findall(r"`([A-Za-z_.]+)`", way):
        *modules, last = name.split(".")
        folder = REPOSITORY.joinpath("mpt_tool", *(each for each in modules if each.islower()))
        is_there = folder.with_suffix(".py").exists() or folder.is_dir()
        is_module = folder.joinpath(f"{last}.py").exists() or folder.joinpath(last).is_dir()
        assert is_there, name
        assert is_module or re.search(rf"^ *(class|def) {last}\b|\b{last}\b = ", code, re.MULTILINE)
