"""`self.async_mpt_client`: the asynchronous client of migrations, from outside."""

import asyncio
import ssl
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from support.batches import MIGRATION
from support.mpt_server import MPTServer, RateLimit
from support.process import wait_until
from support.project import Project

from mpt_tool.clients.mpt import AsyncPlatformTransport, open_async_client
from mpt_tool.clients.paging import count_of, find_in, walk, walk_children
from mpt_tool.clients.settings import PlatformSettings

pytestmark = pytest.mark.slow

IDS = [f"AGR-{number:02}" for number in range(24)]
BLOCKS = "The platform is asked by a synchronous client in an event loop"


@pytest.fixture
def platform() -> Iterator[MPTServer]:
    with MPTServer() as server:
        for each in IDS:
            server.add_agreement(each)
        yield server


@pytest.fixture
def project(project: Project, platform: MPTServer) -> Project:
    project.environment = {**platform.settings, "STORAGE_TYPE": "local"}
    return project


@pytest.fixture
def client(platform: MPTServer) -> Any:
    """The client that the mixin gives to migrations."""
    return open_async_client(PlatformSettings.model_validate(platform.settings))


def batch(project: Project, process: str, client: str = "async_mpt_client") -> None:
    """Write a migration whose eight workers share an event loop."""
    project.file(
        f"migrations/1_{MIGRATION}.py",
        f"""\
        import asyncio

        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin


        class Migration(BatchDataMigration, MPTAPIClientMixin):
            workers = 8

            def items(self, cursor):
                return self.each(self.{client}.commerce.agreements, after=cursor, page_size=5)

            async def process(self, agreement):
                agreements = self.async_mpt_client.commerce.agreements
                {process}
        """,
    )


def script(project: Project, *statements: str) -> None:
    """Write a migration with an asynchronous `run`."""
    body = "\n                ".join(statements)
    project.file(
        "migrations/1_script.py",
        f"""\
        import asyncio

        from mpt_tool.migration import DataBaseMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin


        class Migration(DataBaseMigration, MPTAPIClientMixin):
            async def run(self):
                agreements = self.async_mpt_client.commerce.agreements
                {body}
        """,
    )


# --- in a batch


def test_a_batch_walks_and_changes_by_the_asynchronous_client(
    project: Project, platform: MPTServer
) -> None:
    batch(project, "await agreements.update(agreement.id, {'done': True})")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert BLOCKS not in result.stderr
    assert all(each["done"] for each in platform.agreements())
    assert len(platform.requests("PUT")) == len(IDS)


def test_requests_of_all_workers_are_on_their_way_at_once(
    project: Project, platform: MPTServer
) -> None:
    batch(project, "await agreements.update(agreement.id, {'done': True})")
    platform.delay(0.5, method="PUT", times=8)

    assert project.run("migrate", "--data").exit_code == 0

    times = [request.time for request in platform.requests("PUT")][:8]
    assert times[-1] - times[0] < 0.5


def test_a_pause_that_the_platform_asks_for_holds_all_workers(
    project: Project, platform: MPTServer
) -> None:
    batch(project, "await agreements.update(agreement.id, {'done': True})")
    platform.answer(429, method="PUT", headers={"Retry-After": "1"})

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert all(each["done"] for each in platform.agreements())
    times = [request.time for request in platform.requests("PUT")]
    assert max(other - one for one, other in pairwise(times)) > 0.9


def test_a_dry_run_lets_it_write_nothing(project: Project, platform: MPTServer) -> None:
    project.file(
        f"migrations/1_{MIGRATION}.py",
        """\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin


        class Migration(BatchDataMigration, MPTAPIClientMixin):
            async def items(self, cursor):
                await self.async_mpt_client.commerce.agreements.update("AGR-01", {"done": True})
                yield 1

            def process(self, item):
                pass
        """,
    )

    result = project.run("migrate", "--data", MIGRATION, "--dry-run")

    assert platform.requests("PUT") == []
    assert "update: PUT /public/v1/commerce/agreements/AGR-01\n" in result.stdout


