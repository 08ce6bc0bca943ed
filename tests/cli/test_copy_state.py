"""`mpt-tool copy-state`: from any store to any other, whole, and once."""

import json
import re
import signal
from collections.abc import Iterator, Mapping, Sequence

import pytest
from support.airtable_server import BASE, HISTORY_TABLE, TABLE, AirtableServer
from support.histories import write_history
from support.postgresql import Postgresql
from support.process import Process
from support.project import HISTORY_FILE, STATE_FILE, Project, record
from support.terminal import Gate

from mpt_tool.records import RunRecord
from mpt_tool.storage import open_repository
from mpt_tool.storage.local import LocalRepository
from mpt_tool.testing.storage import ATTEMPT, CHECKPOINT, FAILED, OTHER, RUNNING, STARTED

MOMENT = "2026-01-13T18:05:20.123456+00:00"
TO_AIRTABLE = ("copy-state", "--from", "local", "--to", "airtable")
FROM_AIRTABLE = ("copy-state", "--from", "airtable", "--to", "local")
BEFORE = "Error running copy-state command: Nothing was copied: "


@pytest.fixture
def base() -> Iterator[AirtableServer]:
    """An Airtable whose base has no table yet."""
    # Where the token of the other tests is hidden, so is the name of the store.
    with AirtableServer(token="patOfTheTests.0123456789") as server:
        server.add_base(BASE)
        yield server


@pytest.fixture
def both(project: Project, base: AirtableServer) -> Project:
    """A project with a local state of all there is, and an Airtable that has its tables."""
    write_history(project, 6, migrations=3)
    repository = LocalRepository(project.root)
    for entry in (ATTEMPT, FAILED):
        repository.append(entry)
    repository.save(RUNNING.reach(CHECKPOINT))
    run = RunRecord().start(STARTED, "1.2.3")
    repository.save(OTHER.with_run("PRD-1", run, ["PRD-1"]))
    set_up(project, "airtable", {**base.settings, "STORAGE_TYPE": "local"})
    return project


