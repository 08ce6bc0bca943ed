"""`each`: all items of a service or a table, in an order that is always the same."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpt_api_client import RQLQuery
from pyairtable import Api, Table
from pyairtable.formulas import match
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import ASYNC, MIGRATION, SYNC
from support.mpt_server import MPTServer
from support.project import Project

from mpt_tool.clients.airtable import open_api
from mpt_tool.clients.mpt import open_async_client, open_client
from mpt_tool.clients.paging import count_of, find_in, walk
from mpt_tool.clients.settings import AirtableSettings, PlatformSettings
from mpt_tool.migration import BatchDataMigration

pytestmark = pytest.mark.slow

type GreaterThan = Literal["supported", "refused", "fails", "ignored"]

EVERY_PLATFORM = pytest.mark.parametrize(
    "greater_than", ["supported", "refused", "fails", "ignored"]
)
PAGE_SIZES = pytest.mark.parametrize("page_size", [1, 3, 7, 100])
IDS = [f"AGR-{number}" for number in range(1, 8)]
ODD = IDS[::2]


@pytest.fixture(scope="module")
def connection() -> Iterator[tuple[MPTServer, Any]]:
    """A platform, and the service of agreements of the client that the mixin gives to migrations.

    They are shared, as it takes long to make a client.
    """
    with MPTServer() as server:
        client = open_client(PlatformSettings.model_validate(server.settings))
        with client.http_client.httpx_client:
            yield server, client.commerce.agreements


def emptied(server: MPTServer, greater_than: GreaterThan) -> MPTServer:
    """Return the server as if it were a new one."""
    server.greater_than = greater_than
    server.max_page_size = 100
    server.heavy = set()
    server.order_of = str
    server.clear_requests()
    for agreement in server.agreements():
        server.remove_agreement(agreement["id"])
    return server


@pytest.fixture
def platform(connection: tuple[MPTServer, Any]) -> MPTServer:
    """A platform with seven agreements, added in another order than that of their ids."""
    server = emptied(connection[0], "supported")
    for agreement_id in [*IDS[3:], *IDS[:3]]:
        server.add_agreement(agreement_id, status="odd" if agreement_id in ODD else "even")
    return server


@pytest.fixture
def agreements(connection: tuple[MPTServer, Any]) -> Any:
    """The service of the platform's agreements."""
    return connection[1]


class Walking(BatchDataMigration[Any]):
    """Has `each`."""

    def items(self, cursor: str | None) -> Iterator[Any]:
        raise NotImplementedError

    def process(self, item: Any) -> None:
        raise NotImplementedError


def ids_of(walked: Any) -> list[str]:
    return [agreement.id for agreement in walked]


def number_of(agreement_id: str) -> int:
    return int(agreement_id.removeprefix("AGR-"))


# --- a service of the platform


@PAGE_SIZES
@EVERY_PLATFORM
def test_a_service_is_walked_in_the_order_of_its_ids(
    platform: MPTServer, agreements: Any, greater_than: GreaterThan, page_size: int
) -> None:
    platform.greater_than = greater_than

    assert ids_of(walk(agreements, None, None, page_size)) == IDS


@PAGE_SIZES
@EVERY_PLATFORM
@pytest.mark.parametrize(
    ("after", "expected"),
    [(IDS[2], IDS[3:]), ("AGR-3-is-gone", IDS[3:]), (IDS[-1], []), ("A", IDS)],
)
def test_a_walk_begins_after_an_id(
    platform: MPTServer,
    agreements: Any,
    greater_than: GreaterThan,
    page_size: int,
    after: str,
    expected: list[str],
) -> None:
    platform.greater_than = greater_than

    assert ids_of(walk(agreements, after, None, page_size)) == expected


@EVERY_PLATFORM
@pytest.mark.parametrize(
    ("order_of", "ids"),
    [
        (str.casefold, ["AGR-1", "agr-2", "AGR-3"]),
        (number_of, [f"AGR-{each}" for each in range(1, 20)]),
    ],
    ids=["case", "number"],
)
@pytest.mark.parametrize("page_size", [1, 2, 7])
def test_an_order_that_is_not_that_of_the_characters_is_refused_and_no_item_skipped(
    connection: tuple[MPTServer, Any],
    agreements: Any,
    greater_than: GreaterThan,
    order_of: Any,
    ids: list[str],
    page_size: int,
) -> None:
    server = emptied(connection[0], greater_than)
    server.order_of = order_of
    for agreement_id in ids:
        server.add_agreement(agreement_id)
    walked: list[str] = []

    with pytest.raises(ValueError, match="which is not the order of their characters"):
        walked.extend(each.id for each in walk(agreements, None, None, page_size))

    assert walked == ids[: len(walked)]


