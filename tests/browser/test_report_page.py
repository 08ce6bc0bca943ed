"""The page of `mpt-tool report` in a real browser: what it shows, asks for and complains of."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.histories import write_history
from support.project import Project

sync_api = pytest.importorskip("playwright.sync_api")
axe_api = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if not CHROMIUM:
    pytest.skip("there is no Chromium", allow_module_level=True)

ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
COUNTS = (0, 1, 5_000)
WIDTHS = (360, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The page of a project with so many attempts, by their number."""
    written = {}
    for count in COUNTS:
        project = Project(tmp_path_factory.mktemp(f"attempts-{count}"))
        write_history(project, count, migrations=min(max(count, 1), 200))
        assert project.run("report", "report.html").exit_code == 0
        written[count] = project.root / "report.html"
    return written


class Look:
    """A page, and what it asked for and complained of while it was looked at."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str, script: bool) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def shown(self, selector: str) -> int:
        """How many elements are visible."""
        return int(self.page.locator(f"{selector}:visible").count())

    def uncheck(self, *labels: str) -> None:
        for label in labels:
            self.page.get_by_label(label, exact=True).uncheck()


@pytest.fixture
def look(browser: Any) -> Iterator[Any]:
    looks: list[Look] = []

    def look(path: Path, width: int = 1280, scheme: str = "light", script: bool = True) -> Look:
        looks.append(Look(browser, path, width, scheme, script))
        return looks[-1]

    yield look
    for each in looks:
        each.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", COUNTS)
def test_the_page_opens_without_a_message_a_request_or_a_line_that_is_too_long(
    look: Any, pages: dict[int, Path], count: int, width: int, scheme: str
) -> None:
    seen = look(pages[count], width, scheme)

    assert (seen.said, seen.requests) == ([], [pages[count].as_uri()])
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.shown(".history tbody tr") == count


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_accessible(look: Any, tmp_path: Path, width: int, scheme: str) -> None:
    project = Project(tmp_path)
    write_history(project, 21)
    project.script("later", type="schema", order_id=20270101000000)
    project.run("report", "report.html")
    seen = look(project.root / "report.html", width, scheme)
    for summary in seen.page.locator("summary").all():
        summary.click()

    found = axe_api.Axe().run(seen.page).response

    assert [violation["id"] for violation in found["violations"]] == []
    assert {"color-contrast", "label"} <= {each["id"] for each in found["passes"]}


def test_light_and_dark_differ(look: Any, pages: dict[int, Path]) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = (look(pages[1], scheme=each).page.evaluate(colour) for each in ("light", "dark"))

    assert (light, dark) == ("rgb(246, 248, 250)", "rgb(13, 17, 23)")


def test_boxes_choose_what_is_shown_without_a_script(look: Any, pages: dict[int, Path]) -> None:
    seen = look(pages[5_000], script=False)
    rows, runs = ".history tbody tr", ".run"
    assert seen.shown(runs) == 10

    seen.uncheck("applied", "failed", "stopped", "found dead")

    interrupted = seen.page.locator(f"{rows}:visible td:nth-child(4)").all_inner_texts()
    assert set(interrupted) == {"stopped"}
    assert len(interrupted) == 5_000 // 7
    assert 0 < seen.shown(runs) < 10
    assert seen.shown(".none") == 1

    seen.uncheck("data", "schema")

    assert (seen.shown(rows), seen.shown(runs), seen.shown(".none")) == (0, 0, 2)


def test_all_is_reached_with_the_keyboard_and_seen_to_be(look: Any, pages: dict[int, Path]) -> None:
    seen, reached, element = look(pages[1]), [], "document.activeElement"
    expected = ["skip", "schema", "applied", "scroll", "scroll"]
    for _ in expected:
        seen.page.keyboard.press("Tab")
        assert seen.page.evaluate(f"getComputedStyle({element}).outlineStyle") == "solid"
        name = f"{element}.closest('label')?.innerText.trim() || {element}.className"
        reached.append(seen.page.evaluate(name))
        seen.page.keyboard.press("Space")

    assert reached == expected
    assert seen.shown(".history tbody tr") == 0
