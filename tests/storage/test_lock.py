"""One run at a time: what becomes of the others, and of one that loses the lock."""

import os
import platform
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import MIGRATION, numbers
from support.postgresql import Postgresql
from support.process import Process, wait_until
from support.project import LOCK_FILE, Project
from support.terminal import Gate

from mpt_tool.records import Origin
from mpt_tool.storage.local import LocalRepository

pytestmark = pytest.mark.slow

HOLDER_FILE = f"{LOCK_FILE}.json"
# Renewed and found dead within a test.
SHORT_LEASE = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5"}
LOST = "The lock was lost: "

type TakeAway = Callable[[AirtableServer, Project], object]


@pytest.fixture(params=["local", "airtable", "postgresql"])
def project(request: pytest.FixtureRequest, project: Project, gate: Gate) -> Project:
    """A project, on any store, with a script that holds the lock if it is told to."""
    if request.param == "airtable":
        server: AirtableServer = request.getfixturevalue("server")
        project.environment = server.settings
    elif request.param == "postgresql":
        database: Postgresql = request.getfixturevalue("database")
        project.environment = database.settings(request.getfixturevalue("schema"))
        assert project.run("migrate", "--init").exit_code == 0
    project.script(
        "first",
        above="import os",
        body=f"""
        self.log.info("first runs")
        if "HOLDS" in os.environ:
            {gate.wait}
        """,
    )
    return project


on_airtable = pytest.mark.parametrize("project", ["airtable"], indirect=True)
on_local = pytest.mark.parametrize("project", ["local"], indirect=True)


def hold(project: Project, **env: str) -> Process:
    """Start a run that holds the lock, and return once its script runs."""
    process = Process(project, "migrate", "--data", env={"HOLDS": "1", **env})
    process.wait_for("first runs")
    return process


def hold_at(gate: Gate) -> str:
    """Return the body of a script that says that it runs, and waits at the gate."""
    return f"self.log.info('it runs')\n{gate.wait}"


def holder_of(refusal: str) -> str:
    """Return the name to unlock that a refused run was told."""
    (name,) = re.findall(r"mpt-tool unlock (\S+)", refusal)
    return str(name)


def statuses(project: Project) -> dict[str, str]:
    """Return the status of each migration that is listed."""
    listed = project.run("migrate", "--list", "--json").json()["migrations"]
    return {migration["migration_id"]: migration["status"] for migration in listed}


def test_every_action_that_writes_is_refused_while_another_holds_the_lock(
    project: Project, gate: Gate
) -> None:
    project.script("column", type="schema", body="raise AssertionError")

    with hold(project) as holder:
        for action in (["--data"], ["--schema"], ["--fake", "column"], ["--init"]):
            refused = project.run("migrate", *action)

            assert refused.exit_code == 75
            command = action[0].removeprefix("--")
            assert f"Error running {command} command: Locked by " in refused.stderr
            named = rf"process {holder.pid} on {re.escape(platform.node())} since \d{{4}}-\d\d-\d\d"
            assert re.search(named, refused.stderr)
            assert refused.stderr.endswith("\nAborted.\n")
        gate.open()
        assert holder.wait().exit_code == 0

    assert statuses(project) == {"first": "applied", "column": "not applied"}


def test_one_that_waits_goes_on_once_the_lock_is_free_and_runs_nothing_twice(
    project: Project, gate: Gate
) -> None:
    env = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5"}
    with (
        hold(project, **env) as holder,
        Process(project, "migrate", "--data", "--wait", "60", env=env) as waiting,
    ):
        waiting.wait_for(f"Waiting for the lock, held by process {holder.pid} on ")
        gate.open()

        assert holder.wait().exit_code == 0
        after = waiting.wait()

    assert after.exit_code == 0
    assert "0 applied, 1 skipped" in after.stdout


def test_one_that_waits_for_what_another_applies_meanwhile_has_nothing_left_to_do(
    project: Project, gate: Gate
) -> None:
    env = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5"}
    command = ["migrate", "--data", "first", "--wait", "60"]
    with hold(project, **env) as holder, Process(project, *command, env=env) as waiting:
        waiting.wait_for(f"Waiting for the lock, held by process {holder.pid} on ")
        gate.open()
        assert holder.wait().exit_code == 0
        after = waiting.wait()

    assert after.exit_code == 0, after.stderr
    # The attempt comes into the history after the record that says that it is applied.
    who = rf"(process {holder.pid} on {re.escape(platform.node())}|another run)"
    assert re.search(f"\nNothing is left to do: {who} applied first at 20", after.stdout)
    assert project.run(*command).exit_code == 1


