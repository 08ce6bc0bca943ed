"""The connection to Airtable, held against the test server: time-outs, pace, second attempts."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyairtable import Api
from requests import PreparedRequest, ReadTimeout, RequestException, Response, Session
from support.airtable_server import BASE, TABLE, AirtableServer, RateLimit
from support.simulation import Clock

from mpt_tool.clients.airtable import AirtableAdapter, TimeOut, _limiter, open_api
from mpt_tool.clients.retries import BeforeSend
from mpt_tool.clients.settings import AirtableSettings
from mpt_tool.storage.airtable.repository import AirtableRepository
from mpt_tool.storage.airtable.settings import StoreSettings
from mpt_tool.storage.lease import RENEWALS_A_LEASE, Pace
from mpt_tool.testing.storage import ORIGIN, RUNNING

AT_ONCE = {"Retry-After": "0"}


@pytest.fixture
def api(server: AirtableServer) -> Iterator[Api]:
    api = open_api(
        AirtableSettings.model_validate(
            {"AIRTABLE_API_KEY": server.token, "STORAGE_AIRTABLE_ENDPOINT_URL": server.url}
        )
    )
    yield api
    api.session.close()


@pytest.fixture
def session(server: AirtableServer) -> Iterator[Session]:
    """A session that gives a failing request about a second before it gives up."""
    with Session() as session:
        session.mount("http://", AirtableAdapter(retry_seconds=1.5, per_second=5))
        session.headers["Authorization"] = f"Bearer {server.token}"
        yield session


def test_after_a_refusal_requests_leave_room_for_those_of_others(
    api: Api, server: AirtableServer
) -> None:
    table = api.table(BASE, TABLE)
    table.all()
    server.answer(429, headers=AT_ONCE)

    for _ in range(3):
        table.all()

    _, _, first, *_, last = (request.time for request in server.requests())
    # Two pauses of half a second, of which a server that is slow to take the first one hides some.
    assert last - first > 0.6


@pytest.mark.parametrize("per_second", [5, 10])
def test_a_base_gets_as_many_requests_a_second_as_the_setting_says(
    server: AirtableServer, per_second: int
) -> None:
    settings = server.settings | {"STORAGE_AIRTABLE_REQUESTS_PER_SECOND": str(per_second)}
    table = open_api(AirtableSettings.model_validate(settings)).table(BASE, TABLE)

    for _ in range(per_second + 1):
        table.all()

    first, *_, last = (request.time for request in server.requests())
    assert last - first >= 1


def test_one_that_might_have_waited_for_the_lock_leaves_room_as_long(
    server: AirtableServer,
) -> None:
    clock = Clock()
    pace = Pace(90, lambda: clock.now, clock.sleep, lambda: 0.5)
    settings = StoreSettings.model_validate(server.settings)

    def connect(before_send: BeforeSend, time_out: TimeOut, is_urgent: bool) -> Api:
        return open_api(settings, before_send, time_out, is_urgent=is_urgent)

    repository = AirtableRepository(settings, connect, pace)

    with repository.lock(ORIGIN, 600, lambda: None):
        room_until = _limiter(
            f"{server.url}/v0/{BASE}/{TABLE}", settings.requests_per_second
        )._room_until

    assert room_until > time.monotonic() + 500


def test_every_request_has_a_time_out_within_which_the_lease_can_still_be_renewed(
    server: AirtableServer,
) -> None:
    time_outs: list[float] = []
    lease_seconds = 45

    class NotingAdapter(AirtableAdapter):
        def build_response(self, req: PreparedRequest, resp: Any) -> Response:
            time_outs.append(resp.connection.sock.gettimeout())
            return super().build_response(req, resp)

    def connect(before_send: BeforeSend, time_out: TimeOut, is_urgent: bool) -> Api:
        api = Api(server.token, retry_strategy=None, endpoint_url=server.url)
        api.session.mount("http://", NotingAdapter(0, 5, before_send, time_out))
        return api

    settings = StoreSettings.model_validate(
        {
            **server.settings,
            "STORAGE_AIRTABLE_TABLE_NAME": "New",
            "STORAGE_AIRTABLE_LEASE_SECONDS": lease_seconds,
        }
    )
    clock = Clock()
    pace = Pace(lease_seconds, lambda: clock.now, clock.sleep, lambda: 0.5)
    repository = AirtableRepository(settings, connect, pace)

    repository.initialize()
    repository.save(RUNNING)
    repository.save(RUNNING.fail())
    repository.load()

    assert set(time_outs) == {lease_seconds / RENEWALS_A_LEASE * 2 / 3}


@pytest.mark.parametrize(("method", "attempts"), [("GET", 2), ("PATCH", 2), ("POST", 1)])
def test_a_late_reply_is_not_waited_for_and_a_post_not_repeated(
    server: AirtableServer, session: Session, method: str, attempts: int
) -> None:
    server.delay(60, times=2)

    with pytest.raises(ReadTimeout):
        session.request(method, f"{server.url}/v0/{BASE}/{TABLE}", timeout=0.2)

    assert len(server.requests(method)) == attempts


@pytest.mark.parametrize(
    ("status", "method", "attempts"),
    [
        (429, "GET", 2),
        (429, "PATCH", 2),
        (429, "POST", 2),
        (503, "GET", 2),
        (503, "PATCH", 2),
        (503, "POST", 1),
        (422, "GET", 1),
    ],
)
def test_a_refused_request_is_sent_again_if_that_helps_and_does_no_harm(
    server: AirtableServer, session: Session, status: int, method: str, attempts: int
) -> None:
    server.answer(status, headers=AT_ONCE)
    server.answer(200, {})

    reply = session.request(method, f"{server.url}/v0/{BASE}/{TABLE}")

    assert len(server.requests(method)) == attempts
    assert reply.status_code == (200 if attempts == 2 else status)


def test_a_post_that_was_never_sent_is_sent_again(
    server: AirtableServer, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()

    with pytest.raises(RequestException):
        session.post(f"{server.url}/v0/{BASE}/{TABLE}")

    assert "Airtable did not answer (ConnectionError): trying again in 1 s" in caplog.text


@pytest.mark.parametrize("wish", ["soon", "-1", "1.2.3", "Wed, 99 Oct 2026 07:28:00 GMT"])
def test_a_wish_that_is_no_time_is_passed_over(
    server: AirtableServer, session: Session, wish: str
) -> None:
    server.answer(429, headers={"Retry-After": wish})

    reply = session.get(f"{server.url}/v0/{BASE}/{TABLE}")

    # A lock-out lasts longer than this session waits.
    assert reply.status_code == 429
    assert len(server.requests()) == 1


def test_a_connection_dropped_at_the_last_attempt_too_is_an_error(
    server: AirtableServer, session: Session
) -> None:
    server.drop(times=2)

    with pytest.raises(RequestException):
        session.get(f"{server.url}/v0/{BASE}/{TABLE}")

    assert len(server.requests()) == 2


def test_clients_keep_to_the_rate_of_the_base_together(server: AirtableServer, api: Api) -> None:
    server.rate_limit = RateLimit()
    with Session() as other:
        other.mount("http://", AirtableAdapter(retry_seconds=0, per_second=5))
        other.headers["Authorization"] = f"Bearer {server.token}"
        for _ in range(4):
            api.table(BASE, TABLE).all()
            other.get(f"{server.url}/v0/{BASE}/{TABLE}")

    assert [request.status for request in server.requests()] == [200] * 8


def test_a_key_keeps_to_its_rate_over_all_bases(server: AirtableServer, api: Api) -> None:
    bases = [f"app{number}" for number in range(20)]
    for base in bases:
        server.add_table(base, TABLE)
    with ThreadPoolExecutor(20) as pool:
        for base in bases:
            for _ in range(4):
                pool.submit(api.table(base, TABLE).all)

    times = [request.time for request in server.requests()]
    assert len(times) == 80
    assert max(sum(began <= time < began + 1 for time in times) for began in times) <= 50
