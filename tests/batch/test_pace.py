"""How a batch migration and its clients keep to what the other side takes."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import httpx
import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import ASYNC, SYNC, numbers
from support.http_server import LoopbackServer
from support.mpt_server import MPTServer, RateLimit
from support.process import wait_until
from support.project import Project

from mpt_tool.clients import airtable, mpt
from mpt_tool.clients.limiter import requests_capped
from mpt_tool.clients.retries import Attempt, asked_pause
from mpt_tool.clients.settings import AirtableSettings, PlatformSettings

pytestmark = pytest.mark.slow

AGREEMENTS = "/public/v1/commerce/agreements"
AT_ONCE = {"Retry-After": "0"}
# Refused by both services as what was not acted upon.
BUSY = [429, 503]


@pytest.fixture
def platform() -> Iterator[MPTServer]:
    with MPTServer() as server:
        server.add_agreement("AGR-1")
        yield server


class AsyncSession:
    """An asynchronous client that is waited for."""

    def __init__(self, client: httpx.AsyncClient, runner: asyncio.Runner) -> None:
        self._client, self._runner = client, runner

    def request(self, method: str, url: str, json: object = None) -> httpx.Response:
        return self._runner.run(self._client.request(method, url, json=json))


@pytest.fixture(params=[SYNC, ASYNC])
def session(
    platform: MPTServer, request: pytest.FixtureRequest
) -> Iterator[httpx.Client | AsyncSession]:
    """What sends the requests of the mixin's clients."""
    settings = PlatformSettings.model_validate(platform.settings)
    if request.param == ASYNC:
        with asyncio.Runner() as runner:
            yield AsyncSession(mpt.open_async_client(settings).http_client.httpx_client, runner)
    else:
        with mpt.open_client(settings).http_client.httpx_client as session:
            yield session


# --- max_per_second


@pytest.mark.parametrize(("process", "workers"), [(SYNC, 1), (SYNC, 8), (ASYNC, 1), (ASYNC, 8)])
def test_no_more_items_a_second_are_begun_than_allowed_by_all_workers_together(
    project: Project, platform: MPTServer, process: str, workers: int
) -> None:
    per_second, total = 25, 26
    body = "self.send(number)" if process == SYNC else "await asyncio.to_thread(self.send, number)"
    methods = f"""
    def send(self, number):
        import urllib.request
        urllib.request.urlopen(urllib.request.Request(
            f"{platform.url}{AGREEMENTS}/AGR-1",
            headers={{"Authorization": "Bearer {platform.token}"}},
        )).close()
    """
    migration = numbers(
        project,
        body,
        total=total,
        process=process,
        methods=methods,
        workers=workers,
        max_per_second=per_second,
    )

    assert project.run("migrate", "--data").exit_code == 0

    assert len(migration.processed) == total
    times = [request.time for request in platform.requests()]
    # The first and the last are a second apart; a request may take a while to arrive.
    assert max(times) - min(times) > 0.9 * (total - 1) / per_second


# --- pauses that are asked for


@contextmanager
def calling_platform(platform: MPTServer) -> Iterator[Callable[[], object]]:
    """Return a read by a client of its own."""
    client = mpt.open_client(PlatformSettings.model_validate(platform.settings))
    with client.http_client.httpx_client:
        yield lambda: client.commerce.agreements.get("AGR-1")


@contextmanager
def calling_platform_async(platform: MPTServer) -> Iterator[Callable[[], object]]:
    """Return a read by an asynchronous client of its own, in an event loop of its own each time."""
    client = mpt.open_async_client(PlatformSettings.model_validate(platform.settings))
    yield lambda: asyncio.run(client.commerce.agreements.get("AGR-1"))


