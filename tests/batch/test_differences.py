"""What a rehearsal shows of an object: the fields that differ."""

import pytest

from mpt_tool.batch.differences import differences


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, [("b", 2, 3)]),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": [7]}}, [("a.c.0", None, 7)]),
        ({"a": []}, {"a": [{"b": 1}]}, [("a.0.b", None, 1)]),
        ({"a": {"b": 1}}, {"a": {}}, [("a.b", 1, None)]),
        ({"a": 1}, {"a": []}, [("a", 1, [])]),
        ({}, {"a": {}}, [("a", None, {})]),
    ],
)
def test_each_field_that_differs_is_shown_once(
    before: object, after: object, shown: list[tuple[str, object, object]]
) -> None:
    found = differences(before, after, str)

    assert [(each.field, each.before, each.after) for each in found] == shown
