"""`each_of`: the items of every parent, and where a walk over them goes on."""

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpt_api_client import RQLQuery
from support.airtable_server import BASE, TABLE, AirtableServer
from support.mpt_server import MPTServer

from mpt_tool.clients.airtable import open_api
from mpt_tool.clients.mpt import open_client
from mpt_tool.clients.paging import Child, find_child, walk_children
from mpt_tool.clients.settings import AirtableSettings, PlatformSettings

pytestmark = pytest.mark.slow

AGREEMENTS, SUBSCRIPTIONS = "commerce/agreements", "commerce/subscriptions"
ALL = [["AGR-1", "SUB-1"], ["AGR-1", "SUB-2"], ["AGR-3", "SUB-3"], ["AGR-3", "SUB-4"]]


@pytest.fixture(scope="module")
def connection() -> Iterator[tuple[MPTServer, Any]]:
    """A platform and a client of it, shared, as it takes long to make one."""
    with MPTServer() as server:
        client = open_client(PlatformSettings.model_validate(server.settings))
        with client.http_client.httpx_client:
            yield server, client.commerce


@pytest.fixture
def platform(connection: tuple[MPTServer, Any]) -> MPTServer:
    """A platform with the subscriptions of `ALL`, and an agreement without any."""
    server = emptied(connection[0])
    for agreement in ("AGR-3", "AGR-1", "AGR-2"):
        server.add(AGREEMENTS, agreement)
    for agreement, subscription in reversed(ALL):
        server.add(SUBSCRIPTIONS, subscription, agreement={"id": agreement})
    return server


def emptied(server: MPTServer) -> MPTServer:
    for collection in (AGREEMENTS, SUBSCRIPTIONS):
        for item in server.items(collection):
            server.remove(collection, item["id"])
    return server


@pytest.fixture
def commerce(connection: tuple[MPTServer, Any]) -> Any:
    return connection[1]


def subscriptions_of(commerce: Any, agreement: Any) -> Any:
    by_agreement = RQLQuery(agreement__id=getattr(agreement, "id", agreement))
    return commerce.subscriptions.filter(by_agreement)


def walked(commerce: Any, parents: Any, after: list[str] | None = None) -> list[list[str]]:
    """Return the cursors of a walk."""
    pairs = walk_children(parents, lambda each: subscriptions_of(commerce, each), after)
    return [child.cursor for child in pairs]


AFTER = pytest.mark.parametrize(
    ("after", "expected"),
    [
        (None, ALL),
        (["AGR-1", "SUB-1"], ALL[1:]),
        (["AGR-1", "SUB-2"], ALL[2:]),
        (["AGR-1", "SUB-1-is-gone"], ALL[1:]),
        (["AGR-2", "SUB-9"], ALL[2:]),
        (["AGR-3", "SUB-4"], []),
    ],
)


@AFTER
def test_the_items_of_all_parents_of_a_service_are_walked(
    platform: MPTServer, commerce: Any, after: list[str] | None, expected: list[list[str]]
) -> None:
    assert walked(commerce, commerce.agreements, after) == expected


@AFTER
def test_parents_may_be_a_list(
    platform: MPTServer, commerce: Any, after: list[str] | None, expected: list[list[str]]
) -> None:
    assert walked(commerce, ("AGR-1", "AGR-2", "AGR-3"), after) == expected


def test_a_parent_that_is_gone_is_passed_over(platform: MPTServer, commerce: Any) -> None:
    platform.remove(AGREEMENTS, "AGR-1")

    assert walked(commerce, commerce.agreements, ["AGR-1", "SUB-1"]) == ALL[2:]


def test_a_parent_that_is_no_longer_selected_is_passed_over(
    platform: MPTServer, commerce: Any
) -> None:
    agreements = commerce.agreements.filter(RQLQuery(id__ne="AGR-1"))

    assert walked(commerce, agreements, ["AGR-1", "SUB-1"]) == ALL[2:]


def test_a_list_without_the_parent_is_walked_from_its_beginning(
    platform: MPTServer, commerce: Any
) -> None:
    assert walked(commerce, ["AGR-3", "AGR-1"], ["AGR-2", "SUB-9"]) == [*ALL[2:], *ALL[:2]]


@pytest.mark.parametrize(
    ("after", "numbers"),
    [(None, [1, 2, 3, 1, 4]), (["a", 2], [3, 1, 4]), (["a", 9], [1, 2, 3, 1, 4]), (["b", 4], [])],
)
def test_items_may_be_a_list_which_begins_again_without_the_last_item(
    after: list[Any] | None, numbers: list[int]
) -> None:
    lines = {"a": [{"id": number} for number in (1, 2, 3)], "b": [{"id": 1}, {"id": 4}]}

    pairs = walk_children(["a", "b"], lines.__getitem__, after)

    assert [child.item["id"] for child in pairs] == numbers


def test_a_pair_holds_the_parent_and_the_item(platform: MPTServer, commerce: Any) -> None:
    child = next(walk_children(commerce.agreements, lambda each: [each.id.lower()]))

    assert isinstance(child, Child)
    agreement, item = child
    assert (agreement.id, item) == ("AGR-1", "agr-1")


