"""The status table at every width."""

import io
import re

import pytest
from rich.console import Console

from mpt_tool.view.tables import _rich_table

COLUMNS = ["order id", "id", "type", "status", "started", "applied", "duration", "version", "note"]
ROWS = [
    ["20260113101500", "bad-name", "data", "not applied", "-", "-", "-", "-", "malformed name"],
    [
        "20260113180013",
        "synchronise_agreements_with_the_catalogue",
        "schema",
        "applied",
        "2026-01-13 18:05:20Z",
        "2026-01-13 18:05:23Z",
        "3 min 12 s",
        "1.4.0",
        "duplicate id; 2 rows in the table",
    ],
]


@pytest.mark.parametrize("width", range(32, 200))
def test_the_table_fits_the_width_and_cuts_nothing_that_it_shows(width: int) -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    console = Console(file=io.StringIO(), width=width, color_system=None)
    table = _rich_table(COLUMNS, rows, width)

    console.print(table)

    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    letters = re.sub(r"\s", "", console.file.getvalue())
    for column in table.columns:
        cells = list(column.cells)
        assert [str(cell) for cell in cells] == [row[str(column.header)] for row in rows]
        # Folded over several lines its letters stand between those of other cells, in order.
        for cell in cells:
            assert re.search(".*?".join(map(re.escape, re.sub(r"\s", "", str(cell)))), letters)


def test_a_wide_terminal_has_each_row_on_one_line() -> None:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    console = Console(file=io.StringIO(), width=250, color_system=None)

    console.print(_rich_table(COLUMNS, rows, 250))

    assert isinstance(console.file, io.StringIO)
    lines = [re.split(r"  +", line.strip()) for line in console.file.getvalue().splitlines()]
    assert [line for line in lines if len(line) > 1] == [COLUMNS, *ROWS]
