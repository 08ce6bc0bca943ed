"""State in an Airtable table, from outside: the installed command against the test server."""

import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import pytest
from support.airtable_server import (
    BASE,
    HISTORY_TABLE,
    STATE_COLUMNS,
    TABLE,
    AirtableServer,
    RateLimit,
)
from support.project import COMMAND, FIRST_ORDER_ID, Project, record
from support.simulation import LEASE_SECONDS, Clock
from support.terminal import Terminal

from mpt_tool.clients.airtable import open_api
from mpt_tool.errors import LockLostError
from mpt_tool.storage.airtable.repository import AirtableRepository
from mpt_tool.storage.airtable.settings import StoreSettings
from mpt_tool.storage.lease import Pace
from mpt_tool.testing.storage import ORIGIN, RUNNING

ROWS = f"/{TABLE}$"
TIME = "2026-01-13T18:05:20.000Z"
AT_ONCE = {"Retry-After": "0"}

type Spoil = Callable[[AirtableServer, Project], object]


@pytest.fixture
def project(project: Project, server: AirtableServer) -> Project:
    """A project whose state is in the table."""
    project.environment = server.settings
    return project


def statuses(project: Project) -> dict[str, str]:
    """Return what `--list` says of each migration."""
    migrations = project.run("migrate", "--list", "--json").json()["migrations"]
    return {migration["migration_id"]: migration["status"] for migration in migrations}


def reading_script(project: Project, times: int) -> None:
    """Write a data migration that reads the base of the state as many times."""
    project.file(
        f"migrations/{FIRST_ORDER_ID}_reads.py",
        f"""\
        from mpt_tool.migration import DataBaseMigration
        from mpt_tool.migration.mixins import AirtableAPIClientMixin

        class Migration(DataBaseMigration, AirtableAPIClientMixin):
            def run(self):
                for _ in range({times}):
                    self.airtable_client.table({BASE!r}, {TABLE!r}).all()
        """,
    )


def test_five_columns_are_enough_to_run_list_and_fake(
    server: AirtableServer, project: Project
) -> None:
    project.script("first")
    project.script("second", body="raise ValueError('no')")
    project.script("third")
    project.script("before_release", type="schema")

    failed = project.run("migrate", "--data")
    schema = project.run("migrate", "--schema")

    assert (failed.exit_code, schema.exit_code) == (1, 0)
    assert "Migration second failed: no" in failed.stderr
    assert "has no column" not in failed.stderr + schema.stderr
    found = server.records()
    assert found["first"].keys() == {column["name"] for column in STATE_COLUMNS}
    assert found["first"]["order_id"] == FIRST_ORDER_ID
    assert found["first"]["started_at"] <= found["first"]["applied_at"]
    assert found["second"].keys() == {"migration_id", "order_id", "type"}
    assert (found["second"]["type"], found["before_release"]["type"]) == ("data", "schema")
    assert "third" not in found

    assert project.run("migrate", "--fake", "second").exit_code == 0

    assert server.records()["second"].keys() == {"migration_id", "order_id", "applied_at", "type"}
    assert statuses(project) == {
        "first": "applied",
        "second": "faked",
        "third": "not applied",
        "before_release": "applied",
    }


def test_the_start_is_stored_before_the_run_and_the_end_after_it(
    server: AirtableServer, project: Project
) -> None:
    reading_script(project, times=1)

    project.run("migrate", "--data")

    *_loads, start, read, finish = server.record_requests()
    assert [request.method for request in (start, read, finish)] == ["PATCH", "GET", "PATCH"]
    started = start.body["records"][0]["fields"]
    assert started["started_at"] is not None
    assert started["applied_at"] is None
    assert finish.body["fields"]["started_at"] == started["started_at"]
    assert finish.body["fields"]["applied_at"] is not None


def test_a_dry_run_writes_nothing(server: AirtableServer, project: Project) -> None:
    project.script("first")

    result = project.run("migrate", "--data", "--dry-run")

    assert result.exit_code == 0
    assert "first" in result.stdout
    assert {request.method for request in server.requests()} == {"GET"}


def test_requests_are_few_and_within_the_rate_limit(
    server: AirtableServer, project: Project
) -> None:
    for number in range(250):
        project.script(f"old_{number}", order_id=number)
        row = record(f"old_{number}", order_id=number, started_at=TIME, applied_at=TIME)
        server.add_row(BASE, TABLE, row)
    for number in range(3):
        project.script(f"new_{number}")
    project.run("migrate", "--init")
    server.clear_requests()
    server.rate_limit = RateLimit()
    project.environment = server.settings

    result = project.run("migrate", "--data")

    assert "3 applied, 250 skipped, 0 failed" in result.stdout
    # Five for the lock, ⌈250/100⌉ reads; two writes for each of the three, and one in the history.
    assert [request.status for request in server.requests()] == [200] * (5 + 3 + 3 * 3)