@pytest.mark.parametrize("greater_than", ["refused", "ignored"])
def test_pages_that_cannot_overlap_are_refused(
    platform: MPTServer, agreements: Any, greater_than: GreaterThan
) -> None:
    platform.greater_than = greater_than
    platform.max_page_size = 1

    with pytest.raises(ValueError, match="gives one item a page"):
        ids_of(walk(agreements, None, None, 100))


@pytest.mark.parametrize("page_size", [0, -3, 2.5, "10", True])
def test_a_page_that_holds_nothing_is_refused(agreements: Any, page_size: Any) -> None:
    with pytest.raises(ValueError, match=r"page_size is .*: use a whole number from 1 on"):
        Walking().each(agreements, page_size=page_size)


@pytest.mark.parametrize("source", [None, [1, 2], "agreements"])
def test_what_cannot_be_walked_is_refused(source: object) -> None:
    with pytest.raises(TypeError, match=r"each\(\) walks a service or a table, not "):
        Walking().each(source)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"after": 5}, "an id, which is text"),
        ({"filter": "eq(a,b)"}, "a service by an RQLQuery, not by text"),
    ],
)
def test_what_a_walk_cannot_take_is_refused(
    agreements: Any, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(TypeError, match=complaint):
        Walking().each(agreements, **options)


@EVERY_PLATFORM
def test_a_filter_selects_some(
    platform: MPTServer, agreements: Any, greater_than: GreaterThan
) -> None:
    platform.greater_than = greater_than

    assert ids_of(walk(agreements, None, RQLQuery(status="odd"), 2)) == ODD


@pytest.mark.parametrize("kind", ["supported", "refused", "ignored"])
def test_which_way_a_service_is_walked_is_logged(
    platform: MPTServer, agreements: Any, kind: GreaterThan, caplog: pytest.LogCaptureFixture
) -> None:
    platform.greater_than = kind
    caplog.set_level(logging.DEBUG, "mpt_tool.clients.paging")

    list(walk(agreements, None, None, 2))

    path = "/public/v1/commerce/agreements"
    if kind == "supported":
        expected = (logging.DEBUG, f"{path} was walked by keyset")
    else:
        message = f"{path} cannot select by id: walking it by pages that overlap"
        expected = (logging.INFO, message)
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [expected]


@pytest.mark.parametrize("greater_than", ["supported", "refused"])
def test_a_platform_that_gives_shorter_pages_than_asked_for_is_walked_to_the_end(
    platform: MPTServer, agreements: Any, greater_than: GreaterThan
) -> None:
    platform.greater_than = greater_than
    platform.max_page_size = 3

    assert ids_of(walk(agreements, None, None, 100)) == IDS


def test_an_error_of_the_platform_is_raised_and_not_walked_around(
    platform: MPTServer, agreements: Any
) -> None:
    platform.answer(400, {"title": "No"})

    with pytest.raises(Exception, match="400"):
        list(walk(agreements, None, None, 2))

    assert len(platform.requests()) == 1


def test_an_error_of_the_platform_is_raised_once_it_has_shown_that_it_selects_by_id(
    platform: MPTServer, agreements: Any
) -> None:
    platform.delay(0, times=2)
    platform.answer(500, {"title": "No"})

    with pytest.raises(Exception, match="500"):
        list(walk(agreements, None, None, 2))


def test_ids_are_sent_quoted(platform: MPTServer, agreements: Any) -> None:
    list(walk(agreements, IDS[-1], None, 2))

    (request,) = platform.requests()
    assert re.search(rf"gt\(id,(['\"]){IDS[-1]}\1\)", str(list(request.query)))


@EVERY_PLATFORM
def test_a_page_that_says_it_is_the_last_is_followed_by_none(
    platform: MPTServer, agreements: Any, greater_than: GreaterThan
) -> None:
    platform.greater_than = greater_than

    assert ids_of(walk(agreements, None, None, 7)) == IDS

    assert len(platform.requests()) == 1


def test_an_order_that_a_service_was_given_is_refused(agreements: Any) -> None:
    ordered = agreements.order_by("-id", "name")

    with pytest.raises(TypeError, match=r"take \.order_by\('-id', 'name'\) out"):
        walk(ordered, None, None, 2)


def test_what_a_service_selects_and_filters_holds_for_its_count_and_its_items(
    platform: MPTServer, agreements: Any
) -> None:
    source = agreements.filter(RQLQuery(status="odd")).select("id")

    assert count_of(source) == len(ODD)
    assert find_in(source, IDS[0]).to_dict() == {"id": IDS[0]}
    assert find_in(source, IDS[1]) is None
    assert [request.query["limit"] for request in platform.requests()] == [["0"], ["1"], ["1"]]


def test_a_service_that_tells_no_total_is_not_counted(platform: MPTServer, agreements: Any) -> None:
    platform.answer(200, {"data": []})

    assert count_of(agreements) is None


def test_what_the_items_of_a_service_come_without_is_said_once(
    platform: MPTServer, agreements: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mpt_tool.clients.paging")
    platform.heavy = {"lines", "parameters"}
    platform.add_agreement("AGR-0", lines=[], parameters={})

    for _ in range(2):
        list(walk(agreements, None, None, 3))

    (said,) = caplog.messages
    assert said == (
        "/public/v1/commerce/agreements leaves out lines and parameters:"
        ' .select("+lines", "+parameters") brings what is needed of it'
    )


@pytest.fixture(scope="module")
def walks(
    connection: tuple[MPTServer, Any],
) -> Iterator[Mapping[str, Callable[[int], Iterator[Any]]]]:
    """Walks over the service and its asynchronous twin, each of which takes the size of a page."""
    server, agreements = connection
    client = open_async_client(PlatformSettings.model_validate(server.settings))
    with asyncio.Runner() as runner:

        def walk_awaited(page_size: int) -> Iterator[Any]:
            items = walk(client.commerce.agreements, None, None, page_size)

            async def next_item() -> Any:
                return await anext(items)

            with suppress(StopAsyncIteration):
                while True:
                    yield runner.run(next_item())

        yield {
            SYNC: lambda page_size: walk(agreements, None, None, page_size),
            ASYNC: walk_awaited,
        }


# What happens to the items after each page: (whether one is added, its number).
CHANGES = st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=12), max_size=8)


