"""The state in a SQL database, from the outside: what is promised of it beyond the contract."""

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import inspect
from support.entra import IdentityEndpoint
from support.postgresql import Postgresql
from support.postgresql_pooler import transaction_pooler
from support.postgresql_proxy import CountingProxy, counting_proxy
from support.process import Process, wait_until
from support.project import Project, Result
from support.terminal import Gate

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import StorageError
from mpt_tool.records import MigrationRecord
from mpt_tool.storage.sql.repository import SqlRepository, repository_of
from mpt_tool.storage.sql.settings import DatabaseSettings
from mpt_tool.storage.sql.tables import Tables, require_version
from mpt_tool.testing.storage import ATTEMPT, STARTED

NO_TABLES = "has no tables for the state yet: mpt-tool migrate --init"
LOST = "The lock was lost: "
PASSWORD = "Kaffee?nie"
IN_URL = "Kaffee%3Fnie"
TABLES = ("attempts", "failed_items", "lock", "records")
WITHOUT = "import sys; sys.modules[sys.argv.pop(1)] = None; from mpt_tool.cli import main; main()"

type End = Callable[[], object]


@pytest.fixture
def postgresql(project: Project, database: Postgresql, schema: str) -> Project:
    """A project with its state in PostgreSQL, where `--init` was not run yet."""
    project.environment = database.settings(schema)
    return project


@pytest.fixture
def sqlite(project: Project) -> Project:
    """A project with its state in a file of SQLite, where `--init` was not run yet."""
    project.environment = {
        "STORAGE_TYPE": "sql",
        "STORAGE_DATABASE_URL": "sqlite:///state.db",
    }
    return project


@pytest.fixture(params=["postgresql", "sqlite"])
def subject(request: pytest.FixtureRequest) -> Project:
    """A project with its state in either."""
    found: Project = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def end_connections(database: Postgresql, schema: str) -> End:
    """What ends all connections of runs whose state is in the schema, from the server's side."""

    def end() -> None:
        with database.connection() as connection:
            connection.execute(
                f"SELECT pg_terminate_backend(session) FROM {schema}.mpt_migrations_lock"
            )

    return end


def initialize(project: Project) -> None:
    assert project.run("migrate", "--init").exit_code == 0


def repository(project: Project) -> SqlRepository:
    return repository_of(DatabaseSettings.model_validate(project.environment), project.root)


def statuses(project: Project) -> dict[str, str]:
    records = repository(project).load().records
    return {each.migration_id: str(each.status) for each in records.values()}


def written(result: Result) -> str:
    return result.stdout + result.stderr


# --- how it is reached


@pytest.mark.parametrize("module", ["sqlalchemy", "psycopg"])
def test_without_the_extra_the_tool_says_how_to_get_it(project: Project, module: str) -> None:
    environment = {"STORAGE_TYPE": "sql", "STORAGE_DATABASE_URL": "postgresql://localhost/shop"}

    result = project.execute(
        [sys.executable, "-c", WITHOUT, module, "migrate", "--list"], environment
    )

    assert result.exit_code == 2
    assert "needs a package: pip install 'mpt-tool[sql]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_sqlite_needs_no_driver(sqlite: Project) -> None:
    command = [sys.executable, "-c", WITHOUT, "psycopg", "migrate", "--init"]

    result = sqlite.execute(command)

    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("url", "further", "reason"),
    [
        ("", {}, "is not set"),
        ("mysql://ana:geheimnis@db/shop", {}, "is an address of mysql: use one of postgresql or"),
        ("geheimnis", {}, "is no address like postgresql://user@host/name"),
        ("postgresql://ana:geheimnis@db:port/shop", {}, "is no address like postgresql://"),
        ("sqlite://", {}, "names no file: use sqlite:///file"),
        ("sqlite:///:memory:", {}, "names no file: use sqlite:///file"),
        ("sqlite:///x", {"STORAGE_DATABASE_SCHEMA": "shop"}, "a file of SQLite has no schemas"),
        ("sqlite:///x", {"STORAGE_DATABASE_TABLE_PREFIX": 'x"; DROP'}, "should match pattern"),
    ],
)
def test_an_address_that_is_none_of_a_database_is_refused(
    project: Project, url: str, further: dict[str, str], reason: str
) -> None:
    environment = {"STORAGE_TYPE": "sql", "STORAGE_DATABASE_URL": url, **further}

    result = project.run("migrate", "--list", env=environment)

    assert result.exit_code == 2
    assert "STORAGE_DATABASE_" in result.stderr
    assert reason in result.stderr
    assert "geheimnis" not in written(result)


