"""The pictures of docs/images: whole, for light and dark, shown somewhere, and still so."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from support.pages import PAGES, REPOSITORY

from mpt_tool.cli import app

IMAGES = REPOSITORY / "docs" / "images"
DRAWN = sorted(IMAGES.glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"
# Below the baseline there is room for descenders and underscores.
DESCENT = 6
GROUP: Any = typer.main.get_command(app)


def texts(path: Path) -> list[Mapping[str, str]]:
    """The attributes of each text of a picture, and itself as `text`."""
    root = ElementTree.fromstring(path.read_bytes())
    return [{**each.attrib, "text": each.text or ""} for each in root.iter(f"{SVG}text")]


def shown(path: Path) -> str:
    return " ".join(each["text"] for each in texts(path))


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name)
def test_nothing_in_a_picture_is_clipped(path: Path) -> None:
    root = ElementTree.fromstring(path.read_bytes())
    _, _, width, height = map(float, root.attrib["viewBox"].split())

    assert "clip" not in path.read_text(encoding="utf-8")
    _title, *others = texts(path)
    for each in others:
        assert float(each["x"]) + float(each["textLength"]) < width, each["text"]
        assert float(each["y"]) + DESCENT < height, each["text"]


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name)
def test_a_picture_asks_for_nothing_from_elsewhere(path: Path) -> None:
    content = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert re.findall(r"https?://|url\(|@import|href|<script", content) == []


def test_each_picture_is_there_for_light_and_dark_and_says_the_same() -> None:
    for path in DRAWN:
        light, dark = (
            path.with_name(re.sub("(light|dark)", scheme, path.name))
            for scheme in ("light", "dark")
        )
        assert shown(light) == shown(dark)
    assert {path.stem.rpartition("-")[2] for path in IMAGES.glob("*.png")} == {"light", "dark"}


def test_pages_show_pictures_that_are_there_and_no_picture_is_forgotten() -> None:
    found = set()
    for page in PAGES:
        for name in re.findall(r"images/([\w-]+\.\w+)", page.read_text(encoding="utf-8")):
            assert (IMAGES / name).exists(), f"{page.name}: {name}"
            found.add(name)

    # One that follows light and dark names both, elsewhere the light one is shown.
    shown = {re.sub("(light|dark)", "light", name) for name in found}
    assert {path.name for path in IMAGES.glob("*-light.*")} - shown == set()


def test_the_picture_of_the_help_shows_all_commands_there_are() -> None:
    help_ = " ".join(shown(IMAGES / "help-light.svg").split())

    for name, command in GROUP.commands.items():
        assert f"{name} {command.get_short_help_str(80)}" in help_


def test_the_film_ends_with_what_was_stopped_applied() -> None:
    film = " ".join(shown(IMAGES / "stop-light.svg").split())

    assert re.search(r"Resuming write_letters after 5\d of 120 items", film)
    assert film.index("Resuming") < film.rindex("Applied migration: write_letters")