def test_parents_may_be_the_rows_of_a_table(server: AirtableServer) -> None:
    for number in range(3):
        server.add_row(BASE, TABLE, {"migration_id": f"m{number}"})
    api = open_api(AirtableSettings.model_validate(server.settings))
    with api.session:
        table = api.table(BASE, TABLE)
        everything = list(walk_children(table, lambda row: ["x", "y"]))

        rest = list(walk_children(table, lambda row: ["x", "y"], everything[2].cursor))

    assert len(everything) == 6
    assert rest == everything[3:]


@pytest.mark.parametrize("something", [None, 5, "AGR-1,AGR-2", {"AGR-1": 1}])
def test_what_is_no_source_is_refused(something: Any) -> None:
    with pytest.raises(TypeError, match=r"parents is .*: use a service, a table, or a list"):
        walk_children(something, lambda each: [])
    with pytest.raises(TypeError, match=r"children\(parent\) is .*: use a service"):
        list(walk_children([1], lambda each: something))


def test_services_that_were_given_an_order_are_refused(commerce: Any) -> None:
    ordered = commerce.agreements.order_by("name")

    for parents in (ordered, [1]):
        with pytest.raises(TypeError, match=re.escape("take .order_by('name') out")):
            list(walk_children(parents, lambda each: ordered))


@pytest.mark.parametrize("kind", ["services", "lists"])
@pytest.mark.parametrize(
    ("cursor", "is_there"),
    [
        (["AGR-3", "SUB-4"], True),
        (["AGR-3", "SUB-1"], False),
        (["AGR-2", "SUB-1"], False),
        (["AGR-9", "SUB-1"], False),
    ],
)
def test_a_pair_is_found_again(
    platform: MPTServer, commerce: Any, cursor: list[str], is_there: bool, kind: str
) -> None:
    parents = commerce.agreements if kind == "services" else ["AGR-1", "AGR-2", "AGR-3"]

    def children(parent: Any) -> Any:
        if kind == "services":
            return subscriptions_of(commerce, parent)
        return [item for agreement, item in ALL if agreement == parent]

    found = find_child(parents, children, cursor)

    assert (found and found.cursor) == (cursor if is_there else None)


@pytest.mark.parametrize(
    ("parents", "children"),
    [(7, lambda _: []), (["AGR-1"], lambda _: None)],
)
def test_a_pair_of_what_is_no_source_is_not_looked_for(parents: Any, children: Any) -> None:
    with pytest.raises(TypeError, match="cannot walk over"):
        find_child(parents, children, ["AGR-1", "SUB-1"])


def test_what_is_no_pair_is_not_looked_for() -> None:
    with pytest.raises(TypeError, match=r"find_of\(\) finds \[parent, item\], not 'AGR-1'"):
        find_child([], lambda _: [], "AGR-1")


@pytest.mark.parametrize("after", ["AGR-1", ["AGR-1"], 7])
def test_a_cursor_of_another_walk_is_refused(after: Any) -> None:
    with pytest.raises(TypeError, match=r"each_of\(\) begins after \[parent, item\]"):
        walk_children([1], lambda each: [], after)


class Subscriptions:
    """The subscriptions of a platform, of agreements that are there as long as they have one."""

    def __init__(self, server: MPTServer) -> None:
        self.server = emptied(server)
        self.now: set[tuple[str, str]] = set()

    def change(self, *, is_added: bool, parent: int, number: int) -> None:
        """Add a subscription, or remove it, if it is not or is there."""
        agreement, subscription = f"AGR-{parent}", f"SUB-{parent}-{number}"
        if is_added and (agreement, subscription) not in self.now:
            self.server.add(AGREEMENTS, agreement)
            self.server.add(SUBSCRIPTIONS, subscription, agreement={"id": agreement})
            self.now.add((agreement, subscription))
        elif not is_added and (agreement, subscription) in self.now:
            self.now.remove((agreement, subscription))
            self.server.remove(SUBSCRIPTIONS, subscription)
            if not any(agreement == other for other, _ in self.now):
                self.server.remove(AGREEMENTS, agreement)


CHANGE = st.fixed_dictionaries(
    {"is_added": st.booleans(), "parent": st.integers(0, 4), "number": st.integers(0, 6)}
)


@given(
    beginning=st.lists(CHANGE),
    changes=st.lists(st.lists(CHANGE, max_size=4), max_size=10),
    length=st.integers(1, 5),
)
def test_nothing_is_skipped_or_repeated_when_items_come_and_go_and_the_walk_is_stopped(
    connection: tuple[MPTServer, Any],
    beginning: list[dict[str, Any]],
    changes: list[list[dict[str, Any]]],
    length: int,
) -> None:
    subscriptions, commerce = Subscriptions(connection[0]), connection[1]
    for each in beginning:
        subscriptions.change(**each)
    always_there, was_there = set(subscriptions.now), set(subscriptions.now)
    seen: list[tuple[str, ...]] = []

    def walk_on() -> Iterator[Child]:
        after = list(seen[-1]) if seen else None
        of_agreement = partial(subscriptions_of, commerce)
        return islice(walk_children(commerce.agreements, of_agreement, after), length)

    for some in iter(walk_on, None):
        before = len(seen)
        for child in some:
            seen.append(tuple(child.cursor))
            for each in changes.pop() if changes else ():
                subscriptions.change(**each)
            always_there &= subscriptions.now
            was_there |= subscriptions.now
        if len(seen) == before:
            break

    assert seen == sorted(set(seen))
    assert always_there <= set(seen) <= was_there