def test_the_address_is_a_secret_that_pyproject_may_not_hold(project: Project) -> None:
    project.file("pyproject.toml", "[tool.mpt-tool.sql]\ndatabase-url = 'sqlite:///state.db'")

    result = project.run("migrate", "--list", env={"STORAGE_TYPE": "sql"})

    assert result.exit_code == 2
    assert "database-url is a secret" in result.stderr


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg"])
def test_an_address_may_name_the_driver_or_not(postgresql: Project, name: str) -> None:
    url = postgresql.environment["STORAGE_DATABASE_URL"].replace("postgresql", name, 1)

    result = postgresql.run("migrate", "--init", env={"STORAGE_DATABASE_URL": url})

    assert result.exit_code == 0, result.stderr


def test_a_server_that_is_not_there_is_named_without_the_password(project: Project) -> None:
    url = f"postgresql://ana:{IN_URL}@127.0.0.1:9/shop"
    environment = {"STORAGE_TYPE": "sql", "STORAGE_DATABASE_URL": url}

    results = [
        project.run(*words, env=environment)
        for words in (["migrate", "--list"], ["doctor"], ["doctor", "--json"])
    ]

    assert [each.exit_code for each in results] == [1, 1, 1]
    assert "The database shop on 127.0.0.1 cannot be reached" in results[0].stderr
    assert "check STORAGE_DATABASE_URL" in results[0].stderr
    told = "".join(map(written, results))
    assert [each for each in (PASSWORD, IN_URL, "ana") if each in told] == []


# --- the tables


def test_without_tables_the_tool_says_how_they_are_made_and_leaves_nothing(
    subject: Project,
) -> None:
    before = subject.tree()

    result = subject.run("migrate", "--list")

    assert result.exit_code == 1
    assert NO_TABLES in result.stderr
    assert subject.tree() == before


def test_init_creates_the_tables_with_their_names_and_completes_them(
    postgresql: Project, database: Postgresql, schema: str
) -> None:
    environment = {"STORAGE_DATABASE_TABLE_PREFIX": "shop_"}
    first = postgresql.run("migrate", "--init", env=environment)
    with database.connection() as connection:
        connection.execute(f"DROP TABLE {schema}.shop_failed_items")
    second = postgresql.run("migrate", "--init", env=environment)
    third = postgresql.run("migrate", "--init", env=environment)

    assert [each.exit_code for each in (first, second, third)] == [0, 0, 1]
    created = [f"schema {schema}", *(f"table shop_{each}" for each in TABLES)]
    assert re.findall(r"Created (.*)\.", first.stdout)[:5] == created
    assert re.findall(r"Created (.*)\.", second.stdout) == ["table shop_failed_items"]
    assert "has all tables of the state" in third.stderr


def test_settings_in_pyproject_name_schema_and_tables(
    postgresql: Project, database: Postgresql, schema: str
) -> None:
    del postgresql.environment["STORAGE_DATABASE_SCHEMA"]
    lines = ["[tool.mpt-tool.sql]", f"schema-name = '{schema}'", "table-prefix = 'shop_'"]
    postgresql.file("pyproject.toml", "\n".join(lines))

    result = postgresql.run("migrate", "--init")

    assert result.exit_code == 0, result.stderr
    with database.connection() as connection:
        assert connection.execute(f"SELECT count(*) FROM {schema}.shop_records").fetchone() == (0,)


def test_of_two_that_create_the_tables_at_once_one_finds_them_there(
    postgresql: Project, database: Postgresql, schema: str
) -> None:
    """Both wait for a third, so that they begin together."""
    with database.connection() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [0x6D70745F])
        with (
            Process(postgresql, "migrate", "--init") as one,
            Process(postgresql, "migrate", "--init") as other,
        ):
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_until(lambda: connection.execute(waiting).fetchone() == (2,))
            connection.execute("SELECT pg_advisory_unlock_all()")
            results = [one.wait(), other.wait()]

    assert sorted(each.exit_code for each in results) == [0, 1]
    assert repository(postgresql).load().records == {}