def test_one_that_may_wait_needs_no_lock_where_nothing_is_pending(
    project: Project, gate: Gate
) -> None:
    project.script("column", type="schema")
    assert project.run("migrate", "--schema").exit_code == 0
    with hold(project) as holder:
        passing = project.run("migrate", "--schema", "--wait", "1")
        named = project.run("migrate", "--schema", "column", "--wait", "1")
        gate.open()

        assert holder.wait().exit_code == 0

    assert passing.exit_code == 0
    assert "0 applied, 1 skipped" in passing.stdout
    assert named.exit_code == 1
    assert "Migration column already applied" in named.stderr


def test_one_that_waits_in_vain_is_refused(project: Project) -> None:
    with hold(project):
        refused = project.run("migrate", "--data", "--wait", "0.2")

    assert refused.exit_code == 75
    assert "Locked by process " in refused.stderr


def test_a_holder_that_was_killed_needs_nobody_to_free_the_lock(project: Project) -> None:
    """The system frees a local lock at once; a lease has to run out, a holder may come back."""
    with hold(project, **SHORT_LEASE) as holder:
        holder.kill()

    results = []

    def is_free() -> bool:
        results.append(project.run("migrate", "--data", env=SHORT_LEASE))
        return results[-1].exit_code != 75

    wait_until(is_free)

    assert results[-1].exit_code == 0
    assert "1 applied" in results[-1].stdout
    assert "Migration first began at " in results[-1].stderr
    if "AIRTABLE_API_KEY" in project.environment:
        assert f"process {holder.pid} on {platform.node()} since" in results[-1].stderr
        assert "is dead: taking its lock away" in results[-1].stderr
    else:
        assert len(results) == 1


def test_reading_needs_no_lock_and_writes_nothing(
    project: Project, request: pytest.FixtureRequest
) -> None:
    actions: list[list[str]] = [
        ["migrate", "--list"],
        ["migrate", "--check"],
        ["migrate", "--check", "--strict"],
        ["migrate", "--data", "--dry-run"],
        ["pending"],
        ["history"],
        ["failures", "first"],
    ]
    with hold(project):
        before = project.tree()
        is_airtable = "AIRTABLE_API_KEY" in project.environment
        server = request.getfixturevalue("server") if is_airtable else None
        if server:
            server.clear_requests()

        results = {" ".join(action): project.run(*action) for action in actions}

        assert project.tree() == before
        if server:
            assert {each.method for each in server.requests()} == {"GET"}

    assert [name for name, result in results.items() if result.exit_code == 75] == []
    assert results["pending"].exit_code == 3
    assert re.search("first +data +running", results["migrate --list"].stdout)
    assert "lock:" not in "".join(result.stdout for result in results.values())


@on_airtable
def test_claims_are_no_records(project: Project, server: AirtableServer) -> None:
    claim = {"migration_id": "lock:web-1:4711:0a1b2c3d", "order_id": 0}
    server.add_row(BASE, TABLE, claim)

    assert statuses(project) == {"first": "not applied"}
    assert project.run("migrate", "--check", "--strict").exit_code == 0


@on_airtable
def test_the_lock_costs_five_requests_and_leaves_no_row(
    project: Project, server: AirtableServer
) -> None:
    assert project.run("migrate", "--data").exit_code == 0

    methods = [request.method for request in server.lock_requests()]
    assert methods == ["PATCH", "GET", "PATCH", "GET", "DELETE"]
    assert server.claims() == []


@on_airtable
def test_one_that_may_wait_stands_in_no_line_while_another_does_its_work(
    project: Project, server: AirtableServer, gate: Gate
) -> None:
    with (
        hold(project) as holder,
        Process(project, "migrate", "--data", "--wait", "60") as waiting,
    ):
        waiting.wait_for(f"Waiting for the lock, held by process {holder.pid} on ")
        gate.open()
        assert holder.wait().exit_code == 0
        ended = len(server.lock_requests())

        assert waiting.wait().exit_code == 0

    assert len(server.lock_requests()) == ended == 5


def unlock(server: AirtableServer, project: Project) -> None:
    name = holder_of(project.run("migrate", "--data").stderr)
    unlocked = project.run("unlock", name)
    assert (unlocked.exit_code, unlocked.stdout) == (0, f"Took the lock away from {name}.\n")


def delete_the_row(server: AirtableServer, project: Project) -> None:
    (claim,) = server.claims()
    server.delete_row(BASE, TABLE, claim["id"])