@pytest.mark.parametrize(
    ("process", "times"),
    [
        ("self.mpt_client.commerce.agreements.get(agreement.id)", 1),
        ("await asyncio.to_thread(self.mpt_client.commerce.agreements.get, agreement.id)", 0),
        ("await agreements.get(agreement.id)", 0),
    ],
)
def test_a_synchronous_client_that_holds_up_all_others_is_warned_of_once(
    project: Project, process: str, times: int
) -> None:
    batch(project, process, client="mpt_client")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert result.stderr.count(BLOCKS) == times


# --- in a script


def test_a_script_may_use_it_in_its_own_event_loop(project: Project, platform: MPTServer) -> None:
    script(
        project,
        "self.mpt_client.commerce.agreements.get('AGR-01')",
        "changes = (agreements.update(f'AGR-0{n}', {'done': True}) for n in range(5))",
        "await asyncio.gather(*changes)",
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert BLOCKS not in result.stderr
    assert sum("done" in each for each in platform.agreements()) == 5


def test_it_may_be_used_in_several_event_loops_each_of_which_closes_what_it_opened(
    platform: MPTServer, client: Any
) -> None:
    async def read() -> int:
        return len(await client.commerce.agreements.fetch_page(limit=5))

    for _ in range(3):
        assert asyncio.run(read()) == 5
        wait_until(lambda: not platform._listener._connections)


def test_requests_of_one_event_loop_share_its_connections(platform: MPTServer, client: Any) -> None:
    async def read() -> int:
        for each in IDS:
            await client.commerce.agreements.get(each)
        return len(platform._listener._connections)

    assert asyncio.run(read()) == 1


def test_a_cancelled_request_lets_others_begin(platform: MPTServer, client: Any) -> None:
    platform.rate_limit = RateLimit(100)
    platform.delay(30, times=1)

    async def cancel_and_read() -> object:
        slow = asyncio.create_task(client.commerce.agreements.get("AGR-01"))
        await asyncio.to_thread(wait_until, lambda: bool(platform.requests()))
        slow.cancel()
        return await client.commerce.agreements.get("AGR-02")

    assert asyncio.run(cancel_and_read())


def test_a_platform_that_speaks_no_tls_is_not_asked_again(
    platform: MPTServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def read() -> None:
        async with httpx.AsyncClient(transport=AsyncPlatformTransport()) as session:
            await session.get(platform.url.replace("http:", "https:"))

    with pytest.raises(httpx.ConnectError) as failure:
        asyncio.run(read())

    assert "trying again" not in caplog.text
    cause: Any = failure.value.__cause__
    assert isinstance(cause.__context__, ssl.SSLError)


# --- its services


def test_an_asynchronous_service_is_counted_found_in_and_walked(client: Any) -> None:
    agreements = client.commerce.agreements

    async def ask() -> tuple[Any, ...]:
        found = (await find_in(agreements, IDS[3])).id
        nothing = await find_in(agreements, "AGR-99")
        ids = [each.id async for each in walk(agreements, IDS[3], None, 5)]
        return await count_of(agreements), found, nothing, ids

    assert asyncio.run(ask()) == (len(IDS), IDS[3], None, IDS[4:])


@pytest.mark.parametrize("of_parents", [True, False])
def test_a_walk_over_children_is_asynchronous_if_either_is(client: Any, of_parents: bool) -> None:
    agreements, two = client.commerce.agreements, ["a", "b"]
    parents, children = (agreements, two) if of_parents else (two, agreements)

    async def ask(after: list[str] | None) -> list[Any]:
        pairs = walk_children(parents, lambda each: children, after)
        return [child.cursor async for child in pairs]

    everything = asyncio.run(ask(None))

    assert len(everything) == 2 * len(IDS)
    assert asyncio.run(ask(everything[30])) == everything[31:]