def test_tables_are_brought_up_to_date_step_by_step_and_all_of_it_or_nothing(
    subject: Project,
) -> None:
    initialize(subject)
    schema = subject.environment.get("STORAGE_DATABASE_SCHEMA")
    tables = Tables.named(schema or "", "mpt_migrations_")
    database = repository(subject)._database
    name = database.name_of(tables.records)
    column = ("column note", lambda _: [f"ALTER TABLE {name} ADD COLUMN note TEXT"])
    broken = ("column twice", lambda _: [f"ALTER TABLE {name} ADD COLUMN note TEXT"])

    def columns() -> list[str]:
        found = database.use(lambda each: inspect(each).get_columns(tables.records.name, schema))
        return [each["name"] for each in found]

    with pytest.raises(StorageError):
        database.use(lambda connection: tables.complete(connection, [column, broken]))
    assert "note" not in columns()
    done = database.use(lambda connection: tables.complete(connection, [column]))
    again = database.use(lambda connection: tables.complete(connection, [column]))

    assert (done, again) == (["column note"], [])
    assert "note" in columns()
    refused = subject.run("migrate", "--list")
    assert refused.exit_code == 1
    assert "of a newer release (version 2, this one knows 1): upgrade mpt-tool" in refused.stderr


def test_tables_of_an_older_release_are_to_be_upgraded() -> None:
    with pytest.raises(StorageError, match=r"of an older release: mpt-tool migrate --init"):
        require_version(0)


# --- what is kept


def test_what_an_earlier_or_later_release_keeps_in_a_record_stays(subject: Project) -> None:
    initialize(subject)
    record = MigrationRecord.model_validate(
        {
            **dict(MigrationRecord.new("first", 1, MigrationTypeEnum.DATA)),
            "note": {"\x00": "\ud800"},
        }
    )

    repository(subject).save(record.start(STARTED, None))

    assert repository(subject).load().records["first"].model_extra == {"note": {"\x00": "\ud800"}}


def test_a_row_that_is_no_record_is_named(subject: Project) -> None:
    initialize(subject)
    store = repository(subject)
    record = MigrationRecord.new("first", 1, MigrationTypeEnum.DATA)
    store.save(record)
    name = store._database.name_of(store._tables.records)
    store._database.use(lambda each: each.exec_driver_sql(f"UPDATE {name} SET type = 'dat'"))

    result = subject.run("migrate", "--list")

    assert result.exit_code == 1
    assert "has a row first of " in result.stderr
    assert "that is no record: type: Input should be" in result.stderr


def test_a_history_is_read_in_pages_and_no_further_than_is_asked(subject: Project) -> None:
    initialize(subject)
    store = repository(subject)
    attempts = [ATTEMPT.model_copy(update={"process": number}) for number in range(1001)]
    for attempt in attempts:
        store.append(attempt)

    assert [each.process for each in store.attempts()] == list(range(1000, -1, -1))
    assert next(repository(subject).attempts()).process == 1000


# --- the connection


@pytest.mark.slow
def test_a_connection_that_is_lost_while_a_script_runs_is_made_anew_and_the_end_recorded(
    postgresql: Project, end_connections: End, gate: Gate
) -> None:
    initialize(postgresql)
    postgresql.script("first", body=f"self.log.info('runs')\n{gate.wait}")
    postgresql.script("second")

    with Process(postgresql, "migrate", "--data") as run:
        run.wait_for(" runs")
        end_connections()
        run.wait_for("was lost: trying anew")
        gate.open()
        result = run.wait()

    assert result.exit_code == 0, result.stderr
    assert statuses(postgresql) == {"first": "applied", "second": "applied"}
    assert [each.outcome for each in repository(postgresql).attempts()] == ["applied"] * 2


@pytest.mark.slow
def test_who_finds_the_lock_of_a_lost_connection_leaves_its_holder_time_to_come_back(
    postgresql: Project, end_connections: End, gate: Gate
) -> None:
    """Its process cannot come back at once: it is stopped, and goes on when the other waits."""
    initialize(postgresql)
    postgresql.script("first", body=f"self.log.info('runs')\n{gate.wait}")

    with Process(postgresql, "migrate", "--data") as run:
        run.wait_for(" runs")
        run.send(signal.SIGSTOP)
        end_connections()
        with Process(postgresql, "migrate", "--data", "--wait", "60") as other:
            other.wait_for("held the lock when its connection was lost: it has 5 seconds")
            run.send(signal.SIGCONT)
            run.wait_for("was lost: trying anew")
            gate.open()
            assert run.wait().exit_code == 0
            after = other.wait()

    assert after.exit_code == 0
    assert "0 applied, 1 skipped" in after.stdout


