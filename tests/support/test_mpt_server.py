"""The MPT test server, driven by the real client."""

import inspect
from collections.abc import Callable, Iterator
from typing import Literal

import httpx
import pytest
from mpt_api_client import MPTClient, RQLQuery
from mpt_api_client.exceptions import MPTAPIError, MPTHttpError

from support.mpt_server import MPTServer, RateLimit

AGREEMENT = "AGR-1234-5678-9012"


@pytest.fixture
def server() -> Iterator[MPTServer]:
    with MPTServer() as server:
        server.add_agreement(AGREEMENT, name="First", status="Active")
        yield server


def by_token(server: MPTServer, token: str) -> MPTClient:
    """Return a client made as up to mpt-api-client 6.3.0."""
    return MPTClient.from_config(api_token=token, base_url=server.url)  # type: ignore[call-arg]


def by_authentication(server: MPTServer, token: str) -> MPTClient:
    """Return a client made as from mpt-api-client 6.3.1 on."""
    from mpt_api_client.auth import BearerTokenAuthentication

    authentication = BearerTokenAuthentication(token)
    return MPTClient.from_config(authentication=authentication, base_url=server.url)


def needs(parameter: str) -> pytest.MarkDecorator:
    """Skip where the installed client is made without this parameter."""
    parameters = inspect.signature(MPTClient.from_config).parameters
    return pytest.mark.skipif(parameter not in parameters, reason=f"takes no {parameter}")


@pytest.fixture(
    params=[
        pytest.param(by_token, marks=needs("api_token")),
        pytest.param(by_authentication, marks=needs("authentication")),
    ]
)
def connect(
    request: pytest.FixtureRequest, server: MPTServer
) -> Iterator[Callable[[str], MPTClient]]:
    clients: list[MPTClient] = []

    def connect(token: str) -> MPTClient:
        clients.append(request.param(server, token))
        return clients[-1]

    yield connect
    for client in clients:
        client.http_client.httpx_client.close()


@pytest.fixture
def client(server: MPTServer, connect: Callable[[str], MPTClient]) -> MPTClient:
    return connect(server.token)


def test_lists_250_agreements_in_3_requests(server: MPTServer, client: MPTClient) -> None:
    for number in range(249):
        server.add_agreement(f"AGR-{number}")

    ids = [agreement.id for agreement in client.commerce.agreements.iterate(batch_size=100)]

    assert ids == [agreement["id"] for agreement in server.agreements()]
    assert [request.query["offset"] for request in server.requests("GET")] == [
        ["0"],
        ["100"],
        ["200"],
    ]


def test_reads_an_agreement(client: MPTClient) -> None:
    agreement = client.commerce.agreements.get(AGREEMENT)

    assert agreement.to_dict() == {"id": AGREEMENT, "name": "First", "status": "Active"}


def test_an_update_changes_the_given_fields_alone(server: MPTServer, client: MPTClient) -> None:
    agreement = client.commerce.agreements.update(AGREEMENT, {"name": "Second"})

    assert server.agreements() == [agreement.to_dict()]
    assert agreement.to_dict() == {"id": AGREEMENT, "name": "Second", "status": "Active"}


def test_an_unknown_agreement_is_not_found(client: MPTClient) -> None:
    with pytest.raises(MPTAPIError) as failure:
        client.commerce.agreements.get("AGR-0")

    assert failure.value.status_code == 404
    assert str(failure.value) == "404 Not Found - No AGR-0 in commerce/agreements. (trace-1)"


def test_a_wrong_token_is_refused(connect: Callable[[str], MPTClient]) -> None:
    with pytest.raises(MPTHttpError) as failure:
        connect("another").commerce.agreements.get(AGREEMENT)

    assert failure.value.status_code == 401


def test_a_list_can_be_ordered_by_id_and_filtered(server: MPTServer, client: MPTClient) -> None:
    for number, status in [(3, "Active"), (1, "Active"), (2, "Terminated"), (4, "Active")]:
        server.add_agreement(f"AGR-{number}", status=status, name="by hand")
    agreements = client.commerce.agreements.order_by("-id").filter(RQLQuery(status="Active"))

    known = agreements.filter(RQLQuery(name="by hand")).filter(RQLQuery(id__gt="AGR-1"))

    assert [agreement.id for agreement in known.iterate()] == ["AGR-4", "AGR-3"]


