"""Whether a new object would be in a filtered list: as far as that can be told, and no further."""

from typing import Any

import pytest
from mpt_api_client import RQLQuery
from pyairtable.formulas import match

from mpt_tool.clients.conditions import fits_formula, fits_query

ITEM = {
    "id": "rehearsed-1",
    "name": "its, (new)",
    "active": True,
    "seats": 3,
    "none": None,
    "product": {"id": "PRD-1"},
    "lines": [],
}


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        ("", True),
        (RQLQuery(product__id="PRD-1"), True),
        (RQLQuery(product__id="PRD-2"), False),
        (RQLQuery(product__id="PRD-1") & RQLQuery(seats=3), True),
        (RQLQuery(product__id="PRD-1") & RQLQuery(seats=4), False),
        (RQLQuery(seats=4) | RQLQuery(active=True), True),
        (~RQLQuery(seats=4), True),
        (RQLQuery(seats__ne=3), False),
        (RQLQuery(seats__in=[2, 3]), True),
        (RQLQuery(seats__out=[2, 3]), False),
        (RQLQuery(none__null=True), True),
        (RQLQuery(name="its, (new)"), True),
        ("eq(product.id,PRD-1)&limit=100&offset=0&order=id&select=-lines", True),
        ("product.id=PRD-1", True),
        ("product.id=PRD-2", False),
    ],
    ids=str,
)
def test_values_are_told_apart(query: Any, fits: bool) -> None:
    assert fits_query(ITEM, str(query)) is fits


@pytest.mark.parametrize(
    "query",
    [
        RQLQuery(id__gt="AGR-1"),
        ~RQLQuery(name__like="*new*"),
        RQLQuery(lines="a"),
        "eq(name",
        "eq(",
        "eq(a,b,c)",
    ],
    ids=str,
)
def test_what_cannot_be_told_is_not_in_the_list(query: Any) -> None:
    assert not fits_query(ITEM, str(query))


@pytest.mark.parametrize(
    ("formula", "fits"),
    [
        (match({"Name": 'it\'s "new"'}), True),
        (match({"Name": "other"}), False),
        (match({"Name": 'it\'s "new"', "Seats": 3}), True),
        (match({"Name": "other", "Seats": 3}, match_any=True), True),
        ('OR(RECORD_ID() = "rec1", RECORD_ID() = "rehearsed-1")', True),
        ("AND(NOT({Name} = 'x'), {Seats} != 4)", True),
        ("{Nothing} = BLANK()", True),
        ("{Seats} > 2", False),
        ("LEFT({Name}, 2) = 'it'", False),
        ("OR(", False),
    ],
    ids=str,
)
def test_records_are_told_apart_by_a_formula(formula: Any, fits: bool) -> None:
    record = {"id": "rehearsed-1", "fields": {"Name": 'it\'s "new"', "Seats": 3}}

    assert fits_formula(record, str(formula)) is fits