def test_each_optional_column_that_is_missing_costs_a_request(
    server: AirtableServer, project: Project
) -> None:
    project.script("first")

    assert project.run("pending").exit_code == 3

    assert [request.status for request in server.requests()] == [422, 422, 422, 200]


def test_store_and_scripts_keep_to_the_rate_limit_together(
    server: AirtableServer, project: Project
) -> None:
    server.rate_limit = RateLimit()
    project.environment = server.settings
    reading_script(project, times=4)

    assert project.run("migrate", "--data").exit_code == 0

    assert len(server.requests()) > 2 * server.rate_limit.requests
    assert 429 not in [request.status for request in server.requests()]


def test_cells_and_rows_of_others_are_left_alone(server: AirtableServer, project: Project) -> None:
    server.add_column(BASE, TABLE, {"name": "owner", "type": "singleLineText"})
    server.add_row(BASE, TABLE, record("first") | {"owner": "Ada"})
    server.add_row(BASE, TABLE, record("gone", order_id=1, applied_at=TIME))
    server.add_row(BASE, TABLE, {"owner": "a row without a record"})
    server.add_row(BASE, TABLE, {})
    untouched = server.rows(BASE, TABLE)[1:]
    project.script("first")

    assert statuses(project) == {"gone": "faked", "first": "failed"}
    assert project.run("migrate", "--data").exit_code == 0

    first, *others = server.rows(BASE, TABLE)
    assert first["fields"]["owner"] == "Ada"
    assert "applied_at" in first["fields"]
    assert others == untouched


def test_a_missing_version_column_is_said_once_and_does_not_stop_the_run(
    server: AirtableServer, project: Project
) -> None:
    project.script("first")
    project.script("second")

    result = project.run("migrate", "--data", env={"SERVICE_VERSION": "1.2.3"})

    assert result.exit_code == 0
    assert result.stderr.count(f"Airtable table {TABLE} has no column version") == 1
    assert "mpt-tool migrate --init" in result.stderr
    assert all("applied_at" in row for row in server.records().values())


def test_init_creates_the_table_and_a_run_fills_all_its_columns(
    server: AirtableServer, project: Project
) -> None:
    project.environment["STORAGE_AIRTABLE_TABLE_NAME"] = "State of this"
    project.script("first")

    created = project.run("migrate", "--init")
    run = project.run("migrate", "--data", env={"SERVICE_VERSION": "1.2.3"})
    again = project.run("migrate", "--init")

    assert (created.exit_code, run.exit_code, again.exit_code) == (0, 0, 1)
    assert "Created table State of this.\nCreated table Migrations History.\n" in created.stdout
    (row,) = server.rows(BASE, "State of this")
    # Kept by a batch migration that is not done, and by one that has targets.
    assert [*row["fields"], "checkpoint", "targets"] == server.columns(BASE, "State of this")
    assert row["fields"]["version"] == "1.2.3"
    assert "State of this and Migrations History exist and lack no column" in again.stderr


def test_init_adds_the_columns_that_are_missing_and_names_them(
    server: AirtableServer, project: Project
) -> None:
    server.remove_column(BASE, TABLE, "applied_at")
    server.remove_column(BASE, TABLE, "type")
    project.migrations.mkdir()

    result = project.run("migrate", "--init")

    assert result.exit_code == 0
    created = [line for line in result.stdout.splitlines() if line.startswith("Created")]
    optional = ("version", "checkpoint", "targets")
    assert created == [
        *(f"Created column {name}." for name in ("applied_at", "type", *optional)),
        f"Created table {HISTORY_TABLE}.",
    ]
    server.add_row(BASE, TABLE, record("first", applied_at=TIME) | {"version": "1"})


def test_init_refuses_a_column_of_another_type_and_adds_none(
    server: AirtableServer, project: Project
) -> None:
    columns = [{**column, "type": "singleLineText"} for column in STATE_COLUMNS]
    server.add_table(BASE, "Texts", columns)

    result = project.run("migrate", "--init", env={"STORAGE_AIRTABLE_TABLE_NAME": "Texts"})

    assert result.exit_code == 1
    assert "Airtable table Texts: column order_id is not of type number" in result.stderr
    assert len(server.columns(BASE, "Texts")) == len(columns)