@given(
    kind=st.sampled_from([SYNC, ASYNC]),
    greater_than=st.sampled_from(["supported", "refused", "fails", "ignored"]),
    most=st.sampled_from([2, 3, 100]),
    numbers=st.sets(st.integers(0, 30)),
    page_size=st.integers(1, 5),
    changes=CHANGES,
)
def test_nothing_is_skipped_or_repeated_when_items_come_and_go_between_pages(
    connection: tuple[MPTServer, Any],
    walks: Mapping[str, Callable[[int], Iterator[Any]]],
    kind: str,
    greater_than: GreaterThan,
    most: int,
    numbers: set[int],
    page_size: int,
    changes: list[list[tuple[bool, int]]],
) -> None:
    server = emptied(connection[0], greater_than)
    server.max_page_size = most
    for number in numbers:
        server.add_agreement(f"AGR-{number:02}")
    always_there = {each["id"] for each in server.agreements()}
    was_there = set(always_there)
    walked: list[str] = []
    pages = 0
    for agreement in walks[kind](page_size):
        walked.append(agreement.id)
        if len(server.requests()) > pages and changes:
            pages = len(server.requests())
            change(server, changes.pop())
            now_there = {each["id"] for each in server.agreements()}
            always_there &= now_there
            was_there |= now_there

    assert walked == sorted(set(walked))
    assert always_there <= set(walked) <= was_there


def change(server: MPTServer, changes: list[tuple[bool, int]]) -> None:
    """Add the agreements of these numbers, or remove those that are there."""
    for is_added, number in changes:
        agreement_id = f"AGR-{number:02}"
        is_there = agreement_id in [each["id"] for each in server.agreements()]
        if is_added and not is_there:
            server.add_agreement(agreement_id)
        elif is_there and not is_added:
            server.remove_agreement(agreement_id)


# --- a table of Airtable


@pytest.fixture
def api(server: AirtableServer) -> Iterator[Api]:
    """The client that the mixin gives to migrations."""
    api = open_api(AirtableSettings.model_validate(server.settings))
    yield api
    api.session.close()


@pytest.fixture
def table(server: AirtableServer, api: Api) -> Table:
    """A table of seven rows."""
    for number in range(7):
        name = f"{'odd' if number % 2 else 'even'}_{number}"
        server.add_row(BASE, TABLE, {"migration_id": name})
    return api.table(BASE, TABLE)


def row_ids(server: AirtableServer) -> list[str]:
    """Return the ids of all rows in the order of a walk."""
    return sorted(row["id"] for row in server.rows(BASE, TABLE))


@pytest.mark.parametrize("page_size", [1, 3, 7, 100])
def test_a_table_is_walked_in_an_order_that_is_always_the_same(
    server: AirtableServer, table: Table, page_size: int
) -> None:
    rows = list(walk(table, None, None, page_size))

    assert [row["id"] for row in rows] == row_ids(server)
    assert {row["fields"]["migration_id"] for row in rows} >= {"even_0", "odd_1"}


