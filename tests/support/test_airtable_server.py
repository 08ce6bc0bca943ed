"""The Airtable test server, driven by the real client."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pyairtable import Api, Table
from requests import HTTPError, ReadTimeout
from requests.exceptions import ConnectionError as RequestsConnectionError

from support.airtable_server import STATE_COLUMNS, AirtableServer, RateLimit

BASE = "appStateOfTheTests"
TABLE = "Migrations / state"
FIELDS: dict[str, Any] = {
    "migration_id": "add_parameters",
    "order_id": 20260113180013,
    "started_at": "2026-01-13T19:05:20.123456+01:00",
    "applied_at": None,
    "type": "data",
}


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_768_327_520.9  # 2026-01-13 18:05:20.9 UTC

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[AirtableServer]:
    with AirtableServer(clock=clock) as server:
        server.add_table(BASE, TABLE)
        yield server


@pytest.fixture
def api(server: AirtableServer) -> Iterator[Api]:
    api = Api(server.token, retry_strategy=None, endpoint_url=server.url)
    yield api
    api.session.close()


@pytest.fixture
def table(api: Api) -> Table:
    return api.table(BASE, TABLE)


def error_of(failure: pytest.ExceptionInfo[HTTPError]) -> tuple[int, Any]:
    """Return the status and the body of the reply that made the client fail."""
    response = failure.value.response
    return response.status_code, response.json()


def test_lists_250_rows_in_3_requests(server: AirtableServer, table: Table) -> None:
    ids = [server.add_row(BASE, TABLE, {"order_id": number}) for number in range(250)]

    assert [row["id"] for row in table.all()] == ids
    assert [request.status for request in server.requests("GET")] == [200, 200, 200]


def test_a_row_deleted_between_two_pages_hides_no_other(
    server: AirtableServer, table: Table
) -> None:
    ids = [server.add_row(BASE, TABLE, {"order_id": number}) for number in range(4)]
    pages = table.iterate(page_size=2)
    next(pages)

    server.delete_row(BASE, TABLE, ids[1])

    assert [row["id"] for row in next(pages)] == ids[2:]


def test_lists_by_post_when_the_address_gets_too_long(server: AirtableServer, table: Table) -> None:
    server.add_row(BASE, TABLE, FIELDS)

    (row,) = table.all(fields=["type"] * 2000)

    assert row["fields"] == {"type": "data"}
    assert [request.method for request in server.requests()] == ["POST"]


def test_a_created_row_comes_back_as_airtable_keeps_it(table: Table) -> None:
    row = table.create(FIELDS)

    assert re.fullmatch("rec[0-9A-Za-z]{14}", row["id"])
    assert row["createdTime"] == "2026-01-13T18:05:20.000Z"
    assert row["fields"] == {
        "migration_id": "add_parameters",
        "order_id": 20260113180013,
        "started_at": "2026-01-13T18:05:20.123Z",
        "type": "data",
    }
    assert table.get(row["id"]) == row


def test_an_update_keeps_the_other_cells_and_a_replacement_empties_them(table: Table) -> None:
    row = table.create(FIELDS)

    kept = table.update(row["id"], {"started_at": ""})
    replaced = table.batch_update([{"id": row["id"], "fields": {"order_id": 1}}], replace=True)

    assert kept["fields"].keys() == {"migration_id", "order_id", "type"}
    assert replaced[0]["fields"] == {"order_id": 1}


def test_an_upsert_leaves_one_row(server: AirtableServer, table: Table) -> None:
    first = table.batch_upsert([{"fields": FIELDS}], key_fields=["migration_id"])
    second = table.batch_upsert([{"fields": FIELDS}], key_fields=["migration_id"])

    (row,) = server.rows(BASE, TABLE)
    assert first["createdRecords"] == second["updatedRecords"] == [row["id"]]
    assert first["updatedRecords"] == second["createdRecords"] == []


def test_an_upsert_is_refused_if_several_rows_match(server: AirtableServer, table: Table) -> None:
    server.add_row(BASE, TABLE, FIELDS)
    server.add_row(BASE, TABLE, FIELDS)

    with pytest.raises(HTTPError) as failure:
        table.batch_upsert([{"fields": FIELDS}], key_fields=["migration_id"])

    assert error_of(failure)[0] == 422


def test_deletes_one_row_and_many(server: AirtableServer, table: Table) -> None:
    ids = [row["id"] for row in table.batch_create([FIELDS] * 12)]

    table.delete(ids[0])
    table.batch_delete(ids[1:])

    assert server.rows(BASE, TABLE) == []
    assert len(server.requests("DELETE")) == 3


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"x": 1}, "UNKNOWN_FIELD_NAME", 'Unknown field name: "x"'),
        (
            {"order_id": "1"},
            "INVALID_VALUE_FOR_COLUMN",
            'Field "order_id" cannot accept the provided value',
        ),
        (
            {"started_at": "yesterday"},
            "INVALID_VALUE_FOR_COLUMN",
            'Field "started_at" cannot accept the provided value',
        ),
        (
            {"type": "other"},
            "INVALID_MULTIPLE_CHOICE_OPTIONS",
            'Insufficient permissions to create new select option ""other""',
        ),
    ],
)
def test_a_wrong_value_is_refused_and_nothing_of_its_batch_is_kept(
    server: AirtableServer, table: Table, fields: dict[str, Any], kind: str, message: str
) -> None:
    with pytest.raises(HTTPError) as failure:
        table.batch_create([FIELDS, fields])

    assert error_of(failure) == (422, {"error": {"type": kind, "message": message}})
    assert server.rows(BASE, TABLE) == []


def test_typecast_converts_values_and_adds_choices(table: Table) -> None:
    fields: dict[str, Any] = {"migration_id": 7, "order_id": "20260113180013", "type": "other"}

    row = table.create(fields, typecast=True)

    assert row["fields"] == {"migration_id": "7", "order_id": 20260113180013, "type": "other"}


def test_more_than_ten_records_are_refused(api: Api, table: Table) -> None:
    with pytest.raises(HTTPError) as failure:
        api.post(table.urls.records, json={"records": [{"fields": {}}] * 11})

    status, body = error_of(failure)
    assert (status, body["error"]["type"]) == (422, "INVALID_REQUEST_UNKNOWN")


@pytest.mark.parametrize("formula", ['LEFT({migration_id}, 5) = "lock:"', 'LEFT({type},2)="da"'])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_lists_the_rows_that_begin_as_the_formula_says(
    server: AirtableServer, api: Api, table: Table, method: str, formula: str
) -> None:
    found = server.add_row(BASE, TABLE, {"migration_id": "lock:any", "type": "data"})
    server.add_row(BASE, TABLE, {"migration_id": "block:any", "type": "schema"})
    server.add_row(BASE, TABLE, {"order_id": 1})

    if method == "GET":
        document = api.get(table.urls.records, params={"filterByFormula": formula})
    else:
        document = api.post(table.urls.records_post, json={"filterByFormula": formula})

    assert [row["id"] for row in document["records"]] == [found]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"formula": 'LEFT({x}, 5) = "lock:"'}, "INVALID_FILTER_BY_FORMULA"),
        ({"formula": "{order_id} = 1"}, "INVALID_REQUEST_UNKNOWN"),
        ({"fields": ["type", "x"]}, "UNKNOWN_FIELD_NAME"),
    ],
)
def test_a_list_of_unknown_columns_or_by_another_formula_is_refused(
    table: Table, options: dict[str, Any], kind: str
) -> None:
    with pytest.raises(HTTPError) as failure:
        table.all(**options)

    status, body = error_of(failure)
    assert (status, body["error"]["type"]) == (422, kind)


def test_a_wrong_token_is_refused(api: Api, table: Table) -> None:
    api.api_key = "another"

    with pytest.raises(HTTPError) as failure:
        table.all()

    message = {"type": "AUTHENTICATION_REQUIRED", "message": "Authentication required"}
    assert error_of(failure) == (401, {"error": message})


@pytest.mark.parametrize(("base", "name"), [(BASE, "Other"), ("appOther", TABLE)])
def test_an_unknown_base_or_table_is_forbidden(api: Api, base: str, name: str) -> None:
    with pytest.raises(HTTPError) as failure:
        api.table(base, name).all()

    status, body = error_of(failure)
    assert (status, body["error"]["type"]) == (403, "INVALID_PERMISSIONS_OR_MODEL_NOT_FOUND")


def test_an_unknown_base_is_not_found_on_request() -> None:
    with AirtableServer(unknown=404) as server:
        api = Api(server.token, endpoint_url=server.url)
        with pytest.raises(HTTPError) as failure:
            api.table(BASE, TABLE).all()
        api.session.close()

    assert error_of(failure) == (404, {"error": "NOT_FOUND"})


def test_the_schema_tells_the_columns(api: Api) -> None:
    schema = api.base(BASE).schema().table(TABLE)

    assert [(column.name, column.type) for column in schema.fields] == [
        (column["name"], column["type"]) for column in STATE_COLUMNS
    ]
    assert schema.primary_field_id == schema.field("migration_id").id


def test_creates_a_table_and_a_field(server: AirtableServer, api: Api) -> None:
    table = api.base(BASE).create_table("New", STATE_COLUMNS)  # type: ignore[arg-type] # read only

    table.create_field("version", "multilineText")

    assert table.create({"version": "1\n2"})["fields"] == {"version": "1\n2"}
    assert server.columns(BASE, "New")[-1] == "version"


@pytest.mark.parametrize("name", ["", "type"])
def test_a_field_needs_a_name_of_its_own(api: Api, name: str) -> None:
    table = api.base(BASE).table(TABLE, validate=True)

    with pytest.raises(HTTPError) as failure:
        table.create_field(name, "singleLineText")

    status, body = error_of(failure)
    assert (status, body["error"]["type"]) == (422, "DUPLICATE_OR_EMPTY_FIELD_NAME")


def test_a_removed_column_is_unknown_and_its_cells_are_gone(
    server: AirtableServer, table: Table
) -> None:
    server.add_row(BASE, TABLE, FIELDS)

    server.remove_column(BASE, TABLE, "type")

    assert "type" not in table.all()[0]["fields"]
    with pytest.raises(HTTPError):
        table.create({"type": "data"})


def test_beyond_the_rate_limit_the_base_is_locked_out(
    server: AirtableServer, table: Table, clock: Clock
) -> None:
    server.rate_limit = RateLimit(lockout=30, retry_after=True)
    for _ in range(5):
        table.all()

    for seconds_later, asked in [(0, "30"), (29.5, "1")]:
        clock.now += seconds_later
        with pytest.raises(HTTPError) as failure:
            table.all()
        assert error_of(failure)[0] == 429
        assert failure.value.response.headers["Retry-After"] == asked

    clock.now += 0.5
    assert table.all() == []


def test_the_rate_limit_is_not_met_by_five_requests_a_second(
    server: AirtableServer, table: Table, clock: Clock
) -> None:
    server.rate_limit = RateLimit()

    for _ in range(20):
        table.all()
        clock.now += 0.2 + 1e-6  # the clock's steps do not add up to a second exactly

    assert len(server.requests()) == 20


def test_a_request_is_dropped_before_the_write(server: AirtableServer, table: Table) -> None:
    server.drop(method="POST")

    with pytest.raises(RequestsConnectionError):
        table.create(FIELDS)

    assert server.rows(BASE, TABLE) == []


def test_a_reply_is_lost_after_the_write(server: AirtableServer, table: Table) -> None:
    server.drop(method="POST", after_write=True)

    with pytest.raises(RequestsConnectionError):
        table.create(FIELDS)

    assert len(server.rows(BASE, TABLE)) == 1
    assert [request.status for request in server.requests()] == [None]


def test_a_late_reply_is_missed_by_a_client_that_does_not_wait(
    server: AirtableServer, api: Api, table: Table
) -> None:
    server.delay(60, method="POST")

    with pytest.raises(ReadTimeout):
        api.session.post(table.urls.records, json={"fields": FIELDS}, timeout=0.5)

    assert len(server.rows(BASE, TABLE)) == 1


def test_faults_happen_as_often_as_asked_and_only_where_they_match(
    server: AirtableServer, api: Api, table: Table
) -> None:
    server.answer(503, "<h1>busy</h1>", headers={"Retry-After": "7"}, path=r"^/v0/app", times=2)

    api.base(BASE).schema()
    for _ in range(2):
        with pytest.raises(HTTPError) as failure:
            table.all()
        assert failure.value.response.text == "<h1>busy</h1>"
        assert failure.value.response.headers["Retry-After"] == "7"

    assert table.all() == []


def test_requests_are_logged_with_what_they_asked_and_got(
    server: AirtableServer, table: Table, clock: Clock
) -> None:
    table.create(FIELDS)
    table.all(page_size=7)

    created, listed = server.requests(path=TABLE)
    assert (created.method, created.path) == ("POST", f"/v0/{BASE}/{TABLE}")
    assert created.body["fields"] == FIELDS
    assert (listed.query, listed.status, listed.time) == ({"pageSize": ["7"]}, 200, clock.now)

    server.clear_requests()
    assert server.requests() == []
