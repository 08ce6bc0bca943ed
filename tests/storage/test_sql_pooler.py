"""The lock behind a pooler in transaction mode: a lease, which keeps out who has a session, too."""

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.postgresql import Postgresql
from support.postgresql_pooler import transaction_pooler
from support.process import Process, wait_until
from support.project import Project
from support.terminal import Gate

from mpt_tool.records import Origin
from mpt_tool.storage.sql.connecting import address, make_engine
from mpt_tool.storage.sql.database import Database
from mpt_tool.storage.sql.lock import Pace, PostgresqlLock
from mpt_tool.storage.sql.settings import DatabaseSettings
from mpt_tool.storage.sql.tables import Tables

LOST = "The lock was lost: "
LEASE = {"STORAGE_DATABASE_LEASE_SECONDS": "5"}

ORIGIN = Origin(run_id="4711", user="ana", host="web-1", process=1, tool_version="7")

type Ways = dict[str, dict[str, str]]


@pytest.fixture
def ways(database: Postgresql) -> Iterator[Ways]:
    """The variables of a client behind a pooler, and of one that asks the server itself."""
    with transaction_pooler(database.url) as url:
        yield {"pooled": {"STORAGE_DATABASE_URL": url, **LEASE}, "direct": {}}


@pytest.fixture
def project(project: Project, database: Postgresql, schema: str, gate: Gate) -> Project:
    """A project with its state in PostgreSQL, and a script that holds the lock if it is told to."""
    project.environment = database.settings(schema)
    assert project.run("migrate", "--init").exit_code == 0
    project.script(
        "first",
        above="import os",
        body=f"if 'HOLDS' in os.environ:\n    self.log.info('it runs')\n    {gate.wait}",
    )
    return project


@contextmanager
def holding(project: Project, way: dict[str, str]) -> Iterator[Process]:
    """Start a run that holds the lock, and return once its script runs."""
    with Process(project, "migrate", "--data", env={"HOLDS": "1", **way}) as run:
        run.wait_for(" it runs")
        yield run


def status(project: Project) -> str:
    [migration] = project.run("migrate", "--list", "--json").json()["migrations"]
    return str(migration["status"])


MIXED = pytest.mark.parametrize(
    ("one", "other"), [("pooled", "pooled"), ("pooled", "direct"), ("direct", "pooled")]
)


@pytest.mark.slow
@MIXED
def test_a_client_behind_a_pooler_and_any_other_keep_each_other_out(
    project: Project, ways: Ways, gate: Gate, one: str, other: str
) -> None:
    with holding(project, ways[one]) as run:
        refused = project.run("migrate", "--data", env=ways[other])
        told = project.run("status", env=ways[other]).stdout
        gate.open()
        assert run.wait().exit_code == 0

    assert refused.exit_code == 75
    assert f"Locked by process {run.pid} on " in refused.stderr
    assert f"process {run.pid} on " in told
    assert ("alive, renewed " in told) == (one == "pooled")
    freed = "the lock is free 5 seconds after that process has died"
    assert (freed in refused.stderr) == (one == "pooled")
    after = project.run("migrate", "--data", env=ways[other])
    assert "0 applied, 1 skipped" in after.stdout


@pytest.mark.slow
@MIXED
def test_the_lock_of_a_run_that_was_killed_is_free_after_its_lease(
    project: Project, ways: Ways, one: str, other: str
) -> None:
    with holding(project, ways[one]) as run:
        run.kill()
    after = project.run("migrate", "--data", "--wait", "30", env=ways[other])

    assert after.exit_code == 0, after.stderr
    assert status(project) == "applied"


@pytest.mark.slow
@pytest.mark.parametrize("other", ["pooled", "direct"])
def test_a_run_that_was_frozen_for_longer_than_its_lease_writes_nothing_if_another_had_the_lock(
    project: Project, ways: Ways, other: str
) -> None:
    listing = ["migrate", "--list", "--json"]
    with holding(project, ways["pooled"]) as run:
        run.send(signal.SIGSTOP)
        taken_over = project.run("migrate", "--data", "--wait", "30", env=ways[other])
        listed = project.run(*listing).stdout
        run.send(signal.SIGCONT)
        result = run.wait()

    assert taken_over.exit_code == 0, taken_over.stderr
    assert result.exit_code == 1
    assert LOST in result.stderr
    assert project.run(*listing).stdout == listed