@on_airtable
@pytest.mark.parametrize("take_away", [unlock, delete_the_row])
def test_a_run_whose_claim_is_taken_away_stops_its_script_and_writes_nothing(
    project: Project, server: AirtableServer, take_away: TakeAway
) -> None:
    with hold(project, **SHORT_LEASE) as holder:
        running = server.records()

        take_away(server, project)

        result = holder.wait()

    assert result.exit_code == 1
    assert LOST in result.stderr
    assert "Migration first failed: stopped because the lock was lost" in result.stderr
    assert server.records() == running
    assert server.claims() == []


@on_airtable
def test_a_batch_migration_that_loses_the_lock_is_told_of_no_signal(
    project: Project, server: AirtableServer, gate: Gate
) -> None:
    numbers(project, f"if number == 1:\n    self.log.info('runs')\n    {gate.wait}")
    with Process(project, "migrate", "--data", MIGRATION, env=SHORT_LEASE) as holder:
        holder.wait_for(" runs")
        delete_the_row(server, project)
        holder.wait_for(LOST)
        gate.open()

        result = holder.wait()

    assert result.exit_code == 1
    assert "Stopping at" not in result.stderr


@on_airtable
def test_only_the_holder_that_is_named_is_unlocked(
    project: Project, server: AirtableServer, gate: Gate
) -> None:
    with hold(project) as holder:
        refused = project.run("unlock", "web-1:4711:0a1b2c3d")

        assert refused.exit_code == 1
        assert "'web-1:4711:0a1b2c3d' does not hold the lock: process " in refused.stderr
        (claim,) = server.claims()
        assert claim["fields"]["migration_id"] == f"lock:{holder_of_refusal(refused.stderr)}"
        gate.open()
        assert holder.wait().exit_code == 0


def holder_of_refusal(refusal: str) -> str:
    """Return the name in parentheses."""
    (name,) = re.findall(r"\((\S+)\)", refusal)
    return str(name)


@on_local
def test_a_local_lock_is_not_taken_from_a_process_that_lives(project: Project, gate: Gate) -> None:
    with hold(project) as holder:
        refused = project.run("unlock", "anybody")

        assert refused.exit_code == 1
        assert f"It is held by process {holder.pid} on {platform.node()}" in refused.stderr
        gate.open()
        assert holder.wait().exit_code == 0


def test_there_is_nothing_to_unlock_while_nobody_holds_the_lock(project: Project) -> None:
    refused = project.run("unlock", "anybody")

    assert refused.exit_code == 1
    assert "Nothing to unlock: nobody holds the lock" in refused.stderr


@on_local
def test_a_pipe_in_the_place_of_the_holders_file_is_not_waited_for(project: Project) -> None:
    os.mkfifo(project.root / HOLDER_FILE)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f"{HOLDER_FILE} is no regular file" in result.stderr


@on_local
def test_asking_who_holds_the_lock_leaves_no_file(project: Project) -> None:
    project.run("unlock", "?")

    assert not (project.root / LOCK_FILE).exists()


@on_local
def test_a_lock_that_cannot_be_asked_for_is_an_error(project: Project) -> None:
    (project.root / LOCK_FILE).mkdir()

    refused = project.run("unlock", "?")

    assert refused.exit_code == 1
    assert f"{LOCK_FILE} cannot be locked: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_run_begins_although_somebody_asks_for_the_holder_just_then(tmp_path: Path) -> None:
    asked = FileLock(tmp_path / LOCK_FILE, thread_local=False)
    asked.acquire()
    origin = Origin(run_id="1", user="ann", host="web-1", process=1, tool_version="7")

    # Asking takes less.
    threading.Timer(0.05, asked.release).start()
    with LocalRepository(tmp_path).lock(origin, 0, lambda: None):
        assert (tmp_path / HOLDER_FILE).exists()


@on_local
def test_a_holder_cannot_steer_the_terminal_of_those_that_wait(project: Project) -> None:
    with hold(project):
        holder = project.root / HOLDER_FILE
        holder.write_text(holder.read_text().replace(platform.node(), "x\\u001b[31mred\\nline"))
        waiting = project.run("migrate", "--data", "--wait", "0.1")

    assert waiting.exit_code == 75
    assert waiting.stderr.count(r"on x\x1b[31mred\nline since") == 2


