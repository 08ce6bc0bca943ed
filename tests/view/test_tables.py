"""Tables at every width: what they show there, and in how many columns."""

import io
import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from mpt_tool.enums import MigrationTypeEnum, OutcomeEnum
from mpt_tool.records import Attempt, FailedItem, MigrationRecord
from mpt_tool.scripts import plan
from mpt_tool.view import tables
from mpt_tool.wording import printable, timestamp

DATA, SCHEMA = MigrationTypeEnum.DATA, MigrationTypeEnum.SCHEMA
BEGAN = datetime(2026, 1, 13, 18, 5, 20, tzinfo=UTC)
TIMES = ("started", "applied", "duration")
WORDS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


class Screen(io.TextIOWrapper):
    """What a terminal is told to show."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode().splitlines()


def migration(
    migration_id: str,
    number: int = 0,
    type_: MigrationTypeEnum = DATA,
    *,
    is_applied: bool = True,
    version: str | None = None,
    note: str = "",
) -> plan.Entry:
    record = MigrationRecord(
        migration_id=migration_id,
        order_id=20260113180013 + number,
        type=type_,
        started_at=BEGAN + timedelta(days=number) if is_applied else None,
        applied_at=BEGAN + timedelta(days=number, seconds=3) if is_applied else None,
        version=version,
    )
    return plan.Entry(record.order_id, migration_id, None, record, type_, (note,) if note else ())


def attempt(
    migration_id: str, number: int = 0, *, host: str = "pod-1", kind: MigrationTypeEnum = DATA
) -> Attempt:
    return Attempt(
        run_id="1",
        user="app",
        host=host,
        process=1,
        version="1.4.0",
        tool_version="7.0.0",
        migration_id=migration_id,
        order_id=number,
        type=kind,
        outcome=OutcomeEnum.APPLIED,
        started_at=BEGAN + timedelta(days=number),
        ended_at=BEGAN + timedelta(days=number, seconds=3),
        seconds=3 + number,
    )


def on_screen(write: Callable[[TextIO], None], columns: int) -> list[str]:
    """Return the lines that are written to a terminal of so many columns, without colour."""
    screen = Screen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        patch.setenv("COLUMNS", str(columns))
        write(screen)
    return screen.lines


def listed(entries: Sequence[plan.Entry], columns: int) -> list[str]:
    return on_screen(lambda screen: tables.entries_table(entries, TIMES, screen), columns)


def attempted(attempts: Sequence[Attempt], columns: int) -> list[str]:
    return on_screen(lambda screen: tables.history_table(attempts, screen), columns)


def heading(lines: Sequence[str]) -> list[str]:
    return re.split(r"  +", lines[0].strip())


@pytest.mark.parametrize("outcome", OutcomeEnum)
def test_whatever_an_attempt_came_to_has_its_line(outcome: OutcomeEnum) -> None:
    lines = attempted([attempt("sync").model_copy(update={"outcome": outcome})], 120)

    assert outcome in "\n".join(lines)


ENTRIES = st.lists(
    st.builds(
        migration,
        st.from_regex(r"[^\W\d]\w{0,123}", fullmatch=True),
        st.integers(0, 400),
        st.sampled_from(MigrationTypeEnum),
        is_applied=st.booleans(),
        version=st.none() | WORDS,
        note=st.lists(WORDS, max_size=12).map(" ".join),
    ),
    min_size=1,
    max_size=6,
)


def assert_whole(texts: Collection[str], lines: Sequence[str], columns: int) -> None:
    """Check that no line is too wide, and that no text is broken that a line has room for."""
    assert max(map(cell_len, lines)) <= columns
    for text in texts:
        if cell_len(text) <= columns - 2:
            assert any(f" {text} " in f" {line} " for line in lines)
        else:
            letters = "".join(line.removeprefix("  ") for line in lines)
            assert text in letters


@given(ENTRIES, st.integers(60, 200))
def test_no_line_is_wider_than_the_terminal_and_no_id_nor_date_breaks(
    entries: list[plan.Entry], columns: int
) -> None:
    lines = listed(entries, columns)

    ids = {printable(entry.migration_id) for entry in entries}
    assert_whole(ids, lines, columns)
    if "applied" in heading(lines):
        moments = {entry.record.applied_at for entry in entries if entry.record}
        assert_whole({timestamp(each) for each in moments if each}, lines, columns)
    told = re.findall(r"No room for: ([^.]*)", " ".join(lines))
    if len(told):
        # What is left out for want of room is named; nothing else is.
        assert not {*told[0].split(", ")} & {*heading(lines)}


@given(
    st.lists(
        st.builds(
            attempt,
            st.from_regex(r"[a-z]\w{2,123}", fullmatch=True),
            st.integers(0, 400),
            host=WORDS,
            kind=st.sampled_from(MigrationTypeEnum),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(60, 200),
)
def test_the_history_keeps_when_each_attempt_began_whatever_the_width(
    attempts: list[Attempt], columns: int
) -> None:
    lines = attempted(attempts, columns)

    assert heading(lines)[0] == "started"
    began = {timestamp(each.started_at) for each in attempts if each.started_at}
    assert_whole(began | {each.migration_id for each in attempts}, lines, columns)


@given(
    st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=5),
    st.integers(20, 120),
)
def test_failed_items_of_any_text_fit_the_terminal(
    failed: list[tuple[str, str]], columns: int
) -> None:
    items = {"": [FailedItem(cursor=cursor, error=error) for cursor, error in failed]}

    lines = on_screen(lambda screen: tables.failures_table(items, screen), columns)

    assert max(map(cell_len, lines)) <= columns


@pytest.mark.parametrize("columns", range(8, 32))
def test_where_next_to_nothing_has_room_all_of_it_stands_one_below_the_other(columns: int) -> None:
    lines = listed([migration("sync_agreements"), migration("other")], columns)

    assert max(map(len, lines)) <= columns
    assert "sync_agreements" in "".join(line.removeprefix("  ") for line in lines)


def test_columns_that_are_empty_go_before_any_other() -> None:
    ids = ["sync_agreements_of_all_sellers", "import"]
    entries = [
        migration(each, is_applied=False, type_=type_)
        for each, type_ in zip(ids, MigrationTypeEnum, strict=True)
    ]

    lines = listed(entries, 80)

    assert heading(lines) == ["order id", "id", "type", "status"]
    assert "No room" not in "".join(lines)


def test_what_repeats_in_each_row_is_told_once_before_anything_is_left_out() -> None:
    entries = [migration(f"sync_agreements_{each}", each, version="1.4.0") for each in range(3)]

    lines = listed(entries, 88)

    assert heading(lines) == ["order id", "id", "status", "started", "applied"]
    assert lines[-1] == "In each row: version 1.4.0, duration 3.0 s, type data."


def test_what_all_attempts_share_is_told_once() -> None:
    lines = attempted([attempt("sync_agreements_of_all_sellers", each) for each in range(3)], 74)

    assert heading(lines) == ["started", "id", "outcome", "duration"]
    assert lines[-1] == "In each row: version 1.4.0, by app@pod-1, type data."


def test_of_the_only_row_it_is_told_below_what_has_no_room_in_it() -> None:
    lines = listed([migration("sync_agreements_of_sellers")], 80)

    assert lines[-1] == "Besides: started 2026-01-13 18:05:20Z, duration 3.0 s."


def test_a_note_without_room_beside_its_row_goes_beneath_it_and_breaks_at_blanks() -> None:
    note = "resumes after 40 of 2,000 items (30 changed, 10 right already)"
    entries = [migration("sync_agreements"), migration("sync_users", 1, SCHEMA, note=note)]

    lines = listed(entries, 62)

    assert lines[lines.index(next(each for each in lines if "sync_users" in each)) + 1 :][:2] == [
        "  resumes after 40 of 2,000 items (30 changed, 10 right",
        "  already)",
    ]


def test_an_id_without_room_beside_its_row_stands_whole_beneath_it() -> None:
    long_id = "x" * 78

    lines = listed([migration(long_id), migration("short", 1)], 80)

    assert lines.count(f"  {long_id}") == 1
    assert lines[lines.index(f"  {long_id}") - 1].split() == [
        *("20260113180013", "applied", "2026-01-13", "18:05:20Z", "2026-01-13", "18:05:23Z"),
    ]


def test_a_wide_terminal_has_each_row_on_one_line_with_every_column() -> None:
    entries = [migration("first"), migration("second", 1, SCHEMA, version="1.4.0", note="odd")]

    lines = [re.split(r"  +", line) for line in listed(entries, 200)]

    began, ended = "18:05:20Z", "18:05:23Z"
    assert lines[0] == ["order id", "id", "type", "status", *TIMES, "version", "note"]
    assert [*lines[2:]] == [
        [
            *("20260113180013", "first", "data", "applied"),
            f"2026-01-13 {began}",
            f"2026-01-13 {ended}",
            *("3.0 s", "-", "-"),
        ],
        [
            *("20260113180014", "second", "schema", "applied"),
            f"2026-01-14 {began}",
            f"2026-01-14 {ended}",
            *("3.0 s", "1.4.0", "odd"),
        ],
    ]