def test_a_filter_that_is_none_is_refused(client: MPTClient) -> None:
    with pytest.raises(MPTAPIError) as failure:
        client.commerce.agreements.filter(RQLQuery.from_string("eq(name")).fetch_page()

    assert failure.value.status_code == 400


@pytest.mark.parametrize(("greater_than", "status"), [("refused", 400), ("ignored", 200)])
def test_a_platform_may_not_support_to_select_by_id(
    greater_than: Literal["refused", "ignored"], status: int
) -> None:
    with MPTServer(greater_than=greater_than) as server:
        server.add_agreement(AGREEMENT)
        url = f"{server.url}/public/v1/commerce/agreements?gt(id,{AGREEMENT})"

        reply = httpx.get(url, headers={"Authorization": f"Bearer {server.token}"})

    assert reply.status_code == status


@pytest.mark.parametrize(
    ("expression", "numbers"),
    [
        ("eq(status,'Active')", [1, 3]),
        ('eq(status,"Active")', [1, 3]),
        ("eq(status,Active)", []),
        ("eq(id,AGR-1)", []),
        ("ne(status,'Active')", [2]),
        ("gt(id,'AGR-1')", [2, 3]),
        ("ge(price.unit,2.5)", [2, 3]),
        ("lt(price.unit,2.5)", [1]),
        ("le(id,'AGR-2')", [1, 2]),
        ("in(id,('AGR-1','AGR-3'))", [1, 3]),
        ("out(id,('AGR-1','AGR-3'))", [2]),
        ("ilike(name,'*FIRST*')", [1]),
        ("like(name,'*FIRST*')", []),
        ("eq(note,null())", [1, 2]),
        ("eq(is_new,true)", [3]),
        ("any(lines,eq(item.id,'ITM-2'))", [2]),
        ("and(eq(status,'Active'),gt(price.unit,1))", [3]),
        ("or(eq(id,'AGR-1'),eq(id,'AGR-2'))", [1, 2]),
        ("not(eq(id,'AGR-1'))", [2, 3]),
        ("eq(id,'AGR-1')&eq(id,'AGR-2')", []),
        ("eq(name,'a, (b) = c')", [3]),
    ],
)
def test_a_list_is_filtered_by_rql(expression: str, numbers: list[int]) -> None:
    with MPTServer() as server:
        server.add_agreement("AGR-1", status="Active", name="the first", price={"unit": 1})
        lines = [{"item": {"id": "ITM-1"}}, {"item": {"id": "ITM-2"}}]
        server.add_agreement("AGR-2", status="Draft", price={"unit": 2.5}, lines=lines)
        others = {"name": "a, (b) = c", "note": "x", "is_new": True}
        server.add_agreement("AGR-3", status="Active", price={"unit": 3}, **others)

        body = ask(server, "GET", f"commerce/agreements?{expression}").json()

    assert [each["id"] for each in body["data"]] == [f"AGR-{number}" for number in numbers]


def ask(server: MPTServer, method: str, path: str, body: object = None) -> httpx.Response:
    """Return the reply to a request with the token."""
    authorization = {"Authorization": f"Bearer {server.token}"}
    return httpx.request(method, f"{server.url}/public/v1/{path}", headers=authorization, json=body)


@pytest.mark.parametrize(
    ("query", "limit", "count"), [("limit=500", 100, 100), ("", 1000, 120), ("limit=0", 0, 0)]
)
def test_a_limit_is_cut_without_a_word_and_0_asks_for_the_total_alone(
    query: str, limit: int, count: int
) -> None:
    with MPTServer() as server:
        for number in range(120):
            server.add_agreement(f"AGR-{number}")

        body = ask(server, "GET", f"commerce/agreements?{query}").json()

    assert body["$meta"] == {"pagination": {"limit": limit, "offset": 0, "total": 120}}
    assert len(body["data"]) == count


@pytest.mark.parametrize(
    ("select", "fields", "omitted"),
    [
        ("", {"id", "name", "product"}, ["audit", "lines"]),
        ("name", {"id", "name"}, ["audit", "lines"]),
        ("+lines,-product", {"id", "name", "lines"}, ["audit"]),
        ("%2Blines,audit", {"id", "audit", "lines"}, None),
    ],
)
def test_a_selection_tells_what_comes_of_an_item(
    select: str, fields: set[str], omitted: list[str] | None
) -> None:
    with MPTServer() as server:
        server.heavy |= {"lines"}
        server.add_agreement("AGR-1", name="First", product={}, lines=[1], audit={})

        body = ask(server, "GET", f"commerce/agreements?select={select}").json()

    assert body["$meta"].get("omitted") == omitted
    if "audit" not in select:
        assert body["data"][0].keys() == fields


