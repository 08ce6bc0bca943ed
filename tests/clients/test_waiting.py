"""What waits for a service: for how long at most, what ends it, and what waits for nobody."""

import re
import signal
import textwrap
import time
from collections.abc import Iterator

import pytest
from support.airtable_server import BASE, AirtableServer
from support.batches import MIGRATION, numbers
from support.mpt_server import MPTServer
from support.process import Process, wait_until
from support.project import Project, record

from mpt_tool.storage.airtable.history import COLUMNS as HISTORY_COLUMNS

pytestmark = pytest.mark.slow

LONG = {"Retry-After": "600"}
# A claim is inserted and looked at, the state is read (twice without a column that may be missing),
# the record saved twice, the attempt added, the claim deleted.
REQUESTS_OF_A_RUN = 9
# A stop acts within 2 s; the rest is for a machine that is busy.
ACTS_WITHIN = 2 + 3


@pytest.fixture
def platform() -> Iterator[MPTServer]:
    with MPTServer() as server:
        server.add_agreement("AGR-1")
        yield server


@pytest.fixture
def project(project: Project, server: AirtableServer, platform: MPTServer) -> Project:
    """A project with its state in Airtable, whose scripts use both services."""
    project.environment = {**platform.settings, **server.settings}
    history = [{"name": name, **column} for name, column in HISTORY_COLUMNS.items()]
    server.add_table(BASE, "Migrations History", history)
    server.add_table(BASE, "Items")
    return project


def using_clients(project: Project, body: str) -> None:
    """Write a migration with both clients."""
    project.file(
        "migrations/1_waits.py",
        f"""\
        import threading, time
        from concurrent.futures import ThreadPoolExecutor
        from mpt_tool.migration import DataBaseMigration
        from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin

        class Migration(DataBaseMigration, MPTAPIClientMixin, AirtableAPIClientMixin):
            def run(self):
                {body}
        """,
    )


def let_through(server: AirtableServer, number: int) -> None:
    """Let so many requests through before what goes wrong next."""
    server.delay(0, times=number)


# --- how long


@pytest.mark.parametrize("number", range(REQUESTS_OF_A_RUN))
def test_no_request_of_a_run_waits_longer_than_the_setting_allows(
    project: Project, server: AirtableServer, number: int
) -> None:
    project.script("first")
    let_through(server, number)
    server.answer(429, headers=LONG)
    began = time.monotonic()

    result = project.run("migrate", "--data", env={"STORAGE_AIRTABLE_RETRY_SECONDS": "1"})

    assert any(request.status == 429 for request in server.requests())
    assert time.monotonic() - began < REQUESTS_OF_A_RUN + ACTS_WITHIN
    assert result.exit_code in (0, 1)


def test_a_run_that_waits_for_another_request_says_so(
    project: Project, server: AirtableServer
) -> None:
    using_clients(
        project,
        f"""table = self.airtable_client.table({BASE!r}, "Items")
                with ThreadPoolExecutor() as pool:
                    first = pool.submit(table.all)
                    time.sleep(1)
                    table.all()
                    first.result()""",
    )
    server.answer(429, path="Items", headers={"Retry-After": "5.5"})

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert re.search("WARNING - Airtable answered 429: trying again in [67] s\n", result.stderr)
    (said,) = (line for line in result.stderr.splitlines() if line.endswith(": waiting"))
    assert f"WARNING - Airtable base {BASE} takes no request for another " in said


# --- what ends it


@pytest.mark.parametrize(
    ("number", "exit_code"),
    # Nothing that follows a run changes how it ended; without its start on record, none is begun.
    [*((number, 143) for number in range(9)), (9, 1), (10, 0), (11, 0)],
)
def test_a_stop_ends_the_wait_of_each_request_of_a_run(
    project: Project, server: AirtableServer, number: int, exit_code: int
) -> None:
    project.script("first")
    let_through(server, number)
    server.answer(429, headers=LONG, times=2)

    with Process(project, "migrate", "--data") as process:
        process.wait_for("Airtable answered 429: trying again in 60 s")
        began = time.monotonic()
        process.send(signal.SIGTERM)
        result = process.wait()

    assert time.monotonic() - began < ACTS_WITHIN
    assert result.exit_code == exit_code, result.stderr


