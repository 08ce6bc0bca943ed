"""A search of the site that was built finds what is searched for; `nox -s docs` runs this."""

import html
import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from generated import GROUP, all_settings
from messages import BLANK, gathered

from mpt_tool.errors import ExitCode
from mpt_tool.settings import variable_names

REPOSITORY = Path(__file__).parents[1]
INDEX = json.loads((REPOSITORY / "site" / "search" / "search_index.json").read_bytes())
REFERENCE = (REPOSITORY / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
# As the search of the page takes both what is typed and what is there apart.
SEPARATOR = re.compile(INDEX["config"]["separator"])

OPTIONS = {
    option
    for command in (GROUP, *GROUP.commands.values())
    for parameter in command.params
    for option in parameter.opts
    if option.startswith("-")
}
VARIABLES = {
    name for section, field in all_settings().values() for name in variable_names(section, field)
} | {"NO_COLOR", "FORCE_COLOR"}


def public_names(module: str) -> list[str]:
    """Return the names that a module lists as its own, or else those that it defines."""
    of = vars(import_module(module))
    listed = of.get("__all__") or [
        name
        for name, value in of.items()
        if name[0] != "_" and getattr(value, "__module__", "") == module
    ]
    return [f"{module}.{name}" for name in listed]


MODULES = re.findall(r"^::: (\S+)$", REFERENCE, re.MULTILINE)
# Of these the names that are shown are chosen on the page.
CHOSEN = {"mpt_tool.cli", "mpt_tool.settings"}
PUBLIC = [name for module in MODULES if module not in CHOSEN for name in public_names(module)]
PUBLIC += [
    name.strip()
    for names in re.findall(r"members: \[(.*)\]", REFERENCE)
    for name in names.split(",")
]


def words_of(text: str) -> list[str]:
    return [word for word in SEPARATOR.split(text.lower()) if word]


@cache
def sections() -> list[tuple[str, str]]:
    """Return the address of each part of a page, and its words with a space around each."""
    return [
        (each["location"], f" {' '.join(words_of(html.unescape(text)))} ")
        for each in INDEX["docs"]
        for text in [re.sub(r"<[^>]+>", "", each["title"] + " " + each["text"])]
    ]


def found(text: str) -> list[str]:
    """Return where the words of a text stand, one after the other; a blank is anything."""
    parts = [f" {' '.join(words_of(part))} " for part in text.split(BLANK) if words_of(part)]
    return [location for location, words in sections() if all(part in words for part in parts)]


@pytest.mark.parametrize("name", sorted(GROUP.commands))
def test_a_search_for_a_command_finds_its_page(name: str) -> None:
    assert f"reference/commands/#mpt-tool-{name}" in found(f"mpt-tool {name}")


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_a_search_for_an_option_finds_the_page_of_its_command(option: str) -> None:
    assert any(each.startswith("reference/commands/#") for each in found(option))


@pytest.mark.parametrize("variable", sorted(VARIABLES))
def test_a_search_for_a_variable_finds_what_it_means(variable: str) -> None:
    assert any(each.startswith("reference/configuration/#") for each in found(variable))


@pytest.mark.parametrize("code", [*ExitCode, 129, 143])
def test_a_search_for_an_exit_code_finds_what_to_do(code: int) -> None:
    assert "reference/exit-codes/" in found(f"{int(code)}")


@pytest.mark.parametrize("name", PUBLIC)
def test_a_search_for_a_public_name_finds_its_docstring(name: str) -> None:
    assert any(each.startswith("reference/python/#") for each in found(name.rpartition(".")[2]))


def test_a_search_for_a_message_finds_it() -> None:
    lost = [words for _, words in gathered() if not found(words)]

    assert lost == []


def test_a_search_for_a_message_of_the_troubleshooting_finds_it() -> None:
    page = (REPOSITORY / "docs" / "how-to" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = [
        words
        for cell in re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE)
        for words in re.findall(r"`([^`]+)`", cell)
    ]

    assert len(messages) > 50
    lost = [
        words
        for words in messages
        if not any(each.startswith("how-to/troubleshooting/") for each in found(words))
    ]
    assert lost == []


def test_the_search_is_asked_in_the_form_that_search_js_looks_for() -> None:
    [bundle] = (REPOSITORY / "site" / "assets" / "javascripts").glob("bundle.*.js")

    assert re.search(r"\{type:2,data:\w+\}", bundle.read_text(encoding="utf-8"))


def test_nothing_of_the_site_is_fetched_from_elsewhere() -> None:
    pages = (REPOSITORY / "site").rglob("*.html")

    for page in pages:
        text = page.read_text(encoding="utf-8")
        fetched = re.findall(
            r"<(?:script|img|link)[^>]* (?:src|href)=\"?(https?://[^\s\">]+)", text
        )
        assert fetched == [], page