def test_what_is_nested_can_be_left_out(server: MPTServer) -> None:
    server.add_agreement("AGR-1", lines=[{"id": "1", "price": 2}, {"id": "2", "price": 3}])

    reply = ask(server, "GET", "commerce/agreements/AGR-1?select=-lines.price")

    assert reply.json() == {"id": "AGR-1", "lines": [{"id": "1"}, {"id": "2"}]}


@pytest.mark.parametrize("query", ["order=audit.created.at", "gt(audit.created.at,'2026')"])
def test_the_audit_has_to_be_selected_to_be_asked_about(server: MPTServer, query: str) -> None:
    assert ask(server, "GET", f"commerce/agreements?{query}").status_code == 400
    assert ask(server, "GET", f"commerce/agreements?{query}&select=audit").status_code == 200


def test_a_list_can_be_ordered_by_several_fields(server: MPTServer) -> None:
    for number, name in [(1, "b"), (2, "a"), (3, "b")]:
        server.add("catalog/products", f"PRD-{number}", name=name)

    body = ask(server, "GET", "catalog/products?order=-name,id").json()

    assert [each["id"] for each in body["data"]] == ["PRD-1", "PRD-3", "PRD-2"]


def test_a_nested_collection_takes_new_items(server: MPTServer, client: MPTClient) -> None:
    parameters = client.catalog.products.parameters("PRD-1")

    made = parameters.create({"name": "Contact"})

    assert made.id == "PAR-1"
    assert [each.to_dict() for each in parameters.iterate()] == server.items(
        "catalog/products/PRD-1/parameters"
    )


def test_an_update_reaches_into_what_is_nested(server: MPTServer) -> None:
    server.add_agreement("AGR-1", ids={"client": "c", "vendor": "v"})

    reply = ask(server, "PUT", "commerce/agreements/AGR-1", {"ids": {"vendor": "new"}})

    assert reply.json() == {"id": "AGR-1", "ids": {"client": "c", "vendor": "new"}}


def test_an_action_answers_with_the_item(server: MPTServer) -> None:
    reply = ask(server, "POST", f"commerce/agreements/{AGREEMENT}/process", {"note": "done"})

    assert reply.json() == {"id": AGREEMENT, "name": "First", "status": "Active", "note": "done"}


def test_an_item_can_be_removed(server: MPTServer, client: MPTClient) -> None:
    server.add("catalog/products", "PRD-1")

    client.catalog.products.delete("PRD-1")

    assert server.items("catalog/products") == []


@pytest.mark.parametrize("wish", ["", "7"])
def test_more_requests_than_a_second_takes_are_refused_until_the_limit_is_another(
    wish: str,
) -> None:
    now = 1000.0
    with MPTServer(clock=lambda: now, rate_limit=RateLimit(2, wish)) as server:
        replies = [ask(server, "GET", "commerce/agreements") for _ in range(3)]
        server.rate_limit = RateLimit(3)
        replies += [ask(server, "GET", "commerce/agreements") for _ in range(2)]
        now += 1
        replies.append(ask(server, "GET", "commerce/agreements"))

    assert [reply.status_code for reply in replies] == [200, 200, 429, 200, 429, 200]
    assert replies[2].headers.get("Retry-After", "") == wish


def test_an_agreement_can_be_created(server: MPTServer, client: MPTClient) -> None:
    client.commerce.agreements.create({"id": "AGR-0", "name": "Second"})

    assert server.agreements()[1] == {"id": "AGR-0", "name": "Second"}


def test_the_server_may_ask_to_come_back_later(server: MPTServer, client: MPTClient) -> None:
    server.answer(400, {"title": "Busy"}, headers={"Retry-After": "7"}, method="PUT")

    with pytest.raises(MPTAPIError) as failure:
        client.commerce.agreements.update(AGREEMENT, {"name": "Second"})

    assert failure.value.title == "Busy"
    assert server.agreements()[0]["name"] == "First"
    assert client.commerce.agreements.get(AGREEMENT).id == AGREEMENT