@pytest.mark.parametrize("status", [403, 404])
def test_init_of_an_unknown_base_says_so_and_does_not_advise_itself(
    project: Project, status: Literal[403, 404]
) -> None:
    with AirtableServer(unknown=status) as server:
        project.environment = server.settings

        result = project.run("migrate", "--init")

    assert result.exit_code == 1
    assert f"base {BASE} ({status})" in result.stderr
    assert "check STORAGE_AIRTABLE_BASE_ID" in result.stderr
    assert "--init" not in result.stderr


def test_init_does_not_ask_again_for_a_table_if_the_reply_is_lost(
    server: AirtableServer, project: Project
) -> None:
    server.drop(method="POST", after_write=True)

    result = project.run("migrate", "--init", env={"STORAGE_AIRTABLE_TABLE_NAME": "New"})

    assert result.exit_code == 1
    assert "Airtable cannot be reached" in result.stderr
    assert len(server.requests("POST")) == 1
    assert "migration_id" in server.columns(BASE, "New")


@pytest.mark.parametrize(
    "break_down",
    [
        pytest.param(lambda s: s.answer(429, headers=AT_ONCE), id="429 to the read"),
        pytest.param(lambda s: s.answer(429, headers=AT_ONCE, method="PATCH"), id="429"),
        pytest.param(lambda s: s.answer(502, "<h1>", headers=AT_ONCE, method="PATCH"), id="5xx"),
        pytest.param(
            lambda s: s.answer(504, headers=AT_ONCE, method="PATCH", after_write=True),
            id="5xx after the write",
        ),
        pytest.param(lambda s: s.drop(method="PATCH"), id="dropped before the write"),
        pytest.param(
            lambda s: s.drop(method="PATCH", after_write=True), id="dropped after the write"
        ),
    ],
)
def test_a_passing_failure_is_said_and_leaves_one_row(
    server: AirtableServer, project: Project, break_down: Callable[[AirtableServer], None]
) -> None:
    project.script("first")
    break_down(server)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "WARNING - Airtable" in result.stderr
    assert "trying again in" in result.stderr
    assert "applied_at" in server.records()["first"]


def test_a_lock_out_is_waited_for_and_that_is_said(
    server: AirtableServer, project: Project
) -> None:
    server.answer(429)

    with subprocess.Popen(
        [COMMAND, "migrate", "--list", "--quiet"],
        cwd=project.root,
        env=project.environment_of_run(),
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        waiting.kill()

    # Up to a fifth longer than it takes, so that not all come back together.
    assert re.search(r"WARNING - Airtable answered 429: trying again in 3[0-6] s\n$", said)


def test_a_terminal_shows_that_a_lock_out_is_waited_for(
    server: AirtableServer, project: Project
) -> None:
    server.answer(429)

    with Terminal(
        [COMMAND, "migrate", "--list"], project.root, project.environment_of_run()
    ) as terminal:
        terminal.wait_for("Airtable answered 429: trying again in 3")


@pytest.mark.parametrize(("headers", "bound"), [({"Retry-After": "5"}, "4"), ({}, "29")])
def test_no_longer_is_waited_than_the_setting_allows(
    server: AirtableServer, project: Project, headers: Mapping[str, str], bound: str
) -> None:
    server.answer(429, headers=headers)

    result = project.run("migrate", "--list", env={"STORAGE_AIRTABLE_RETRY_SECONDS": bound})

    assert result.exit_code == 1
    assert f"no time for table {TABLE} (429)" in result.stderr
    assert "raise STORAGE_AIRTABLE_RETRY_SECONDS" in result.stderr
    assert len(server.requests()) == 1


def test_of_duplicate_rows_an_applied_one_counts_and_listing_tells(
    server: AirtableServer, project: Project
) -> None:
    project.script("first")
    server.add_row(BASE, TABLE, record("first"))
    server.add_row(BASE, TABLE, record("first", started_at=TIME, applied_at=TIME))
    server.add_row(BASE, TABLE, record("first", started_at=TIME))

    (listed,) = project.run("migrate", "--list", "--json").json()["migrations"]
    run = project.run("migrate", "--data")

    assert (listed["status"], listed["notes"]) == ("applied", ["3 rows in the table"])
    assert "0 applied, 1 skipped" in run.stdout
    assert {request.method for request in server.record_requests()} == {"GET"}


def test_of_duplicate_rows_that_are_alike_the_oldest_is_written(
    server: AirtableServer, project: Project
) -> None:
    project.script("first")
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 1, 3)]
    ids = [server.add_row(BASE, TABLE, record("first"), created=day) for day in days]

    assert project.run("migrate", "--data").exit_code == 0

    applied = [row["id"] for row in server.rows(BASE, TABLE) if "applied_at" in row["fields"]]
    assert applied == [ids[1]]