@contextmanager
def calling_airtable(server: AirtableServer) -> Iterator[Callable[[], object]]:
    """Return a read by a client of its own."""
    api = airtable.open_api(AirtableSettings.model_validate(server.settings))
    with api.session:
        yield lambda: api.table(BASE, TABLE).all()


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("2", 2),
        ("1.5", 1.5),
        ("0", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00", 0),
        ("", None),
        ("-1", None),
        ("soon", None),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_a_pause_is_asked_for_in_seconds_or_by_a_date(
    retry_after: str, seconds: float | None
) -> None:
    assert asked_pause(retry_after) == seconds


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000", ""])
def test_a_date_to_come_is_waited_for(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    half_an_hour_on = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True)

    seconds = asked_pause(half_an_hour_on.replace("GMT", zone))

    monkeypatch.undo()
    time.tzset()
    assert seconds is not None
    assert 1700 < seconds <= 1800


@pytest.mark.parametrize("wish", ["Fri, 31 Dec 9999 23:59:59 GMT", "600", "9" * 400])
def test_no_more_than_a_minute_is_waited_at_once(wish: str) -> None:
    assert Attempt("answered 429", asked=asked_pause(wish)).pause(1) == 60


def test_one_that_asks_for_no_pause_again_and_again_gets_one() -> None:
    attempt = Attempt("answered 429", asked=0)

    assert attempt.pause(1) < 0.1
    assert attempt.pause(9) > 0.9


@pytest.mark.parametrize("status", BUSY)
@pytest.mark.parametrize(
    ("service", "calling"),
    [
        ("platform", calling_platform),
        ("platform", calling_platform_async),
        ("server", calling_airtable),
    ],
)
def test_a_pause_that_one_worker_is_asked_for_holds_all_workers_and_clients(
    request: pytest.FixtureRequest,
    service: str,
    calling: Callable[[LoopbackServer], AbstractContextManager[Callable[[], object]]],
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    busy: LoopbackServer = request.getfixturevalue(service)
    seconds = 0.5
    busy.answer(status, headers={"Retry-After": str(seconds)})

    with calling(busy) as call, calling(busy) as other_call, ThreadPoolExecutor() as pool:
        first = pool.submit(call)
        wait_until(lambda: f"answered {status}" in caplog.text)
        others = [pool.submit(each) for each in (call, other_call, call)]
        for each in (first, *others):
            each.result()

    refused, *held = busy.requests()
    assert refused.status == status
    assert len(held) == 4
    assert min(each.time for each in held) >= refused.time + seconds


def held_for_two_seconds(call: Callable[[], object], other_call: Callable[[], object]) -> bool:
    """Whether the other request waits for the pause that the first one was asked for."""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(call)
        time.sleep(0.5)
        began = time.monotonic()
        other_call()
        seconds = time.monotonic() - began
        first.result()
    return seconds > 1


def test_a_pause_of_one_base_holds_no_other(server: AirtableServer) -> None:
    server.add_table("appOfTheExtension", TABLE)
    server.answer(429, headers={"Retry-After": "2"})
    api = airtable.open_api(AirtableSettings.model_validate(server.settings))

    with api.session:
        tables = [api.table(base, TABLE) for base in (BASE, "appOfTheExtension")]
        assert not held_for_two_seconds(*(table.all for table in tables))


def test_a_pause_of_one_token_holds_no_other(platform: MPTServer) -> None:
    platform.answer(429, headers={"Retry-After": "2"})
    transport = mpt.PlatformTransport(httpx.HTTPTransport())

    with httpx.Client(base_url=platform.url, transport=transport) as session:
        calls = [
            partial(session.get, AGREEMENTS, headers={"Authorization": f"Bearer {token}"})
            for token in (platform.token, "of another extension")
        ]
        assert not held_for_two_seconds(*calls)


@pytest.mark.parametrize(
    ("status", "headers", "method", "attempts"),
    [
        *((status, AT_ONCE, method, 2) for status in BUSY for method in ("GET", "PUT", "POST")),
        (503, {}, "POST", 1),
        (503, {"Retry-After": "soon"}, "POST", 1),
        (503, {}, "GET", 2),
        (502, AT_ONCE, "GET", 2),
        (504, AT_ONCE, "PUT", 2),
        (502, AT_ONCE, "POST", 1),
        (500, AT_ONCE, "GET", 1),
        (400, AT_ONCE, "GET", 1),
    ],
)
def test_a_refused_request_is_sent_again_if_that_helps_and_does_no_harm(
    platform: MPTServer,
    session: httpx.Client | AsyncSession,
    status: int,
    headers: dict[str, str],
    method: str,
    attempts: int,
) -> None:
    platform.answer(status, headers=headers)
    path = AGREEMENTS if method == "POST" else f"{AGREEMENTS}/AGR-1"

    reply = session.request(method, path, json={"id": "AGR-1"} if method != "GET" else None)

    assert len(platform.requests(method)) == attempts
    assert reply.is_success == (attempts == 2)


@pytest.mark.parametrize("headers", [AT_ONCE, {}, {"Retry-After": "600"}])
def test_a_platform_that_stays_busy_is_asked_for_so_long_and_no_longer(
    platform: MPTServer, headers: dict[str, str]
) -> None:
    platform.answer(429, headers=headers, times=100)
    transport = mpt.PlatformTransport(httpx.HTTPTransport(), retry_seconds=1.5)

    with httpx.Client(base_url=platform.url, transport=transport) as session:
        began = time.monotonic()
        reply = session.get(AGREEMENTS)

    assert reply.status_code == 429
    assert time.monotonic() - began < 3
    assert len(platform.requests()) < 10


@pytest.mark.parametrize(("method", "attempts"), [("GET", 2), ("PUT", 2), ("POST", 1)])
def test_a_request_whose_reply_was_lost_is_sent_again_unless_it_is_a_post(
    platform: MPTServer, session: httpx.Client | AsyncSession, method: str, attempts: int
) -> None:
    platform.drop(method=method, after_write=True)
    path = AGREEMENTS if method == "POST" else f"{AGREEMENTS}/AGR-1"
    body = {"id": "AGR-1"} if method != "GET" else None

    if attempts == 1:
        with pytest.raises(httpx.RemoteProtocolError):
            session.request(method, path, json=body)
    else:
        assert session.request(method, path, json=body).is_success

    assert len(platform.requests(method)) == attempts


def test_a_platform_that_speaks_no_tls_is_not_asked_again(
    platform: MPTServer, caplog: pytest.LogCaptureFixture
) -> None:
    transport = mpt.PlatformTransport(httpx.HTTPTransport())
    with httpx.Client(transport=transport) as session, pytest.raises(httpx.ConnectError):
        session.get(platform.url.replace("http:", "https:"))

    assert "trying again" not in caplog.text


def test_a_platform_that_asks_for_no_pause_is_asked_more_slowly_by_all(
    platform: MPTServer,
) -> None:
    platform.rate_limit = RateLimit(20)
    with (
        calling_platform(platform) as call,
        calling_platform(platform) as other_call,
        ThreadPoolExecutor(8) as pool,
    ):
        for _ in range(100):
            pool.submit(call)
            pool.submit(other_call)

    statuses = [request.status for request in platform.requests()]
    assert statuses.count(200) == 200
    # Those that were on their way when the first was refused, and few later.
    assert statuses.count(429) < 30


# --- max_requests_per_second


def most_in_a_second(times: list[float]) -> int:
    return max(sum(began <= time < began + 1 for time in times) for began in times)


def test_requests_of_all_clients_that_migrations_have_are_capped_together(
    platform: MPTServer, server: AirtableServer
) -> None:
    settings = AirtableSettings.model_validate(server.settings)
    api = airtable.open_api(settings, is_capped=True)
    with requests_capped(10), calling_platform(platform) as call, ThreadPoolExecutor(8) as pool:
        for _ in range(12):
            pool.submit(call)
        for base in ("app1", "app2", "app3"):
            pool.submit(api.table(base, TABLE).create, {})
    api.session.close()

    times = [request.time for each in (platform, server) for request in each.requests()]
    assert len(times) == 15
    assert max(times) - min(times) > 1.3
    assert most_in_a_second(times) <= 11


def test_what_no_migration_sends_is_not_capped(server: AirtableServer) -> None:
    api = airtable.open_api(AirtableSettings.model_validate(server.settings))

    with requests_capped(0.1), api.session:
        began = time.monotonic()
        for _ in range(2):
            api.table(BASE, TABLE).all()

    assert time.monotonic() - began < 5


def test_no_cap_holds_after_its_end(platform: MPTServer) -> None:
    with requests_capped(0.1), calling_platform(platform) as call:
        call()

    with calling_platform(platform) as call:
        began = time.monotonic()
        call()

    assert time.monotonic() - began < 5


# --- the clients of the mixins


def test_all_workers_share_the_clients_of_the_mixins(
    project: Project, platform: MPTServer, server: AirtableServer
) -> None:
    project.environment = {**platform.settings, **server.settings, "STORAGE_TYPE": "local"}
    for number in range(2, 11):
        platform.add_agreement(f"AGR-{number}")
    project.file(
        "migrations/1_shares.py",
        f"""\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin, AirtableAPIClientMixin):
            workers = 8
            clients = set()

            def items(self, cursor):
                return range(1, 11)

            def process(self, number):
                mpt, airtable = self.mpt_client, self.airtable_client
                self.clients |= {{mpt, airtable}}
                mpt.commerce.agreements.update(f"AGR-{{number}}", {{"number": number}})
                airtable.table({BASE!r}, {TABLE!r}).create({{"order_id": number}})
                if number == 10:
                    print("clients:", len(self.clients))
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert "clients: 2\n" in result.stdout
    assert sorted(each["number"] for each in platform.agreements()) == list(range(1, 11))
    rows = [row["fields"]["order_id"] for row in server.rows(BASE, TABLE)]
    assert sorted(rows) == list(range(1, 11))