@on_airtable
def test_a_run_that_slept_past_its_lease_stops_without_writing_when_it_wakes(
    project: Project, server: AirtableServer
) -> None:
    with hold(project, **SHORT_LEASE) as sleeping:
        sleeping.send(signal.SIGSTOP)
        wait_until(lambda: project.run("migrate", "--data", env=SHORT_LEASE).exit_code == 0)
        taken_over = server.records()
        assert taken_over["first"]["applied_at"]

        sleeping.send(signal.SIGCONT)
        result = sleeping.wait()

    assert result.exit_code == 1
    assert LOST in result.stderr
    assert server.records() == taken_over
    assert server.claims() == []


@on_airtable
def test_a_renewal_that_fails_is_tried_again(
    project: Project, server: AirtableServer, gate: Gate
) -> None:
    env = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5", "STORAGE_AIRTABLE_RETRY_SECONDS": "0"}
    with hold(project, **env) as holder:
        server.answer(500, method="PATCH")

        holder.wait_for("The lock could not be renewed, trying again")
        gate.open()

        assert holder.wait().exit_code == 0
    assert server.records()["first"]["applied_at"]


@on_airtable
def test_a_lock_that_is_lost_after_the_run_hides_nothing_of_how_it_ended(
    project: Project, server: AirtableServer, gate: Gate
) -> None:
    with hold(project, **SHORT_LEASE) as holder:
        # A renewal that is under way when the run ends, and too late once it is answered.
        server.clear_requests()
        server.answer(500, method="PATCH", times=4)
        server.delay(0.9, method="PATCH")
        wait_until(lambda: len(server.requests("PATCH")) == 5)
        server.answer(422, method="PATCH")
        gate.open()

        result = holder.wait()

    assert result.exit_code == 1
    assert LOST in result.stderr
    *_, told, last = result.stderr.splitlines()
    assert told.startswith(
        "Error running data command: Migration first was applied, but that could not be recorded: "
    )
    assert last == "Aborted."
    assert "Not recorded: first\n" in result.stdout


@on_airtable
def test_a_lock_that_cannot_be_given_back_changes_no_outcome(
    project: Project, server: AirtableServer
) -> None:
    server.answer(500, method="DELETE")

    result = project.run("migrate", "--data", env={"STORAGE_AIRTABLE_RETRY_SECONDS": "0"})

    assert result.exit_code == 0
    assert "WARNING - The lock could not be given back, it will run out" in result.stderr


@on_airtable
def test_a_signal_after_the_run_tears_nothing_and_changes_no_outcome(
    project: Project, server: AirtableServer, gate: Gate
) -> None:
    with hold(project) as holder:
        server.answer(500, method="DELETE", headers={"Retry-After": "1"})
        gate.open()
        holder.wait_for("Airtable answered 500: trying again")
        holder.send(signal.SIGTERM)
        result = holder.wait()

    assert (result.exit_code, server.claims()) == (0, [])
    assert result.stdout.endswith("Migrations completed successfully.\n")


@on_local
def test_a_run_stops_without_writing_if_the_file_that_names_it_is_deleted(
    project: Project, gate: Gate
) -> None:
    with hold(project) as holder:
        (project.root / HOLDER_FILE).unlink()
        running = project.state()

        gate.open()
        result = holder.wait()

    assert result.exit_code == 1
    assert LOST in result.stderr
    assert project.state() == running


@on_local
def test_a_run_stops_without_writing_if_the_lock_was_deleted_and_another_took_it(
    project: Project, gate: Gate
) -> None:
    with hold(project) as holder:
        (project.root / LOCK_FILE).unlink()
        assert project.run("migrate", "--data").exit_code == 0
        taken_over = project.state()

        gate.open()
        result = holder.wait()

    assert result.exit_code == 1
    assert LOST in result.stderr
    assert project.state() == taken_over


@on_local
def test_a_script_that_closes_the_file_of_its_lock_does_no_harm_to_the_next_holder(
    project: Project, gate: Gate, tmp_path: Path
) -> None:
    project.script("closes", above="import os", body=f"os.closerange(3, 256)\n{hold_at(gate)}")
    with Gate(tmp_path / "second gate") as second:
        project.script("next", type="schema", body=hold_at(second))

        with Process(project, "migrate", "--data") as loser:
            loser.wait_for("it runs")
            with Process(project, "migrate", "--schema") as holder:
                holder.wait_for("it runs")
                gate.open()
                lost = loser.wait()
                second.open()
                kept = holder.wait()

    assert kept.exit_code == 0, kept.stderr
    assert lost.exit_code == 1
    assert LOST in lost.stderr
    assert "Traceback" not in lost.stderr