@pytest.mark.parametrize("on_error", ["stop", "collect"])
@pytest.mark.parametrize("workers", [1, 4])
def test_an_item_that_waits_at_a_stop_is_left_to_the_next_run(
    project: Project, platform: MPTServer, workers: int, on_error: str
) -> None:
    project.environment["STORAGE_TYPE"] = "local"
    migration = numbers(
        project,
        "self.client.commerce.agreements.get(f'AGR-{number}')",
        total=3,
        workers=workers,
        on_error=repr(on_error),
        methods="""
        @property
        def client(self):
            from mpt_tool.migration.mixins import MPTAPIClientMixin
            return MPTAPIClientMixin().mpt_client
        """,
    )
    for number in (2, 3):
        platform.add_agreement(f"AGR-{number}")
    platform.answer(429, path="AGR-2", headers=LONG, times=2)

    with Process(project, "migrate", "--data") as process:
        process.wait_for("The platform answered 429: trying again in 60 s")
        wait_until(lambda: 1 in migration.processed)
        began = time.monotonic()
        process.send(signal.SIGTERM)
        stopped = process.wait()

    assert time.monotonic() - began < ACTS_WITHIN
    assert stopped.exit_code == 75, stopped.stderr
    assert "its progress is kept" in stopped.stderr
    assert (migration.cursor, migration.record["checkpoint"]["processed"]) == (1, 1)
    assert project.run("migrate", "--data").exit_code == 0
    assert {1, 2, 3} == set(migration.processed)
    assert migration.processed.count(1) == migration.processed.count(2) == 1


@pytest.mark.parametrize("workers", [1, 4])
def test_a_search_for_more_items_that_waits_at_a_stop_is_left_to_the_next_run(
    project: Project, platform: MPTServer, workers: int
) -> None:
    project.environment["STORAGE_TYPE"] = "local"
    platform.add_agreement("AGR-2")
    platform.add_agreement("AGR-3")
    project.file(
        f"migrations/1_{MIGRATION}.py",
        f"""\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin):
            workers = {workers}

            def items(self, cursor):
                yield from self.each(self.mpt_client.commerce.agreements, after=cursor, page_size=2)

            def process(self, agreement):
                self.log.info("done: %s", agreement.id)
        """,
    )
    platform.delay(0)
    platform.answer(503, headers=LONG, times=2)

    with Process(project, "migrate", "--data") as process:
        process.wait_for("The platform answered 503: trying again in 60 s")
        process.wait_for("done: AGR-2")
        began = time.monotonic()
        process.send(signal.SIGTERM)
        stopped = process.wait()
    resumed = project.run("migrate", "--data")

    assert time.monotonic() - began < ACTS_WITHIN + 10
    assert stopped.exit_code == 75, stopped.stderr
    assert [line.split()[-1] for line in resumed.stderr.splitlines() if "done:" in line] == [
        "AGR-3"
    ]


