"""What the README, docs/ and examples/ tell and show is so."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest
import typer
from support.airtable_server import AirtableServer
from support.mpt_server import MPTServer
from support.pages import PAGES, README, REPOSITORY, blocks, headings, page, section
from support.project import HISTORY_FILE, Project, record

from mpt_tool.cli import app
from mpt_tool.clients.settings import PlatformSettings
from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.errors import ExitCode
from mpt_tool.records import Attempt, ErrorReport
from mpt_tool.settings import Section, Settings, is_secret, variable_names
from mpt_tool.storage.airtable.history import COLUMNS as HISTORY_COLUMNS
from mpt_tool.storage.airtable.settings import StoreSettings
from mpt_tool.storage.repository import StateRepository

EXAMPLE = REPOSITORY / "examples" / "extension"
USAGE = page("usage")
BATCHES = page("batch-migrations")
CONTRIBUTING = page("contributing")
CONFIGURATION = page("configuration")
OPERATIONS = page("operations")
STORES = page("stores")
BASE = "appStateOfTheTests"
RECORD_KEYS = ("migration_id", "order_id", "started_at", "applied_at", "type", "version")

# What Typer makes of the app: a group, which has commands.
GROUP: Any = typer.main.get_command(app)

_COMMAND = re.compile(r"`(mpt-tool [^`]*)`|^(mpt-tool [^\[\n]+)$|\[(mpt-tool, .+)\]$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def code_blocks(page: Path, heading: str = "") -> list[tuple[str, str]]:
    """Return (language, text) of the blocks of a page, or of its section with this heading."""
    text = page.read_text(encoding="utf-8")
    found = blocks(section(text, heading) if heading else text)
    return [(block.language, block.text) for block in found]


def commands(block: str) -> list[list[str]]:
    """Return the arguments of each `mpt-tool` command of a block."""
    return [line.split()[1:] for line in block.splitlines() if line.startswith("mpt-tool ")]


def documented_json(command: str) -> list[dict[str, Any]]:
    """Return the documents of a command that the page on usage shows, in their order."""
    documents = [json.loads(text) for language, text in code_blocks(USAGE) if language == "json"]
    return [document for document in documents if document["command"] == command]


def first_cells(page: Path, heading: str) -> set[str]:
    """Return the code in the first cells of the tables of a page's section."""
    part = section(page.read_text(encoding="utf-8"), heading)
    rows = re.findall(r"^\| ([^|]*) \|", part, re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([^`]*)`", row)}


@pytest.fixture
def example(project: Project) -> Project:
    """The example as in a fresh clone: without what its runs leave behind."""
    left_behind = (EXAMPLE / ".gitignore").read_text(encoding="utf-8").split()
    ignored = shutil.ignore_patterns("__pycache__", *left_behind)
    shutil.copytree(EXAMPLE, project.root, ignore=ignored, dirs_exist_ok=True)
    return project


def test_the_examples_migrations_run_as_they_stand(example: Project) -> None:
    [(_, block)] = code_blocks(EXAMPLE / "README.md")
    before = set(example.tree())

    results = [example.run(*arguments) for arguments in commands(block)]

    assert [result.exit_code for result in results] == [0, 0, 0]
    assert {record["migration_id"]: record["type"] for record in example.state().values()} == {
        "create_products": "schema",
        "import_products": "data",
        "fetch_prices": "data",
    }
    assert results[-1].stdout.count(" applied  2") == len(example.state())
    with closing(connect(example.root / "catalogue.db")) as database:
        assert database.execute(
            "SELECT sku, price_cents FROM products ORDER BY sku"
        ).fetchall() == [
            ("BKP-001", 1900),
            ("BKP-005", 7900),
            ("MON-001", 4500),
        ]
    new = {name for name in set(example.tree()) - before if "__pycache__" not in name}
    ignored = (EXAMPLE / ".gitignore").read_text(encoding="utf-8").split()
    assert {name for name in new if not any(fnmatch(name, each) for each in ignored)} == set()


def test_the_examples_migrations_may_run_again(example: Project) -> None:
    for _ in range(2):
        for action in ("--schema", "--data"):
            result = example.run("migrate", action)
            assert result.exit_code == 0, result.stderr
        example.state_file.unlink()


@pytest.fixture(params=["local", "airtable"])
def store(request: pytest.FixtureRequest, project: Project) -> Iterator[str]:
    """The store that the project uses, ready as the README says."""
    if request.param == "local":
        yield "local"
        return
    with AirtableServer() as server:
        server.add_base(BASE)
        exported = [
            line.removeprefix("export ").split("=")
            for _, block in code_blocks(README, "On Airtable")
            for line in block.splitlines()
            if line.startswith("export ")
        ]
        values = {"pat...": server.token, "app...": BASE}
        project.environment = {name: values.get(value, value) for name, value in exported}
        project.environment["STORAGE_AIRTABLE_ENDPOINT_URL"] = server.url
        [arguments] = commands(code_blocks(README, "On Airtable")[-1][1])
        assert project.run(*arguments).exit_code == 0
        yield "airtable"


def test_the_readmes_first_migration_runs(project: Project, store: str) -> None:
    outputs = []
    for language, block in code_blocks(README, "A first migration in a minute"):
        if language == "python":
            [script] = project.migrations.iterdir()
            script.write_text(block, encoding="utf-8")
        for arguments in commands(block):
            result = project.run(*arguments)
            assert result.exit_code == 0, result.stderr
            outputs.append(result.stdout + result.stderr)

    created, dry_run, run, table = outputs
    assert "_say_hello.py has been created." in created
    assert "say_hello" in dry_run
    assert "Hello, platform" in run
    assert re.search(r"say_hello +data +applied", table)
    assert project.state_file.exists() == (store == "local")


def test_the_documented_list_pending_and_dry_run_are_what_is_written(example: Project) -> None:
    [listed], [pending] = documented_json("list"), documented_json("pending")
    [dry_run] = documented_json("data")
    example.write_state(
        *(
            {key: migration[key] for key in RECORD_KEYS}
            for migration in listed["migrations"]
            if migration["status"] != "not applied"
        )
    )

    result = example.run("pending", "--json")

    assert (result.exit_code, result.json()) == (ExitCode.PENDING, pending)
    assert example.run("migrate", "--list", "--json").json() == listed
    assert example.run("migrate", "--data", "--dry-run", "--json").json() == dry_run


def test_the_documented_history_is_what_is_written(project: Project) -> None:
    [history] = documented_json("history")
    lines = [json.dumps(attempt) for attempt in history["attempts"]]
    project.file(HISTORY_FILE, "\n".join(lines) + "\n")

    assert project.run("history", "--json").json() == history


def test_the_documented_check_and_failure_are_what_is_written(project: Project) -> None:
    findings, strict_findings, failure = documented_json("check")

    project.write_state()
    assert project.run("migrate", "--check", "--json").json() == failure

    script = project.file("migrations/20260120080000_set_currency.py", "class Migration\n")
    result = project.run("migrate", "--check", "--json")

    assert result.json() == findings
    assert result.exit_code == 1

    script.unlink()
    project.write_state(record("drop_prices", applied_at="2026-01-18T12:30:00+00:00"))

    assert project.run("migrate", "--check", "--strict", "--json").json() == strict_findings


@pytest.mark.parametrize("applied", [False, True])
def test_the_documented_gate_tells_what_is_pending(project: Project, applied: bool) -> None:
    [code] = [text for language, text in code_blocks(OPERATIONS) if language == "python"]
    project.script("add_region", type="schema", order_id=1)
    project.script("import_regions", type="data", order_id=2)
    if applied:
        applied_at = "2026-01-18T12:30:00+00:00"
        project.write_state(record("add_region", type="schema", order_id=1, applied_at=applied_at))

    result = project.execute([sys.executable, "-c", code])

    assert result.stdout == ("ready\n" if applied else "['add_region']\n")


def test_the_documented_rehearsal_is_what_is_written(project: Project) -> None:
    script = code_blocks(BATCHES, "A first one")[1][1]
    project.file("migrations/20260201090000_set_vendor_ids.py", script)
    [text] = [text for _, text in code_blocks(BATCHES) if "--rehearse --limit 3\nWould" in text]
    [document] = documented_json("batch")
    with MPTServer() as platform:
        for number in range(1, 5):
            vendor = {"externalIds": {"vendor": "2"}} if number == 2 else {}
            platform.add_agreement(f"AGR-0000-0000-{number:04}", **vendor)
        project.environment = platform.settings
        command = ["batch", "set_vendor_ids", "--rehearse", "--limit"]

        written, as_json = project.run(*command, "3"), project.run(*command, "1", "--json")

    assert f"$ mpt-tool {' '.join(command)} 3\n{written.stdout}" == text
    assert as_json.json() == document


def test_every_note_is_documented(project: Project) -> None:
    project.script("late", order_id=1)
    project.script("X", order_id=2)
    project.script("bad-name", order_id=3)
    project.script("twin", order_id=4)
    project.script("twin", order_id=5)
    project.script("gone", order_id=6).rename(project.root / "gone.py")
    project.write_state(
        record("X", order_id=2, applied_at="2026-01-18T12:30:00+00:00"),
        record("gone", order_id=6),
    )

    migrations = project.run("migrate", "--list", "--json").json()["migrations"]

    notes = {note for migration in migrations for note in migration["notes"]}
    assert len(notes) == 4
    assert notes - first_cells(OPERATIONS, "Every note") == set()


def test_every_status_outcome_and_key_of_the_history_is_documented() -> None:
    keys = {*Attempt.model_fields, *HISTORY_COLUMNS}
    of_history = first_cells(OPERATIONS, "The history")

    assert set(MigrationStatusEnum) - first_cells(OPERATIONS, "Every status") == set()
    assert {*OutcomeEnum, *keys} - of_history == set()
    text = OPERATIONS.read_text(encoding="utf-8")
    assert {key for key in ErrorReport.model_fields if f"`{key}`" not in text} == set()


def test_every_member_of_a_backend_is_documented() -> None:
    members = {name for name in vars(StateRepository) if not name.startswith("_")}
    documented = {cell.partition("(")[0] for cell in first_cells(STORES, "A backend of your own")}

    assert members - documented == set()


def test_every_exit_code_is_documented() -> None:
    text = USAGE.read_text(encoding="utf-8")

    assert [code for code in ExitCode if f"\n| {code} |" not in text] == []


@pytest.mark.parametrize("section", [Settings, PlatformSettings, StoreSettings])
def test_every_setting_is_documented(section: type[Section]) -> None:
    text = CONFIGURATION.read_text(encoding="utf-8")
    for field in section.model_fields:
        for name in variable_names(section, field):
            assert f"| `{name}` |" in text
        key = f"{section.table}.{field}".strip(".").replace("_", "-")
        assert (f"| `{key}` |" in text) is not is_secret(section, field)


def test_every_command_and_option_is_documented() -> None:
    text = USAGE.read_text(encoding="utf-8")
    options = {
        option
        for command in (GROUP, *GROUP.commands.values())
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("-")
    }

    assert {name for name in GROUP.commands if f"\n## `{name}`\n" not in text} == set()
    assert {option for option in options if f"`{option}" not in text} == set()


def test_the_documented_test_command_is_what_ci_runs() -> None:
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")

    *_, (_, command) = code_blocks(README, "Two commands")
    [(_, the_same), *_] = code_blocks(CONTRIBUTING, "Set up and check")

    assert command == the_same
    assert f'\n{command.strip()} 2>&1 | tee "$log"\n' in ci


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_documented_commands_have_options_that_exist(page: Path) -> None:
    written = ("".join(found) for found in _COMMAND.findall(page.read_text(encoding="utf-8")))
    for line in written:
        words = shlex.split(line.replace(", ", " "), comments=True)
        name = next((word for word in words[1:] if not word.startswith("-")), None)
        if name not in (None, "COMMAND"):
            GROUP.commands[name].make_context(name, words[words.index(name) + 1 :])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page

        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs name them."""
    found = headings(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}