def set_variable(name: str, value: str) -> Spoil:
    def change(_: AirtableServer, project: Project) -> None:
        project.environment[name] = value

    return change


def answer(status: int, body: object) -> Spoil:
    return lambda server, _: server.answer(status, body, path=ROWS)


def remove_column(name: str) -> Spoil:
    return lambda server, _: server.remove_column(BASE, TABLE, name)


def add_row_without(column: str) -> Spoil:
    return lambda server, _: server.add_row(BASE, TABLE, record("broken") | {column: None})


def use_table_without_choices(server: AirtableServer, project: Project) -> None:
    choices = {"choices": [{"name": "schema"}]}
    columns = [*STATE_COLUMNS[:-1], {**STATE_COLUMNS[-1], "options": choices}]
    server.add_table(BASE, "Other", columns)
    project.environment["STORAGE_AIRTABLE_TABLE_NAME"] = "Other"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(
            set_variable("AIRTABLE_API_KEY", "wrong-key-of-somebody"),
            ["refuses the key (401)", "check AIRTABLE_API_KEY"],
            id="401",
        ),
        pytest.param(
            set_variable("STORAGE_AIRTABLE_TABLE_NAME", "Elsewhere"),
            [
                f"base {BASE}, table Elsewhere (403): the table may be missing",
                "mpt-tool migrate --init",
                "data.records:read",
            ],
            id="403",
        ),
        pytest.param(
            answer(404, {"error": "NOT_FOUND"}),
            [
                f"no base {BASE} or no table {TABLE} in it (404)",
                "STORAGE_AIRTABLE_BASE_ID",
                "STORAGE_AIRTABLE_TABLE_NAME",
                "mpt-tool migrate --init",
            ],
            id="404",
        ),
        pytest.param(
            remove_column("started_at"),
            [f"table {TABLE} has no column started_at", "mpt-tool migrate --init"],
            id="missing column",
        ),
        pytest.param(
            use_table_without_choices,
            ["table Other", "column type needs the choices data and schema", '""data""'],
            id="missing choice",
        ),
        pytest.param(
            add_row_without("order_id"),
            [f"table {TABLE}: row rec", "order_id: ", "Mend or delete the row"],
            id="broken row",
        ),
        pytest.param(
            add_row_without("migration_id"),
            [f"table {TABLE}: row rec", "migration_id: ", "Mend or delete the row"],
            id="row without an id",
        ),
        pytest.param(
            answer(400, "<h1>no</h1>"),
            [f"refuses a request to table {TABLE}: 400 Bad Request"],
            id="no answer of Airtable",
        ),
        pytest.param(
            set_variable("STORAGE_AIRTABLE_ENDPOINT_URL", "http://127.0.0.1:1"),
            ["cannot be reached", "STORAGE_AIRTABLE_ENDPOINT_URL"],
            id="no server",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong_where_and_what_to_do(
    server: AirtableServer, project: Project, spoil: Spoil, said: list[str]
) -> None:
    project.script("first")
    project.environment["STORAGE_AIRTABLE_RETRY_SECONDS"] = "0"
    spoil(server, project)

    result = project.run("migrate", "--data", "--verbose")

    assert result.exit_code == 1
    *_, message, aborted = result.stderr.splitlines()
    assert message.startswith("Error running data command: ")
    assert [part for part in said if part not in message] == []
    assert aborted == "Aborted."
    assert "Traceback" not in result.stderr
    assert project.environment["AIRTABLE_API_KEY"] not in result.stdout + result.stderr


@pytest.mark.parametrize("name", ["AIRTABLE_API_KEY", "STORAGE_AIRTABLE_BASE_ID"])
def test_a_missing_variable_is_named(project: Project, name: str) -> None:
    del project.environment[name]

    result = project.run("migrate", "--list")

    assert result.exit_code == 2
    assert f"Error running list command: {name}" in result.stderr


def test_the_key_is_hidden_where_a_script_gives_it_away(
    server: AirtableServer, project: Project
) -> None:
    project.script(
        "first", body=f"self.log.info('%s', {server.token!r}); raise OSError({server.token!r})"
    )

    result = project.run("migrate", "--data", "--verbose")

    assert "Migration first failed: ***" in result.stderr
    assert server.token not in result.stdout + result.stderr
    assert server.token not in str(server.rows(BASE, TABLE))


def test_a_number_with_decimals_is_read_as_a_whole_one(
    server: AirtableServer, project: Project
) -> None:
    fields = record("first", applied_at=TIME) | {"order_id": 7.0}
    row = {"id": "rec1", "createdTime": TIME, "fields": fields}
    server.answer(200, {"records": [row]})

    (listed,) = project.run("migrate", "--list", "--json").json()["migrations"]

    assert listed["order_id"] == 7


@pytest.mark.parametrize("body", [{}, [], 5, {"records": None}, {"records": [{}]}])
def test_a_reply_that_is_not_airtables_is_not_taken_for_an_empty_table(
    server: AirtableServer, project: Project, body: object
) -> None:
    project.script("any", body="print('ran')")
    server.answer(200, body, method="GET")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "ran" not in result.stdout
    assert "check STORAGE_AIRTABLE_ENDPOINT_URL" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_a_reply_that_is_cut_off_is_asked_for_again(
    server: AirtableServer, project: Project, method: str
) -> None:
    project.script("any")
    cut_off = {"Content-Length": "1000", "Connection": "close"}
    server.answer(200, '{"records": [', method=method, headers=cut_off)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "Airtable did not answer (ChunkedEncodingError): trying again" in result.stderr
    assert server.records()["any"]["applied_at"]


def test_a_row_that_is_deleted_during_its_run_is_written_anew(
    server: AirtableServer, project: Project
) -> None:
    project.file(
        f"migrations/{FIRST_ORDER_ID}_deletes.py",
        f"""
        from mpt_tool.migration import DataBaseMigration
        from mpt_tool.migration.mixins import AirtableAPIClientMixin

        class Migration(DataBaseMigration, AirtableAPIClientMixin):
            def run(self):
                table = self.airtable_client.table("{BASE}", "{TABLE}")
                table.delete(table.all()[0]["id"])
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert server.records()["deletes"]["applied_at"]


def test_a_version_that_no_longer_holds_is_cleared(
    server: AirtableServer, project: Project
) -> None:
    server.add_column(BASE, TABLE, {"name": "version", "type": "singleLineText"})
    project.script("again", body="import os; assert 'READY' in os.environ")

    project.run("migrate", "--data", env={"SERVICE_VERSION": "1.0"})
    failed = server.records()["again"]
    project.run("migrate", "--data", env={"READY": "1"})

    assert failed["version"] == "1.0"
    assert "version" not in server.records()["again"]


def test_a_table_may_be_named_by_its_id(server: AirtableServer, project: Project) -> None:
    table_id = server.add_table(BASE, "By id")

    result = project.run("migrate", "--init", env={"STORAGE_AIRTABLE_TABLE_NAME": table_id})

    assert result.exit_code == 0
    assert "Created column version." in result.stdout


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repository(server: AirtableServer, clock: Clock) -> AirtableRepository:
    """A repository in virtual time."""
    settings = StoreSettings.model_validate(server.settings)
    pace = Pace(LEASE_SECONDS, clock.look, clock.sleep, lambda: 0.5)
    return AirtableRepository(settings, partial(open_api, settings), pace)


def test_a_holder_that_was_frozen_past_its_lease_in_a_save_finds_that_out_after_it(
    server: AirtableServer, repository: AirtableRepository, clock: Clock
) -> None:
    with repository.lock(ORIGIN, 0, lambda: None):
        repository.require_lock()
        repository.save(RUNNING)
        clock.sleep(LEASE_SECONDS)

        with pytest.raises(LockLostError):
            repository.require_lock()


def test_a_holder_whose_lease_is_over_writes_nothing(
    server: AirtableServer, repository: AirtableRepository, clock: Clock
) -> None:
    with repository.lock(ORIGIN, 0, lambda: None):
        clock.sleep(LEASE_SECONDS)

        with pytest.raises(LockLostError):
            repository.save(RUNNING)

    assert server.records() == {}


def test_a_write_that_is_tried_again_is_not_sent_once_the_lease_is_over(
    server: AirtableServer, repository: AirtableRepository, clock: Clock
) -> None:
    with repository.lock(ORIGIN, 0, lambda: None):
        server.answer(503, method="PATCH", headers=AT_ONCE, times=9)
        clock.pass_at_each_look = LEASE_SECONDS / 3

        with pytest.raises(LockLostError):
            repository.save(RUNNING)

        clock.pass_at_each_look = 0
    assert len(server.record_requests()) < 3


def test_a_lock_may_be_taken_away_as_its_row_names_it(
    server: AirtableServer, repository: AirtableRepository
) -> None:
    with repository.lock(ORIGIN, 0, lambda: None):
        [claim] = server.claims()
        repository.unlock(str(claim["fields"]["migration_id"]))

        assert server.claims() == []
