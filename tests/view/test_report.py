"""`mpt-tool report`: what stands in it, where it is written, and that nothing in it is markup."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support.airtable_server import BASE, AirtableServer
from support.batches import numbers
from support.histories import write_history
from support.pages import text_of
from support.project import COMMAND, HISTORY_FILE, STATE_FILE, Project, record

from mpt_tool.enums import MigrationTypeEnum, OutcomeEnum
from mpt_tool.records import Attempt, ErrorReport, FailedItem, MigrationRecord
from mpt_tool.scripts.plan import Entry
from mpt_tool.view.report import html, markdown
from mpt_tool.view.results import Report
from mpt_tool.wording import printable

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
# Left open, as HTML allows: each ends where the next one begins, or what is around it ends.
MAY_STAY_OPEN = {"td", "th", "tr", "thead"}
EMPTY = {"meta", "input"}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "datetime"),
    *("aria-labelledby", "aria-label", "role", "tabindex", "scope", "style", "colspan"),
    *("type", "autocomplete", "checked", "viewbox", "preserveaspectratio", "x", "y"),
    *("width", "height"),
}


class Page(HTMLParser):
    """What a page holds: its tags, its attributes, the text of each element that has an id.

    It fails if one closes that is not open.
    """

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open[-1] != tag:
            assert self._open.pop() in MAY_STAY_OPEN
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)


def report_of(text: str, count: int = 1) -> Report:
    """A report in which everything that others wrote is this text."""
    error = ErrorReport(kind=text, message=text, frames=(text, text))
    attempts = [
        Attempt(
            run_id=f"{number}",
            user=text,
            host=text,
            process=1,
            version=text,
            tool_version="7.0.0",
            migration_id=text,
            order_id=1,
            type=MigrationTypeEnum.DATA,
            outcome=OutcomeEnum.FAILED,
            started_at=NOW,
            ended_at=NOW,
            seconds=0.0,
            target=text,
            outcomes={text: 1},
            error=error.model_copy(update={"cause": error}),
        )
        for number in range(count)
    ]
    failed = MigrationRecord(
        migration_id=text,
        order_id=1,
        started_at=None,
        applied_at=None,
        type=MigrationTypeEnum.DATA,
        targets={text: {}},
    )
    entry = Entry(1, text, None, failed, MigrationTypeEnum.DATA, (text,), targets=(text,))
    name = f"{text} ({text})"
    failures = {name: [FailedItem(cursor=text, error=text)]}
    return Report(text, "mpt-tool 7.0.0", NOW, [entry] * count, attempts, failures, [text])


FOREIGN = st.text(min_size=1) | st.text("|`*_[]()<>&\"'\\!~$#@:/=-aw. \n", min_size=1)


@given(FOREIGN)
def test_nothing_that_others_wrote_is_markup_on_the_page(text: str) -> None:
    page, harmless = Page(html.page(report_of(text))), Page(html.page(report_of("text")))

    assert page.tags == harmless.tags
    assert [name for name, _ in page.attributes] == [name for name, _ in harmless.attributes]
    assert {name for name, _ in page.attributes} <= ATTRIBUTES
    assert [value for _, value in page.attributes] == [value for _, value in harmless.attributes]
    shown = " ".join(printable(text).split())
    assert page.text.count(shown) >= 15


@given(FOREIGN)
def test_nothing_that_others_wrote_is_markup_in_markdown(text: str) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])

    rendered = Page(parser.render(f"| a |\n| --- |\n| x{markdown.text(text)}x |"))

    assert rendered.tags == {"table", "thead", "tbody", "tr", "th", "td"}
    assert rendered.text == " ".join(f"a x{printable(text)}x".split())


@given(FOREIGN)
def test_markdown_has_the_same_form_whatever_others_wrote(text: str) -> None:
    def form(report: Report) -> list[str]:
        parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
        parsed = parser.parse("\n".join(markdown.lines(report)))
        inline = (child.type for token in parsed for child in token.children or ())
        return [token.type for token in parsed] + [each for each in inline if each != "text"]

    assert form(report_of(text)) == form(report_of("text"))


@pytest.mark.parametrize("text", ["'<&>" * 600, "\U0001f600" * 600, "\x00|" * 600])
def test_neither_form_outgrows_what_takes_it(text: str) -> None:
    report = report_of(text, 2_000)

    page = html.page(report)

    assert len(page.encode()) <= html.LARGEST_PAGE
    assert "older attempts have no room here: mpt-tool history shows them." in page
    assert len("\n".join(markdown.lines(report)).encode()) < 1024 * 1024


def test_markdown_has_the_newest_fifty_attempts() -> None:
    text = "\n".join(markdown.lines(report_of("x", 60)))

    _, _, attempts = text.partition("### Newest attempts")
    assert attempts.partition("###")[0].count("| failed |") == 50


def test_the_page_has_the_first_twenty_failed_items_and_ten_newest_runs() -> None:
    report = report_of("x", 30)
    failures = {name: list(items) * 25 for name, items in report.failures.items()}

    page = html.page(replace(report, entries=report.entries[:1], failures=failures))

    assert "<summary>25 items failed</summary>" in page
    assert page.count("<li><code>x</code>: x</li>") == 20
    assert "<li>and 5 more</li>" in page
    assert page.count('<li class="run ') == 10


def test_five_thousand_attempts_are_all_on_the_page(project: Project) -> None:
    write_history(project, 5_000, migrations=200)

    result = project.run("report", "report.html")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Wrote report.html: 200 migrations, 5,000 attempts.\n"
    page = (project.root / "report.html").read_text(encoding="utf-8")
    assert len(page.encode()) <= 1_000_000
    _, history = page.split("<caption>History, newest first")
    assert history.count("<th scope=row>") == 5_000


def test_the_page_asks_nothing_of_anybody_and_runs_nothing(project: Project) -> None:
    write_history(project, 9)
    project.run("report", "report.html")

    content = (project.root / "report.html").read_text(encoding="utf-8")

    page = Page(content)
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    assert ("content", policy) in page.attributes
    assert page.tags.isdisjoint({"script", "link", "img", "iframe", "object", "form", "base"})
    assert [value for name, value in page.attributes if name == "href"] == ["#main"]
    assert not any(name.startswith("on") or name == "src" for name, _ in page.attributes)
    assert not re.search(r"url\(|@import|@font-face", content)


def test_headings_go_down_one_level_at_a_time_and_what_is_named_is_there(project: Project) -> None:
    write_history(project, 9)
    project.run("report", "report.html")

    content = (project.root / "report.html").read_text(encoding="utf-8")

    levels = [int(level) for level in re.findall(r"<h(\d)", content)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = re.findall(r' id="([^"]+)"', content)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', content)) <= set(ids)


@pytest.fixture
def told(project: Project) -> Project:
    """A project in which something is applied, failed, pending, and made for targets."""
    write_history(project, 3)
    project.script("later", type="schema", order_id=20270101000000, body="pass")
    project.script("for_products", order_id=20270102000000)
    targets = {
        "PRD-1": {"started_at": "2026-01-05T08:00:00Z", "applied_at": "2026-01-05T08:00:01Z"},
        "PRD-2": {"started_at": None, "applied_at": None},
    }
    state = list(project.state().values())
    project.write_state(*state, record("for_products", order_id=20270102000000, targets=targets))
    script = project.migrations / "20270102000000_for_products.py"
    body = script.read_text(encoding="utf-8")
    script.write_text(
        body.replace("    def run", "    targets = ('PRD-1', 'PRD-2')\n    def run"), "utf-8"
    )
    return project


TOLD = (
    "2 failed, 1 not applied yet, of 5 migrations.",
    # The root cause, where it arose, and the chain that led to it.
    "TimeoutError: no answer from api.example.com",
    "7_sync_prices.py:31 in write: response = self.post(agreement)",
    "RuntimeError: agreement AGR-0042 cannot be written",
    # Who, when, how long, from which version.
    "2026-01-05 08:01:00Z",
    "deploy@extension-7d9f8b6c5d-x2x4q",
    "3.0 s",
    "4.2.0",
    # What is pending, the targets, the outcomes of items.
    "later",
    "for_products (PRD-2)",
    "1 of 2 targets",
    "40 changed, 2 right already",
)


def test_the_page_tells_what_ran_what_failed_and_why_and_what_is_pending(told: Project) -> None:
    told.run("report", "report.html")

    page = Page((told.root / "report.html").read_text(encoding="utf-8"))

    assert [each for each in TOLD if each not in page.text] == []
    assert "PRD-1: applied 2026-01-05 08:00:01Z" in page.text


def test_markdown_on_stdout_tells_the_same(told: Project) -> None:
    result = told.run("report", "-")

    parser = MarkdownIt("commonmark").enable("table")
    text = Page(parser.render(result.stdout).replace("<hr />", "")).text
    assert [each for each in TOLD if each not in text] == []
    assert (result.exit_code, result.stderr) == (0, "")


def test_the_file_has_the_same_markdown_but_for_the_moment(told: Project) -> None:
    written = told.run("report", "-").stdout
    told.run("report", "report.md")

    def without_moment(text: str) -> str:
        return re.sub(r"As of \S+ \S+", "", text)

    content = (told.root / "report.md").read_text(encoding="utf-8")
    assert without_moment(content) == without_moment(written)


def test_what_is_written_is_told_as_json(told: Project) -> None:
    result = told.run("report", "report.html", "--json")

    expected = {"file": "report.html", "migrations": 5, "attempts": 3}
    assert result.json() == {"version": 1, "command": "report", **expected}


def test_an_empty_project_has_a_report(project: Project) -> None:
    assert project.run("report", "report.html").exit_code == 0

    page = Page((project.root / "report.html").read_text(encoding="utf-8"))
    assert "There are no migrations yet." in page.text
    assert "input" not in page.tags


def test_nothing_but_the_file_is_written(told: Project) -> None:
    before = told.tree()

    told.run("report", "report.html")
    told.run("report", "-")

    after = told.tree()
    assert after.keys() - before.keys() == {"report.html"}
    assert {name: after[name] for name in before} == before


def test_the_file_is_where_it_was_named_from(told: Project) -> None:
    (told.root / "backend").mkdir()

    result = told.run("report", "report.md", below="backend")

    assert result.stdout.startswith("Wrote backend/report.md: 5 migrations")
    assert (told.root / "backend" / "report.md").exists()


def _own(path: Any) -> None:
    path.write_text("# mpt-tool\n\nA file of somebody's own.\n", encoding="utf-8")


def _folder(path: Any) -> None:
    path.mkdir()


def test_items_that_failed_are_told(project: Project) -> None:
    odd = "if number % 2: raise ValueError(f'{number} is odd')"
    numbers(project, odd, total=4, on_error="'collect'")
    project.run("migrate", "--data")

    project.run("report", "report.html")

    page = Page((project.root / "report.html").read_text(encoding="utf-8"))
    assert re.search("2 items failed ?1: 1 is odd ?3: 3 is odd", page.text)


def test_a_store_without_a_history_is_told(told: Project, server: AirtableServer) -> None:
    told.environment = server.settings

    result = told.run("report", "-")

    assert result.exit_code == 0
    blank, note = result.stdout.splitlines()[-2:]
    assert blank == ""
    assert note.startswith(f"Note: There is no history: Airtable base {BASE}")


def test_the_documented_summary_is_written(told: Project) -> None:
    [command] = re.findall(r"^  run: (.+)$", text_of("report"), re.MULTILINE)
    path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
    variables = {"PATH": path, "GITHUB_STEP_SUMMARY": str(told.root / "summary")}

    result = told.execute(["bash", "-ec", command], env=variables)

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert "## Migrations of extension" in (told.root / "summary").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [_own, _folder])
@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_what_is_no_report_is_not_replaced(
    project: Project, make: Callable[[Any], None], name: str
) -> None:
    make(project.root / name)
    before = project.tree()

    result = project.run("report", name)

    assert result.exit_code == 1
    assert f"{name} is there and is no report: choose another name" in result.stderr
    assert project.tree() == before


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_an_earlier_report_and_an_empty_file_are_replaced(project: Project, name: str) -> None:
    path = project.root / name
    path.touch(mode=0o640)

    assert [project.run("report", name).exit_code for _ in range(2)] == [0, 0]

    assert path.stat().st_size > 100
    assert oct(path.stat().st_mode)[-3:] == "640"
    assert {entry.name for entry in project.root.iterdir()} == {name}


def test_where_nothing_can_be_written_is_said(project: Project) -> None:
    result = project.run("report", "missing/report.html")

    assert result.exit_code == 1
    assert "missing/report.html cannot be written: No such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report.txt"], "ends in neither .html nor .md; use - for Markdown on stdout"),
        (["summary"], "ends in neither .html nor .md; use - for Markdown on stdout"),
        (["-", "--json"], "- and --json exclude each other"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_wrong_usage_is_said(project: Project, arguments: list[str], message: str) -> None:
    result = project.run("report", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_a_history_that_cannot_be_read_stops_the_report(project: Project) -> None:
    (project.root / HISTORY_FILE).mkdir()
    project.file(STATE_FILE, json.dumps({}))

    result = project.run("report", "report.html")

    assert result.exit_code == 1
    assert not (project.root / "report.html").exists()