def set_up(project: Project, store: str, settings: Mapping[str, str]) -> None:
    """Let a project have a store, with its tables."""
    with (project.root / ".env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in settings.items())
    open_repository(store, project.root).initialize()


def held_in(project: Project, store: str) -> list[str]:
    """Return all that a store holds, without the digits that Airtable does not keep."""
    repository = open_repository(store, project.root)
    documents = [
        *(each.document() for each in repository.load().records.values()),
        *(each.document() for each in repository.attempts()),
        *(each.document() for each in repository.failed_items(FAILED.migration_id)),
    ]
    texts = [json.dumps(each, sort_keys=True) for each in documents]
    return [re.sub(r"(\.\d{3})\d*(?=[+,])", r"\1", text) for text in sorted(texts)]


def without_files(project: Project) -> None:
    """Delete the local state and its history."""
    for name in (STATE_FILE, HISTORY_FILE):
        (project.root / name).unlink()


def test_all_that_a_store_holds_is_copied_there_and_back(
    both: Project, base: AirtableServer
) -> None:
    there = both.run(*TO_AIRTABLE)
    assert there.exit_code == 0, there.stderr
    local = held_in(both, "local")
    assert held_in(both, "airtable") == local
    without_files(both)

    back = both.run(*FROM_AIRTABLE)

    assert back.exit_code == 0, back.stderr
    assert held_in(both, "local") == local
    assert there.stdout == (
        "Copying the state from local to airtable...\n"
        "Copied 5 records, 7 attempts and 2 failed items, and read all of it back.\n"
        "Set STORAGE_TYPE=airtable to go on with it; local stays as it is.\n"
    )
    assert base.claims() == []


@pytest.fixture(params=["sqlite", "postgresql"])
def with_sql(request: pytest.FixtureRequest, both: Project) -> Project:
    """The same with a database that has its tables."""
    if request.param == "sqlite":
        settings = {"STORAGE_DATABASE_URL": "sqlite:///state.db"}
    else:
        server: Postgresql = request.getfixturevalue("database")
        schema: str = request.getfixturevalue("schema")
        settings = {"STORAGE_DATABASE_URL": server.url, "STORAGE_DATABASE_SCHEMA": schema}
    set_up(both, "sql", settings)
    return both


def test_a_database_is_copied_to_and_from_as_any_store(
    with_sql: Project, base: AirtableServer
) -> None:
    """From the local store to the database, from there to Airtable, and back."""
    owned, *others = with_sql.state().values()
    with_sql.write_state(owned | {"owner": "ana"}, *others)
    local = held_in(with_sql, "local")
    assert with_sql.run("copy-state", "--from", "local", "--to", "sql").exit_code == 0
    assert held_in(with_sql, "sql") == local
    again = with_sql.run("copy-state", "--from", "local", "--to", "sql")
    without_files(with_sql)

    back = with_sql.run("copy-state", "--from", "sql", "--to", "local")
    on = with_sql.run("copy-state", "--from", "sql", "--to", "airtable")

    assert f"{BEFORE}sql has 5 records already, all as in local. Verify" in again.stderr
    assert back.exit_code == 0, back.stderr
    assert held_in(with_sql, "local") == local
    # Airtable has no column for the owner.
    assert f"read back as it was: {owned['migration_id']}." in on.stderr
    without_owner = [text.replace(', "owner": "ana"', "") for text in local]
    assert held_in(with_sql, "airtable") == without_owner


@pytest.mark.slow
def test_a_database_has_all_of_a_copy_that_was_killed_or_none(
    both: Project, database: Postgresql, schema: str
) -> None:
    settings = {"STORAGE_DATABASE_URL": database.url, "STORAGE_DATABASE_SCHEMA": schema}
    set_up(both, "sql", settings)
    copy = ("copy-state", "--from", "local", "--to", "sql")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with (
        database.connection() as connection,
        connection.transaction(),
        Process(both, *copy) as killed,
    ):
        # The last rows are those of the failed items: all others are written by then.
        connection.execute(f'LOCK TABLE "{schema}".mpt_migrations_failed_items IN SHARE MODE')
        with database.connection() as looking:
            killed.wait_until(lambda: looking.execute(waiting).fetchone() != (0,), 0.02)
        assert killed.is_running, killed.stderr
        killed.kill()
    left = held_in(both, "sql")

    again = both.run(*copy, "--wait", "30")

    assert left == []
    assert again.exit_code == 0, again.stderr
    assert held_in(both, "sql") == held_in(both, "local")


def test_a_target_with_records_is_refused_unless_they_are_to_be_merged(
    both: Project, base: AirtableServer
) -> None:
    base.add_row(BASE, TABLE, record("of_another", applied_at=MOMENT))
    before = [base.rows(BASE, each) for each in (TABLE, HISTORY_TABLE)]

    refused = both.run(*TO_AIRTABLE)
    after = [base.rows(BASE, each) for each in (TABLE, HISTORY_TABLE)]
    merged = both.run(*TO_AIRTABLE, "--merge")

    assert refused.exit_code == 1
    assert f"{BEFORE}airtable has 1 record already, 1 record of which local has" in refused.stderr
    assert after == before
    assert merged.exit_code == 0, merged.stderr
    assert base.records().keys() == {*both.state(), "of_another"}
    assert base.records()["of_another"]["applied_at"]


def test_a_dry_run_writes_nothing_and_says_what_a_copy_would_do(
    both: Project, base: AirtableServer
) -> None:
    base.clear_requests()
    before = both.tree()

    would = both.run(*TO_AIRTABLE, "--dry-run")

    assert would.stdout == (
        "Would copy 5 records, 7 attempts and 2 failed items from local to airtable.\n"
    )
    assert {each.method for each in base.requests()} == {"GET"}
    assert both.tree() == before
    base.add_row(BASE, TABLE, record("of_another"))
    refused = both.run(*TO_AIRTABLE, "--dry-run")
    assert (refused.exit_code, BEFORE in refused.stderr) == (1, True)


@pytest.mark.parametrize("held", ["local", "airtable"])
def test_both_locks_are_needed(both: Project, base: AirtableServer, gate: Gate, held: str) -> None:
    both.script("holds", body=f"self.log.info('holds it')\n{gate.wait}")
    command = ("migrate", "--data", "holds")
    with Process(both, *command, env={"STORAGE_TYPE": held}) as holder:
        holder.wait_for("holds it")

        result = both.run(*TO_AIRTABLE)

        gate.open()
        holder.wait()
    assert result.exit_code == 75
    assert f"Error running copy-state command: {held}: Locked by process {holder.pid} on" in (
        result.stderr
    )


@pytest.mark.parametrize(
    ("lacks", "words"),
    [("checkpoint", "airtable has no checkpoint"), (HISTORY_TABLE, "airtable has no history")],
)
def test_a_target_that_lacks_a_place_is_refused_before_anything_is_written(
    both: Project, base: AirtableServer, lacks: str, words: str
) -> None:
    if lacks == HISTORY_TABLE:
        both.environment["STORAGE_AIRTABLE_HISTORY_TABLE_NAME"] = "Elsewhere"
    else:
        base.remove_column(BASE, TABLE, lacks)

    refused = both.run(*TO_AIRTABLE)
    command = ["migrate", "--init"]
    assert f"{words}: STORAGE_TYPE=airtable mpt-tool {' '.join(command)} creates it" in (
        refused.stderr
    )
    assert base.records() == {}
    both.run(*command, env={"STORAGE_TYPE": "airtable"})

    assert both.run(*TO_AIRTABLE).exit_code == 0


@pytest.mark.parametrize("further", [(), ("--dry-run",)])
def test_a_target_without_tables_is_named_with_the_command_that_creates_them(
    project: Project, further: Sequence[str]
) -> None:
    project.environment["STORAGE_DATABASE_URL"] = "sqlite:///state.db"

    result = project.run("copy-state", "--from", "local", "--to", "sql", *further)

    assert result.exit_code == 1
    assert "Error running copy-state command: sql: The database" in result.stderr
    assert ": STORAGE_TYPE=sql mpt-tool migrate --init\n" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("table", [HISTORY_TABLE, TABLE])
def test_a_copy_that_was_killed_is_completed_and_adds_nothing_twice(
    both: Project, base: AirtableServer, table: str
) -> None:
    """Killed while the history is written it is only run again, for there is no record yet."""
    wait = ("--wait", "30")
    both.environment["STORAGE_AIRTABLE_LEASE_SECONDS"] = "5"
    if table == HISTORY_TABLE:
        base.delay(60, method="PATCH", path="History")
    with Process(both, *TO_AIRTABLE) as killed:
        written = base.records if table == TABLE else lambda: base.rows(BASE, HISTORY_TABLE)
        killed.wait_until(lambda: len(written()) > 0, 0.01)
        killed.kill()
    left = base.records()

    again = both.run(*TO_AIRTABLE, *wait)
    if table == TABLE:
        assert again.exit_code == 1
        assert f"{BEFORE}airtable has {len(left)} record" in again.stderr
        assert "with --merge\n" in again.stderr
        again = both.run(*TO_AIRTABLE, *wait, "--merge")

    assert bool(left) is (table == TABLE)
    assert again.exit_code == 0, again.stderr
    assert ", which airtable lacks\n" in again.stderr
    assert held_in(both, "airtable") == held_in(both, "local")
    assert len(base.rows(BASE, HISTORY_TABLE)) == len(both.history())


def test_a_copy_that_is_stopped_gives_both_locks_back(both: Project, base: AirtableServer) -> None:
    base.delay(60, method="PATCH", path="History")
    with Process(both, *TO_AIRTABLE) as copying:
        copying.wait_until(lambda: bool(base.requests("PATCH", "History")), 0.01)
        copying.send(signal.SIGTERM)
        stopped = copying.wait()

    assert stopped.exit_code == 143
    assert base.claims() == []
    assert both.run(*TO_AIRTABLE).exit_code == 0


def test_a_local_target_has_all_of_the_records_or_none(both: Project) -> None:
    """Of a copy that ends between the history and the records the next one makes the rest."""
    assert both.run(*TO_AIRTABLE).exit_code == 0
    local = held_in(both, "local")
    lines = (both.root / HISTORY_FILE).read_text().splitlines(keepends=True)
    without_files(both)
    # As it is found after a kill in the midst of the history.
    both.file(HISTORY_FILE, "".join(lines[:3]) + lines[3][:40])

    result = both.run(*FROM_AIRTABLE)

    assert result.exit_code == 0
    assert "Copying 5 records, 4 attempts and 2 failed items, which local lacks" in result.stderr
    assert held_in(both, "local") == local


def test_a_store_that_does_not_keep_what_it_is_given_is_found_out(project: Project) -> None:
    project.file(
        "installed/forgetful.py",
        """
        from mpt_tool.storage.local import LocalRepository

        class Forgetful(LocalRepository):
            def __init__(self, root):
                super().__init__(root / "elsewhere")

            def keep_all(self, entries, records):
                forgotten = {"version": None}
                super().keep_all(entries, [each.model_copy(update=forgotten) for each in records])
        """,
    )
    entry_points = "[mpt_tool.storage]\nforgetful = forgetful:Forgetful\n"
    project.file("installed/forgetful-1.0.dist-info/entry_points.txt", entry_points)
    project.file("installed/forgetful-1.0.dist-info/METADATA", "Name: forgetful\nVersion: 1.0\n")
    project.file("elsewhere/.keep", "")
    project.environment["PYTHONPATH"] = str(project.root / "installed")
    project.write_state(record("first", applied_at=MOMENT, version="1.0"), record("second"))

    result = project.run("copy-state", "--from", "local", "--to", "forgetful")

    assert result.exit_code == 1
    assert (
        "What was copied to forgetful does not read back as it was: first. Do not use forgetful"
        in result.stderr
    )


@pytest.mark.parametrize(
    ("stores", "exit_code", "words"),
    [
        (("local", "local"), 2, "--from and --to are both local: name two stores"),
        (("local", "airtabel"), 2, "--to is 'airtabel': use one of local, airtable, sql"),
        (
            ("sqll", "local"),
            2,
            "--from is 'sqll': use one of local, airtable, sql. Did you mean sql?",
        ),
        (("local", "airtable"), 2, "AIRTABLE_API_KEY"),
    ],
)
def test_what_is_no_pair_of_stores_is_refused(
    project: Project, stores: tuple[str, str], exit_code: int, words: str
) -> None:
    result = project.run("copy-state", "--from", stores[0], "--to", stores[1])

    assert result.exit_code == exit_code
    assert words in result.stderr


def test_unknown_keys_are_copied_to_a_store_that_keeps_them_and_told_by_others(
    both: Project,
) -> None:
    first, *others = both.state().values()
    both.write_state({**first, "owner": "ana"}, *others)

    result = both.run(*TO_AIRTABLE)

    assert result.exit_code == 1
    assert f"does not read back as it was: {first['migration_id']}." in result.stderr


def test_a_copy_to_a_local_state_in_a_container_warns_first(both: Project) -> None:
    assert both.run(*TO_AIRTABLE).exit_code == 0
    without_files(both)
    in_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "STORAGE_EPHEMERAL": "false"}

    result = both.run(*FROM_AIRTABLE, env=in_pod)

    assert "in the container itself, and gone with it" in result.stderr.splitlines()[0]