@pytest.mark.parametrize(
    "method",
    [
        "def count(self): self.client.commerce.agreements.get('AGR-1')",
        "def prepare(self): self.client.commerce.agreements.get('AGR-1')",
        """
        async def prepare(self):
            async with asyncio.TaskGroup() as group:
                group.create_task(self.async_client.commerce.agreements.get('AGR-1'))
        """,
        """
        async def count(self):
            async with asyncio.TaskGroup() as group:
                group.create_task(self.async_client.commerce.agreements.get('AGR-1'))
        """,
    ],
    ids=["count", "prepare", "asynchronous prepare", "asynchronous count"],
)
def test_what_comes_before_the_items_and_waits_at_a_stop_leaves_all_to_the_next_run(
    project: Project, platform: MPTServer, method: str
) -> None:
    project.environment["STORAGE_TYPE"] = "local"
    clients = """
    from mpt_tool.migration.mixins import MPTAPIClientMixin
    client = property(lambda self: self.MPTAPIClientMixin().mpt_client)
    async_client = property(lambda self: self.MPTAPIClientMixin().async_mpt_client)
    """
    migration = numbers(project, methods=textwrap.dedent(clients) + textwrap.dedent(method))
    checkpoint = {"cursor": 3, "processed": 3, "since": None}
    project.write_state(record(MIGRATION, order_id=1, checkpoint=checkpoint))
    platform.answer(429, headers=LONG, times=2)

    with Process(project, "migrate", "--data") as process:
        process.wait_for("The platform answered 429: trying again in 60 s")
        process.send(signal.SIGTERM)
        stopped = process.wait()

    assert stopped.exit_code == 75, stopped.stderr
    assert "was stopped by SIGTERM after 3 items: its progress is kept" in stopped.stderr
    assert (migration.cursor, migration.processed) == (3, [])


def test_an_item_that_waits_at_a_stop_is_tried_once_more_at_once(
    project: Project, platform: MPTServer
) -> None:
    project.environment["STORAGE_TYPE"] = "local"
    project.file(
        f"migrations/1_{MIGRATION}.py",
        """\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin):
            def items(self, cursor):
                return ["AGR-1", "AGR-2"]

            def process(self, agreement_id):
                self.mpt_client.commerce.agreements.get(agreement_id)
        """,
    )
    platform.answer(429, headers=LONG)

    with Process(project, "migrate", "--data") as process:
        process.wait_for("The platform answered 429: trying again in 60 s")
        process.send(signal.SIGTERM)
        stopped = process.wait()

    assert stopped.exit_code == 75
    assert "after 1 item: its progress is kept" in stopped.stderr


def test_threads_of_a_script_wait_no_longer_than_the_script(
    project: Project, platform: MPTServer
) -> None:
    using_clients(
        project,
        """with ThreadPoolExecutor() as pool:
                    pool.submit(self.mpt_client.commerce.agreements.get, "AGR-1")""",
    )
    platform.answer(429, headers=LONG)

    with Process(project, "migrate", "--data") as process:
        process.wait_for("The platform answered 429: trying again in 60 s")
        began = time.monotonic()
        process.send(signal.SIGTERM)
        result = process.wait()

    assert time.monotonic() - began < ACTS_WITHIN
    assert result.exit_code == 143


# --- what waits for nobody

SHORT_LEASE = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5", "STORAGE_AIRTABLE_RETRY_SECONDS": "2"}
SLEEP_PAST_THE_LEASE = "time.sleep(7)"


def test_a_pause_that_the_script_is_asked_for_does_not_cost_the_lock(
    project: Project, server: AirtableServer
) -> None:
    using_clients(
        project,
        f"""try:
                    self.airtable_client.table({BASE!r}, "Items").all()
                except Exception as error:
                    print(error)
                {SLEEP_PAST_THE_LEASE}""",
    )
    server.answer(429, path="Items", headers=LONG)

    result = project.run("migrate", "--data", env=SHORT_LEASE)

    assert "429 Client Error" in result.stdout
    assert result.exit_code == 0, result.stderr
    assert "The lock" not in result.stderr
    assert server.records()["waits"]["applied_at"]


def test_slow_requests_of_the_script_do_not_cost_the_lock(
    project: Project, server: AirtableServer
) -> None:
    using_clients(
        project,
        f"""table = self.airtable_client.table({BASE!r}, "Items")
                with ThreadPoolExecutor(20) as pool:
                    for _ in range(20):
                        pool.submit(table.all)""",
    )
    server.delay(3, path="Items", times=20)

    result = project.run("migrate", "--data", env=SHORT_LEASE)

    assert len(server.requests(path="Items")) == 20
    assert result.exit_code == 0, result.stderr
    assert "The lock" not in result.stderr