@pytest.mark.slow
def test_a_run_that_lost_its_lock_with_the_connection_changes_no_record(
    postgresql: Project, end_connections: End, gate: Gate
) -> None:
    initialize(postgresql)
    postgresql.script(
        "first",
        above="import os",
        body=f"if 'HOLDS' in os.environ:\n    self.log.info('runs')\n    {gate.wait}",
    )

    with Process(postgresql, "migrate", "--data", env={"HOLDS": "1"}) as run:
        run.wait_for(" runs")
        run.send(signal.SIGSTOP)
        end_connections()
        other = postgresql.run("migrate", "--data", "--wait", "30")
        assert other.exit_code == 0, other.stderr
        taken_over = repository(postgresql).load().records
        run.send(signal.SIGCONT)
        result = run.wait()

    assert result.exit_code == 1
    assert LOST in result.stderr
    assert repository(postgresql).load().records == taken_over


@pytest.mark.slow
def test_a_lock_is_taken_from_the_holder_that_is_named_even_if_it_lives(
    postgresql: Project, gate: Gate
) -> None:
    initialize(postgresql)
    postgresql.script("first", body=f"self.log.info('runs')\n{gate.wait}")

    with Process(postgresql, "migrate", "--data") as run:
        run.wait_for(" runs")
        refused = postgresql.run("unlock", "web-1:4711:0a1b2c3d")
        [name] = re.findall(rf"\((\S+:{run.pid}:\w+)\)", refused.stderr)
        unlocked = postgresql.run("unlock", name)
        result = run.wait()

    assert refused.exit_code == 1
    assert "'web-1:4711:0a1b2c3d' does not hold the lock: process " in refused.stderr
    assert unlocked.exit_code == 0
    assert result.exit_code == 1
    assert LOST in result.stderr
    assert statuses(postgresql) == {"first": "running"}


@pytest.mark.slow
def test_a_run_is_asked_to_stop(subject: Project, gate: Gate) -> None:
    initialize(subject)
    subject.script("first", body=f"self.log.info('runs')\n{gate.wait}")
    subject.script("second")

    with Process(subject, "migrate", "--data") as run:
        run.wait_for(" runs")
        assert "process" in subject.run("status").stdout
        with Process(subject, "stop") as stop:
            result = run.wait()
            assert stop.wait().exit_code == 0

    assert "Migration first was stopped by mpt-tool stop" in result.stderr
    assert statuses(subject) == {"first": "failed"}


def test_a_pooler_that_holds_no_lock_is_found_out_and_refused(
    postgresql: Project, database: Postgresql, schema: str
) -> None:
    initialize(postgresql)
    postgresql.script("first")

    with transaction_pooler(database.url) as url:
        environment = {"STORAGE_DATABASE_URL": url}
        listed = postgresql.run("migrate", "--list", env=environment)
        refused = postgresql.run("migrate", "--data", env=environment)

    assert listed.exit_code == 0, listed.stderr
    assert refused.exit_code == 1
    assert "is behind a pooler in transaction mode, where no lock holds" in refused.stderr
    assert repository(postgresql).holder() is None
    assert postgresql.run("migrate", "--data").exit_code == 0


# --- what it costs


@pytest.fixture
def proxy(postgresql: Project) -> Iterator[CountingProxy]:
    """What counts how often the project's commands ask the server."""
    with counting_proxy(postgresql.environment["STORAGE_DATABASE_URL"]) as (proxy, url):
        postgresql.environment["STORAGE_DATABASE_URL"] = url
        yield proxy


def test_a_command_asks_the_server_as_seldom_as_is_documented(
    postgresql: Project, proxy: CountingProxy, database: Postgresql, schema: str
) -> None:
    """Of what is documented each migration's share may hold a look at the lock."""
    initialize(postgresql)
    with database.connection() as connection:
        connection.execute(
            f"INSERT INTO {schema}.mpt_migrations_records"
            " SELECT 'step_' || n, n, 'data', now(), now() FROM generate_series(1, 10000) AS n"
        )
    for number in range(10):
        postgresql.script(f"first_{number}")

    trips = {}
    for words in ("pending", "status", "migrate --data", "migrate --data "):
        proxy.trips = 0
        assert postgresql.run(*words.split()).exit_code in (0, 3)
        trips[words] = proxy.trips

    assert trips["pending"] == 2
    assert trips["status"] == 3
    assert trips["migrate --data "] <= 11
    assert (trips["migrate --data"] - trips["migrate --data "]) / 10 <= 4


# --- the doctor