@pytest.mark.slow
def test_a_run_that_was_frozen_for_longer_than_its_lease_goes_on_if_nobody_had_the_lock(
    project: Project, ways: Ways, gate: Gate
) -> None:
    with holding(project, ways["pooled"]) as run:
        run.send(signal.SIGSTOP)
        wait_until(lambda: "dead: not renewed" in project.run("status").stdout)
        run.send(signal.SIGCONT)
        gate.open()
        result = run.wait()

    assert result.exit_code == 0, result.stderr
    assert status(project) == "applied"


@pytest.mark.slow
def test_a_run_behind_a_pooler_outlives_the_sessions_that_it_was_given(
    project: Project, ways: Ways, database: Postgresql, schema: str, gate: Gate
) -> None:
    url = f"{ways['pooled']['STORAGE_DATABASE_URL']}?application_name={schema}"

    with holding(project, {**ways["pooled"], "STORAGE_DATABASE_URL": url}) as run:
        with database.connection() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = %s",
                [schema],
            )
        run.wait_for("was lost: trying anew")
        gate.open()
        result = run.wait()

    assert result.exit_code == 0, result.stderr
    assert status(project) == "applied"


@pytest.mark.slow
def test_a_run_behind_a_pooler_is_asked_to_stop(project: Project, ways: Ways) -> None:
    with holding(project, ways["pooled"]) as run:
        stop = project.run("stop")
        result = run.wait()

    assert stop.exit_code == 0, stop.stderr
    assert "Migration first was stopped by mpt-tool stop" in result.stderr
    assert status(project) == "failed"


@pytest.mark.slow
@pytest.mark.parametrize(("one", "other"), [("pooled", "direct"), ("direct", "pooled")])
def test_the_lock_is_taken_from_a_holder_that_lives_through_a_pooler_and_behind_one(
    project: Project, ways: Ways, one: str, other: str
) -> None:
    with holding(project, ways[one]) as run:
        refused = project.run("migrate", "--data", env=ways[other])
        [name] = re.findall(r"mpt-tool unlock (\S+)", refused.stderr)
        unlocked = project.run("unlock", name, env=ways[other])
        result = run.wait()

    assert unlocked.exit_code == 0, unlocked.stderr
    assert result.exit_code == 1
    assert LOST in result.stderr
    assert status(project) == "running"


def test_of_many_that_take_the_lock_again_and_again_one_has_it_at_a_time(
    project: Project, ways: Ways
) -> None:
    holders: list[str] = []
    most: list[int] = []

    def contend(name: str, way: dict[str, str]) -> None:
        settings = DatabaseSettings.model_validate({**project.environment, **way})
        database = Database(make_engine(address(settings, project.root), settings))
        tables = Tables.named(settings.schema_name, settings.table_prefix)
        lock = PostgresqlLock(database, tables, Pace(30, look_seconds=0.01))
        for _ in range(10):
            with lock.hold(ORIGIN, 30, lambda: None):
                holders.append(name)
                most.append(len(holders))
                lock.renew()
                holders.remove(name)
        database.close()

    threads = [
        threading.Thread(target=contend, args=(f"{way}{number}", ways[way]))
        for way in ways
        for number in range(3)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert most == [1] * 60


@pytest.mark.parametrize(
    ("way", "kind"),
    [("pooled", "a lease of 5 seconds: behind a pooler"), ("direct", "the server's own")],
)
def test_the_doctor_tells_what_keeps_the_lock(
    project: Project, ways: Ways, way: str, kind: str
) -> None:
    checks = project.run("doctor", "--json", env=ways[way]).json()["checks"]

    assert [each["value"] for each in checks if each["name"] == "lock"] == [kind]


def test_init_brings_tables_without_the_columns_of_the_lease_up_to_date(
    project: Project, database: Postgresql, schema: str
) -> None:
    with database.connection() as connection:
        table = f"{schema}.mpt_migrations_lock"
        connection.execute(f"ALTER TABLE {table} DROP COLUMN renewed_at, DROP COLUMN lease_seconds")
        connection.execute(f"UPDATE {table} SET version = 1")

    listed = project.run("migrate", "--list")
    initialized = project.run("migrate", "--init")

    assert "are of an older release: mpt-tool migrate --init" in listed.stderr
    assert initialized.exit_code == 0, initialized.stderr
    assert "Created columns of the lease." in initialized.stdout
    assert project.run("migrate", "--data").exit_code == 0