def test_a_walk_over_a_table_begins_after_an_id(server: AirtableServer, table: Table) -> None:
    ids = row_ids(server)

    assert [row["id"] for row in walk(table, ids[2], None, 2)] == ids[3:]
    assert list(walk(table, ids[-1], None, 2)) == []


def test_a_formula_may_be_one_of_pyairtable(table: Table) -> None:
    assert Walking().each(table, filter=match({"order_id": 2}))


def test_a_formula_selects_some_rows(table: Table) -> None:
    rows = walk(table, None, 'LEFT({migration_id}, 4) = "odd_"', 2)

    assert sorted(row["fields"]["migration_id"] for row in rows) == ["odd_1", "odd_3", "odd_5"]


def test_a_row_is_read_when_its_page_is_reached_and_left_out_if_it_is_gone_by_then(
    server: AirtableServer, table: Table
) -> None:
    first, second, third, *rest = row_ids(server)
    walked = walk(table, None, None, 2)

    assert [next(walked)["id"], next(walked)["id"]] == [first, second]
    server.delete_row(BASE, TABLE, rest[0])
    server.update_row(BASE, TABLE, third, {"migration_id": "new"})

    others = list(walked)
    assert [row["id"] for row in others] == [third, *rest[1:]]
    assert others[0]["fields"] == {"migration_id": "new"}


@given(page_size=st.integers(1, 4), changes=st.lists(st.tuples(st.booleans(), st.integers(0, 99))))
def test_no_row_is_skipped_or_repeated_when_rows_come_and_go(
    page_size: int, changes: list[tuple[bool, int]]
) -> None:
    with AirtableServer() as server:
        server.add_table(BASE, TABLE)
        for number in range(5):
            server.add_row(BASE, TABLE, {"order_id": number})
        always_there = set(row_ids(server))
        was_there = set(always_there)
        # Without the pace of the mixin's client, which it does not matter to.
        api = Api(server.token, endpoint_url=server.url)
        walked: list[str] = []
        with api.session:
            for row in walk(api.table(BASE, TABLE), None, None, page_size):
                walked.append(row["id"])
                for is_added, number in changes[:2]:
                    if is_added:
                        server.add_row(BASE, TABLE, {"order_id": number})
                    elif ids := row_ids(server):
                        server.delete_row(BASE, TABLE, ids[number % len(ids)])
                del changes[:2]
                always_there &= set(row_ids(server))

    assert walked == sorted(set(walked))
    assert always_there <= set(walked) <= was_there


def test_the_rows_of_a_table_are_counted_and_found(server: AirtableServer, table: Table) -> None:
    first, *_ = row_ids(server)

    assert count_of(table) == 7
    assert find_in(table, first)["id"] == first
    assert find_in(table, "recNowhere") is None


# --- from outside


def test_a_migration_walks_a_service_and_resumes(project: Project, platform: MPTServer) -> None:
    project.environment = platform.settings
    project.file(
        f"migrations/1_{MIGRATION}.py",
        """\
        from mpt_api_client import RQLQuery
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin):
            def items(self, cursor):
                agreements = self.mpt_client.commerce.agreements
                return self.each(agreements, after=cursor, filter=RQLQuery(kept="yes"), page_size=2)

            def process(self, agreement):
                self.mpt_client.commerce.agreements.update(agreement.id, {"done": True})
        """,
    )
    for agreement_id in IDS:
        platform.add_agreement(agreement_id, kept="yes")
    platform.answer(400, {"title": "Busy"}, method="PUT", path=IDS[3])

    stopped = project.run("migrate", "--data")
    resumed = project.run("migrate", "--data")

    assert f"{MIGRATION} failed: {IDS[3]}: " in stopped.stderr
    assert f"Resuming {MIGRATION} after 3 items" in resumed.stderr
    assert resumed.exit_code == 0
    changed = [request.path.split("/")[-1] for request in platform.requests("PUT")]
    assert changed == [*IDS[:4], *IDS[3:]]


def test_a_migration_walks_a_table(project: Project, server: AirtableServer, table: Table) -> None:
    project.environment = {**server.settings, "STORAGE_TYPE": "local"}
    project.file(
        f"migrations/1_{MIGRATION}.py",
        f"""\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import AirtableAPIClientMixin

        class Migration(BatchDataMigration, AirtableAPIClientMixin):
            def items(self, cursor):
                return self.each(self.airtable_client.table({BASE!r}, {TABLE!r}), after=cursor)

            def process(self, row):
                self.airtable_client.table({BASE!r}, {TABLE!r}).update(row["id"], {{"order_id": 7}})
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert {row["fields"]["order_id"] for row in server.rows(BASE, TABLE)} == {7}
