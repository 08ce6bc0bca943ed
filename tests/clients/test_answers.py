"""A rehearsal answers the clients' writes as the services would, and later reads see them."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from mpt_api_client import MPTClient, RQLQuery
from mpt_api_client.exceptions import MPTError
from pyairtable import Api, Table
from requests import HTTPError
from support.airtable_server import BASE, TABLE, AirtableServer
from support.mpt_server import MPTServer

from mpt_tool.clients import platform_answers
from mpt_tool.clients.airtable import open_api
from mpt_tool.clients.mpt import open_client
from mpt_tool.clients.rehearsal import (
    Rehearsal,
    Reply,
    Request,
    answered_async,
    nothing_written,
)
from mpt_tool.clients.settings import AirtableSettings, PlatformSettings

AGREEMENT = {"name": "one", "terms": {"level": 1, "unit": "year"}, "lines": [{"price": 1}]}


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    with nothing_written(Rehearsal(answers=True)) as rehearsal:
        yield rehearsal


@pytest.fixture(scope="module")
def shared_platform() -> Iterator[tuple[MPTServer, MPTClient]]:
    """A platform and the client of the mixin, shared: it takes long to make a client."""
    with MPTServer() as server:
        client = open_client(PlatformSettings.model_validate(server.settings))
        with client.http_client.httpx_client:
            yield server, client


@pytest.fixture
def platform(shared_platform: tuple[MPTServer, MPTClient]) -> Iterator[MPTServer]:
    """A platform with three agreements, which nothing writes to."""
    server, _ = shared_platform
    for number in range(1, 4):
        server.add_agreement(f"AGR-{number}", **AGREEMENT)
    server.clear_requests()
    before = server.agreements()
    yield server
    assert server.agreements() == before
    assert {request.method for request in server.requests()} <= {"GET"}


@pytest.fixture
def client(platform: MPTServer, shared_platform: tuple[MPTServer, MPTClient]) -> MPTClient:
    return shared_platform[1]


@pytest.fixture
def agreements(client: MPTClient) -> Any:
    return client.commerce.agreements


@pytest.fixture
def table(server: AirtableServer) -> Iterator[Table]:
    """A table with three rows, which nothing writes to."""
    api: Api = open_api(
        AirtableSettings.model_validate(
            {"AIRTABLE_API_KEY": server.token, "STORAGE_AIRTABLE_ENDPOINT_URL": server.url}
        )
    )
    for number in range(1, 4):
        server.add_row(BASE, TABLE, {"migration_id": f"m{number}", "order_id": number})
    before = server.rows(BASE, TABLE)
    yield api.table(BASE, TABLE)
    api.session.close()
    assert server.rows(BASE, TABLE) == before
    assert {request.method for request in server.requests()} <= {"GET"}


def ids(rows: Any) -> list[str]:
    return [row["id"] if isinstance(row, dict) else row.id for row in rows]


def shown(rehearsal: Rehearsal) -> list[tuple[str, str, Any]]:
    """Return what was changed: kind, method, and the object afterwards."""
    changes = rehearsal.take_changes()
    return [(change.kind, change.request.split()[0], change.after) for change in changes]


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("catalog/products", "create"),
        ("catalog/units-of-measure", "create"),
        ("catalog/products/PRD-1/terms/TRM-1/variants", "create"),
        ("catalog/products/PRD-1/media", "create"),
        ("commerce/agreements/AGR-1/process", "action"),
        ("commerce/agreements/AGR-1/accept-invite", "action"),
    ],
)
def test_an_address_tells_a_creation_from_an_action(
    client: MPTClient, rehearsal: Rehearsal, path: str, kind: str
) -> None:
    client.http_client.request("post", f"/public/v1/{path}", json={"name": "n"})

    assert shown(rehearsal)[0][0] == kind


def test_reads_that_an_answer_needs_may_be_awaited(rehearsal: Rehearsal) -> None:
    asked = []

    async def read(request: Request) -> Reply:
        await asyncio.sleep(0)
        asked.append(request.method)
        return Reply.of(200, {"id": "AGR-1", "seats": 1})

    url = "https://platform/public/v1/commerce/agreements/AGR-1"
    answer = rehearsal.answer(Request("PUT", url, b'{"seats": 2}'), platform_answers)
    assert answer is not None

    reply = asyncio.run(answered_async(answer, read))

    assert (reply.json(), asked) == ({"id": "AGR-1", "seats": 2}, ["GET"])


# --- the platform


def test_an_update_is_answered_with_the_object_as_it_would_be(
    agreements: Any, rehearsal: Rehearsal
) -> None:
    updated = agreements.update("AGR-1", {"name": "two", "terms": {"level": 2}, "lines": []})

    after = {"id": "AGR-1", "name": "two", "terms": {"level": 2, "unit": "year"}, "lines": []}
    assert updated.to_dict() == after
    [change] = rehearsal.take_changes()
    assert change.before == {"id": "AGR-1", **AGREEMENT}
    assert change.after == after


def test_later_reads_see_an_update_whether_of_one_or_in_a_list(
    agreements: Any, rehearsal: Rehearsal
) -> None:
    agreements.update("AGR-2", {"name": "two"})
    agreements.update("AGR-2", {"terms": {"level": 2}})

    one, listed = agreements.get("AGR-2"), list(agreements.iterate(batch_size=1))[1]

    assert one.to_dict() == listed.to_dict()
    assert (one.name, one.terms.level, one.terms.unit) == ("two", 2, "year")


def test_a_read_shows_no_change_of_a_field_that_it_leaves_out(
    platform: MPTServer, agreements: Any, rehearsal: Rehearsal
) -> None:
    agreements.update("AGR-1", {"name": "two", "terms": {"level": 2}, "seats": 3})

    def listed(service: Any, *omitted: str) -> Any:
        pagination = {"limit": 1, "offset": 0, "total": 1}
        meta = {"pagination": pagination, "omitted": omitted}
        page = {"data": [{"id": "AGR-1", "name": "one"}], "$meta": meta}
        platform.answer(200, page, path="/agreements$")
        return service.fetch_page()[0].to_dict()

    selected = listed(agreements.select("name"))
    without = listed(agreements.select("-terms"))
    omitted = listed(agreements, "terms")

    assert selected == {"id": "AGR-1", "name": "two"}
    assert without == omitted == {"id": "AGR-1", "name": "two", "seats": 3}


def test_what_is_created_has_an_id_that_is_made_up_and_later_reads_see_it(
    agreements: Any, rehearsal: Rehearsal
) -> None:
    created = agreements.create({"name": "new", "terms": {"level": 3}})
    agreements.update(created.id, {"terms": {"unit": "month"}})

    assert created.id == "rehearsed-1"
    terms = {"level": 3, "unit": "month"}
    assert agreements.get(created.id).to_dict() == {
        "id": created.id,
        "name": "new",
        "terms": terms,
    }
    assert shown(rehearsal)[1] == (
        "update",
        "PUT",
        {"id": created.id, "name": "new", "terms": terms},
    )


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 100])
def test_a_list_ends_with_what_was_created_whatever_the_size_of_its_pages(
    agreements: Any, rehearsal: Rehearsal, page_size: int
) -> None:
    agreements.create({"name": "new"})
    agreements.create({"name": "newer"})

    listed = list(agreements.iterate(batch_size=page_size))

    assert ids(listed) == ["AGR-1", "AGR-2", "AGR-3", "rehearsed-1", "rehearsed-2"]


def test_a_filter_finds_what_was_created_so_that_it_is_created_once(
    agreements: Any, rehearsal: Rehearsal
) -> None:
    for _ in range(3):
        found = list(agreements.filter(RQLQuery(name="new")).iterate())
        if not found:
            agreements.create({"name": "new"})

    assert len(shown(rehearsal)) == 1
    assert agreements.filter(RQLQuery(name="new")).fetch_one().id == "rehearsed-1"
    assert list(agreements.filter(RQLQuery(name="old")).iterate()) == []


@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_what_was_deleted_is_not_found_and_left_out_of_lists(
    agreements: Any, rehearsal: Rehearsal, page_size: int
) -> None:
    new = agreements.create({"name": "new"}).id
    for each in ("AGR-1", new):
        agreements.delete(each)
        with pytest.raises(MPTError, match="404"):
            agreements.get(each)
        with pytest.raises(MPTError, match="404"):
            agreements.update(each, {"name": "again"})

    assert ids(agreements.iterate(batch_size=page_size)) == ["AGR-2", "AGR-3"]
    assert [kind for kind, *_ in shown(rehearsal)] == ["create", "delete", "delete"]


def test_an_action_is_answered_with_the_object_as_it_is(
    client: MPTClient, agreements: Any, rehearsal: Rehearsal
) -> None:
    agreements.update("AGR-1", {"name": "two"})
    reply = client.http_client.request("post", "/public/v1/commerce/agreements/AGR-1/validate")

    assert reply.json()["name"] == "two"
    action = rehearsal.take_changes()[1]
    assert action.kind == "action"
    assert action.request == "POST /public/v1/commerce/agreements/AGR-1/validate"
    assert action.before == action.after


def test_what_belongs_to_a_new_object_can_be_created_and_listed_too(
    client: MPTClient, agreements: Any, rehearsal: Rehearsal
) -> None:
    path = f"/public/v1/commerce/agreements/{agreements.create({}).id}"
    assert client.http_client.request("get", f"{path}/subscriptions").json()["data"] == []

    made = client.http_client.request("post", f"{path}/subscriptions", json={"name": "s"}).json()
    client.http_client.request("post", f"{path}/subscriptions/{made['id']}/terminate")

    assert made == {"id": "rehearsed-2", "name": "s"}
    listed = client.http_client.request("get", f"{path}/subscriptions").json()
    assert listed["data"] == [made]
    assert listed["$meta"]["pagination"]["total"] == 1
    assert [kind for kind, *_ in shown(rehearsal)] == ["create", "create", "action"]


def test_several_objects_may_be_created_at_once(client: MPTClient, rehearsal: Rehearsal) -> None:
    path = "/public/v1/commerce/agreements"
    made = client.http_client.request("post", path, json=[{"name": "a"}, {"name": "b"}])

    assert [each["name"] for each in made.json()] == ["a", "b"]
    assert [kind for kind, *_ in shown(rehearsal)] == ["create", "create"]


def test_several_objects_may_be_updated_at_once(
    client: MPTClient, agreements: Any, rehearsal: Rehearsal
) -> None:
    sent = [{"id": "AGR-1", "seats": 1}, {"id": "AGR-2", "seats": 2}]
    client.http_client.request("put", "/public/v1/commerce/agreements", json=sent)

    assert (agreements.get("AGR-1").seats, agreements.get("AGR-2").seats) == (1, 2)
    assert [kind for kind, *_ in shown(rehearsal)] == ["update", "update"]


def test_what_an_object_has_at_an_address_of_its_own_can_be_updated(
    platform: MPTServer, client: MPTClient, rehearsal: Rehearsal
) -> None:
    path = "/public/v1/catalog/products/PRD-1/settings"
    platform.answer(200, {"id": "SET-1", "splits": {"a": 1, "b": 1}}, path="settings$", times=2)
    client.http_client.request("put", path, json={"splits": {"b": 2}})

    assert client.http_client.request("get", path).json() == {
        "id": "SET-1",
        "splits": {"a": 1, "b": 2},
    }


def test_a_file_is_told_by_its_name_beside_the_fields_that_are_sent_with_it(
    client: MPTClient, rehearsal: Rehearsal
) -> None:
    path = "/public/v1/commerce/agreements/AGR-1/attachments"
    made = client.http_client.request(
        "post", path, json={"name": "terms"}, files={"file": ("terms.pdf", b"%PDF", "text/plain")}
    ).json()

    assert made == {"id": "rehearsed-1", "name": "terms", "file": "terms.pdf, 4 bytes"}


def test_a_write_to_what_is_not_there_is_answered_as_the_platform_answers_the_read(
    agreements: Any, rehearsal: Rehearsal
) -> None:
    with pytest.raises(MPTError, match=r"404.*No AGR-9"):
        agreements.update("AGR-9", {"name": "none"})

    assert shown(rehearsal) == []


def test_a_read_that_nothing_was_changed_of_is_sent_as_it_is(
    platform: MPTServer, agreements: Any, rehearsal: Rehearsal
) -> None:
    agreements.update("AGR-1", {"name": "two"})
    platform.clear_requests()

    assert agreements.get("AGR-2").name == "one"
    assert len(platform.requests("GET")) == 1


def test_threads_lose_no_change_of_another(agreements: Any, rehearsal: Rehearsal) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: agreements.update("AGR-1", {f"f{n}": n}), range(40)))
        list(pool.map(lambda n: agreements.create({"n": n}), range(40)))

    changed = agreements.get("AGR-1").to_dict()
    assert [changed[f"f{number}"] for number in range(40)] == list(range(40))
    assert len(set(ids(agreements.iterate()))) == 43
    assert len(shown(rehearsal)) == 80


# --- Airtable


def test_a_row_is_updated_cell_by_cell(table: Table, rehearsal: Rehearsal) -> None:
    row = table.all()[0]
    updated = table.update(row["id"], {"order_id": 7, "type": "data"})

    assert updated["fields"] == {"migration_id": "m1", "order_id": 7, "type": "data"}
    assert table.get(row["id"]) == table.all()[0] == updated
    assert table.all(fields=["type"])[0]["fields"] == {"type": "data"}


def test_a_cell_may_be_emptied_and_a_row_replaced(table: Table, rehearsal: Rehearsal) -> None:
    one, other, _ = ids(table.all())
    table.update(one, {"order_id": None})
    table.update(other, {"type": "data"}, replace=True)

    assert [row["fields"] for row in table.all()][:2] == [{"migration_id": "m1"}, {"type": "data"}]
    assert table.get(other)["fields"] == {"type": "data"}


def test_rows_are_updated_by_tens_with_one_read_for_all(
    table: Table, server: AirtableServer, rehearsal: Rehearsal
) -> None:
    rows = ids(table.all())
    server.clear_requests()
    updated = table.batch_update([{"id": row, "fields": {"order_id": 9}} for row in rows])

    assert len(server.requests()) == 1
    assert ids(updated) == rows
    assert updated == table.all()
    assert [row["fields"]["order_id"] for row in updated] == [9, 9, 9]
    assert [(kind, after["fields"]["migration_id"]) for kind, _, after in shown(rehearsal)] == [
        ("update", "m1"),
        ("update", "m2"),
        ("update", "m3"),
    ]


def test_none_of_a_batch_is_updated_if_one_is_not_there(table: Table, rehearsal: Rehearsal) -> None:
    records = [{"id": each, "fields": {"order_id": 9}} for each in [*ids(table.all()), "recNone"]]
    with pytest.raises(HTTPError, match="ROW_DOES_NOT_EXIST"):
        table.batch_update(records)  # type: ignore[arg-type] # records as they are

    assert shown(rehearsal) == []
    assert [row["fields"]["order_id"] for row in table.all()] == [1, 2, 3]


@pytest.mark.parametrize("use_batch", [False, True])
def test_what_is_created_is_listed_got_and_found_by_a_formula(
    table: Table, rehearsal: Rehearsal, use_batch: bool
) -> None:
    fields: Any = {"migration_id": "it's", "order_id": 4}
    created = table.batch_create([fields])[0] if use_batch else table.create(fields)

    assert created["id"] == "rehearsed-1"
    assert created["fields"] == fields
    assert table.get(created["id"]) == created
    assert table.all()[3] == created
    assert table.all(page_size=2)[3] == created
    assert table.all(formula=f'OR(RECORD_ID() = "{created["id"]}")') == [created]


def test_an_upsert_updates_what_has_its_keys_and_creates_the_rest(
    table: Table, rehearsal: Rehearsal
) -> None:
    first = ids(table.all())[0]
    records: list[Any] = [
        {"fields": {"migration_id": "m2", "order_id": 20}},
        {"fields": {"migration_id": "new", "order_id": 40}},
        {"id": first, "fields": {"migration_id": "m1", "order_id": 10}},
    ]
    once = table.batch_upsert(records, key_fields=["migration_id"])
    again = table.batch_upsert(records, key_fields=["migration_id"])

    assert once["createdRecords"] == ["rehearsed-1"]
    assert len(once["updatedRecords"]) == 2
    assert again["createdRecords"] == []
    assert once["records"] == again["records"]
    assert [row["fields"]["order_id"] for row in table.all()] == [10, 20, 3, 40]


@pytest.mark.parametrize("use_batch", [False, True])
def test_a_deleted_row_is_gone(table: Table, rehearsal: Rehearsal, use_batch: bool) -> None:
    first, *others = ids(table.all())
    deleted = table.batch_delete([first])[0] if use_batch else table.delete(first)

    assert deleted == {"id": first, "deleted": True}
    assert ids(table.all()) == others
    with pytest.raises(HTTPError, match="404"):
        table.get(first)
    with pytest.raises(HTTPError, match="404"):
        table.update(first, {"order_id": 1})


def test_a_rehearsal_leaves_nothing_behind(table: Table) -> None:
    with nothing_written(Rehearsal(answers=True)):
        table.create({"migration_id": "new"})
        assert len(table.all()) == 4

    assert len(table.all()) == 3
