"""The MPT test server, driven by the real client."""

import inspect
from collections.abc import Callable, Iterator
from typing import Literal

import httpx
import pytest
from mpt_api_client import MPTClient, RQLQuery
from mpt_api_client.exceptions import MPTAPIError, MPTHttpError

from support.mpt_server import MPTServer

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
    assert str(failure.value) == "404 Not Found - No agreement AGR-0. (trace-1)"


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


@pytest.mark.parametrize("query", [RQLQuery(name__like="F*"), ~RQLQuery(name="First")])
def test_another_filter_is_refused(client: MPTClient, query: RQLQuery) -> None:
    with pytest.raises(MPTAPIError) as failure:
        client.commerce.agreements.filter(query).fetch_page()

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