def test_the_doctor_looks_at_the_database_its_tables_and_the_state(subject: Project) -> None:
    subject.file("migrations/.keep", "")

    before = subject.run("doctor", "--json")
    initialize(subject)
    after = subject.run("doctor", "--json")

    def of_store(result: Result) -> dict[str, tuple[str, str]]:
        return {
            each["name"]: (each["verdict"], each["value"])
            for each in result.json()["checks"]
            if each["subject"] == "store"
        }

    assert "wrong" in {verdict for verdict, _ in of_store(before).values()}
    found = of_store(after)
    assert found["database"][0] == "right"
    assert found["state"] == ("right", "0 records")


def test_the_doctor_tells_which_rights_are_missing(
    postgresql: Project, database: Postgresql, schema: str
) -> None:
    initialize(postgresql)
    postgresql.script("first")
    with database.connection() as connection:
        connection.execute(f"CREATE ROLE {schema} LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}")
        try:
            url = database.url.replace("postgres:@", f"{schema}:{IN_URL}@")
            examined = postgresql.run("doctor", env={"STORAGE_DATABASE_URL": url})
            listed = postgresql.run("migrate", "--list", env={"STORAGE_DATABASE_URL": url})
            refused = postgresql.run("migrate", "--data", env={"STORAGE_DATABASE_URL": url})
        finally:
            connection.execute(f"DROP OWNED BY {schema}")
            connection.execute(f"DROP ROLE {schema}")

    assert listed.exit_code == 0
    assert f"GRANT INSERT, UPDATE ON {schema}.mpt_migrations_records" in examined.stdout
    assert f"GRANT UPDATE ON {schema}.mpt_migrations_lock" in examined.stdout
    assert refused.exit_code == 1
    assert "may not do that in the database postgres" in refused.stderr
    told = "".join(map(written, (examined, listed, refused)))
    assert [each for each in (PASSWORD, IN_URL) if each in told] == []


# --- Microsoft Entra


@pytest.fixture
def identity(postgresql: Project, database: Postgresql, schema: str) -> Iterator[IdentityEndpoint]:
    """What gives tokens to the project, for a user of the server who needs one."""
    with database.connection() as connection, IdentityEndpoint(schema) as endpoint:
        [[path]] = connection.execute("SHOW hba_file").fetchall()
        rules = Path(path).read_text(encoding="utf-8")
        Path(path).write_text(f"local all {schema} scram-sha-256\n{rules}", encoding="utf-8")
        connection.execute(f"CREATE ROLE {schema} SUPERUSER LOGIN")
        connection.execute("SELECT pg_reload_conf()")
        url = database.url.replace("postgres:@", "")
        entra = {"STORAGE_DATABASE_ENTRA": "true", "STORAGE_DATABASE_URL": url}
        postgresql.environment |= {**entra, **endpoint.environment}
        try:
            yield endpoint
        finally:
            Path(path).write_text(rules, encoding="utf-8")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"DROP OWNED BY {schema}")
            connection.execute(f"DROP ROLE {schema}")


def test_each_connection_asks_entra_for_its_password(
    postgresql: Project,
    database: Postgresql,
    schema: str,
    identity: IdentityEndpoint,
    end_connections: End,
    gate: Gate,
) -> None:
    postgresql.script("first", body=f"self.log.info('runs')\n{gate.wait}")

    def takes(number: int) -> None:
        identity.number = number
        with database.connection() as connection:
            connection.execute(f"ALTER ROLE {schema} PASSWORD '{identity.token_of(number)}'")

    takes(1)
    initialize(postgresql)
    takes(2)
    with Process(postgresql, "migrate", "--data") as run:
        run.wait_for(" runs")
        takes(3)
        is_over = time.monotonic() + 2
        wait_until(lambda: time.monotonic() > is_over)
        end_connections()
        run.wait_for("was lost: trying anew")
        gate.open()
        result = run.wait()

    assert result.exit_code == 0, result.stderr
    assert set(identity.tokens) == set(map(identity.token_of, (1, 2, 3)))
    assert [each for each in identity.tokens if each in written(result)] == []


@pytest.mark.slow
def test_without_an_identity_the_tool_says_so(postgresql: Project) -> None:
    environment = {
        "STORAGE_DATABASE_ENTRA": "true",
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    }

    result = postgresql.run("migrate", "--list", env=environment)

    assert result.exit_code == 1
    assert "Microsoft Entra gives no token for the database postgres" in result.stderr
