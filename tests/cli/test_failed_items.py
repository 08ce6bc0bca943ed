"""`mpt-tool failures`: the failed items of a batch migration, each with its error."""

import csv
import io
import json

import pytest
from support.batches import MIGRATION, numbers
from support.project import HISTORY_FILE, Project, record

MOMENT = "2026-01-13T18:05:20+00:00"
ITEMS: list[dict[str, object]] = [
    {"cursor": "AGR-1", "error": "400 Bad Request, twice"},
    {"cursor": ["AGR-1", 7], "error": 'it said "no"\nand\x1b[2J more'},
    {"cursor": 8, "error": "ValueError"},
]


def keep_failed(project: Project, *items: dict[str, object]) -> None:
    """Let the project have a batch migration of which these items failed."""
    checkpoint = {"cursor": 9, "processed": 1, "failed": len(items), "since": MOMENT}
    project.write_state(record("shop", checkpoint=checkpoint))
    kept = {"run_id": "1", "migration_id": "shop", "since": MOMENT, "first": 0, "failed": items}
    project.file(HISTORY_FILE, json.dumps(kept) + "\n")


def test_all_items_are_shown_with_their_errors_each_on_a_line(project: Project) -> None:
    keep_failed(project, *ITEMS)
    before = project.tree()

    result = project.run("failures", "shop")

    assert (result.exit_code, result.stderr) == (0, "")
    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["item", "error"]
    assert [line.split(maxsplit=1)[0] for line in (lines[0], lines[2])] == ["AGR-1", "8"]
    assert lines[0].endswith("  400 Bad Request, twice")
    assert lines[1].endswith('  it said "no"\\nand\\x1b[2J more')
    assert project.tree() == before


def test_the_failures_have_a_json_form(project: Project) -> None:
    keep_failed(project, *ITEMS)

    result = project.run("failures", "shop", "--json")

    envelope = {"version": 1, "command": "failures", "migration_id": "shop"}
    assert (result.exit_code, result.json()) == (0, {**envelope, "failures": ITEMS})


def test_the_failures_have_a_csv_form_in_which_each_is_a_line(project: Project) -> None:
    keep_failed(project, *ITEMS)

    result = project.run("failures", "shop", "--csv")

    assert len(result.stdout.splitlines()) == len(ITEMS) + 1
    assert list(csv.reader(io.StringIO(result.stdout))) == [
        ["cursor", "error"],
        ["AGR-1", "400 Bad Request, twice"],
        ['["AGR-1", 7]', 'it said "no"\\nand\\x1b[2J more'],
        ["8", "ValueError"],
    ]


@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_what_a_spreadsheet_would_take_for_a_formula_is_marked_as_text(
    project: Project, sign: str
) -> None:
    formula = f'{sign}HYPERLINK("http://else.where")'
    keep_failed(project, {"cursor": formula, "error": formula}, {"cursor": 1, "error": "\t=1+1"})

    result = project.run("failures", "shop", "--csv")

    lines = list(csv.reader(io.StringIO(result.stdout)))
    assert lines[1:] == [[f"'{formula}", f"'{formula}"], ["1", "\\t=1+1"]]


@pytest.mark.parametrize(
    ("option", "stdout"),
    [
        ([], "Migration shop has no failed items.\n"),
        (["--csv"], "cursor,error\n"),
        (
            ["--json"],
            json.dumps(
                {"version": 1, "command": "failures", "migration_id": "shop", "failures": []},
                indent=2,
            )
            + "\n",
        ),
    ],
)
@pytest.mark.parametrize("known_by", ["script", "record", "attempt"])
def test_a_migration_without_failures_has_none(
    project: Project, known_by: str, option: list[str], stdout: str
) -> None:
    match known_by:
        case "script":
            project.script("shop")
        case "record":
            project.write_state(record("shop"))
        case _:
            project.script("shop").rename(project.root / "gone.py")
            run = {"run_id": "r", "user": "u", "host": "h", "process": 1, "tool_version": "7.0.0"}
            what = {"migration_id": "shop", "order_id": 1, "type": "data", "outcome": "failed"}
            project.file(HISTORY_FILE, json.dumps({**run, **what}) + "\n")

    result = project.run("failures", "shop", *option)

    assert (result.exit_code, result.stdout) == (0, stdout)


def test_an_id_that_nothing_has_is_an_error(project: Project) -> None:
    project.script("shop")

    result = project.run("failures", "shed")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.error == "Error running failures command: Migration shed not found\nAborted.\n"


def test_a_run_that_collects_leaves_its_failures_until_they_are_retried(project: Project) -> None:
    body = "assert number % 2 or os.path.exists('mended'), f'no. {number} is even'"
    find = "def find(self, cursor): return cursor"
    numbers(project, body, total=4, methods=find, on_error="'collect'")
    project.run("migrate", "--data")

    kept = project.run("failures", MIGRATION, "--json").json()["failures"]
    project.file("mended", "")
    retried = project.run("batch", MIGRATION, "--retry-failed")

    assert [item["cursor"] for item in kept] == [2, 4]
    assert "no. 2 is even" in kept[0]["error"]
    assert retried.exit_code == 0, retried.stderr
    assert project.run("failures", MIGRATION, "--json").json()["failures"] == []
