"""`mpt-tool stop`: what becomes of the run that holds the lock, and of later ones."""

import platform
import re
import signal

import pytest
from support.airtable_server import AirtableServer
from support.batches import MIGRATION, TOTAL, numbers
from support.process import Process
from support.project import Project
from support.terminal import Gate

pytestmark = pytest.mark.slow

# Renewed within a test.
SHORT_LEASE = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5"}
STOPPED = "stopped by mpt-tool stop"


@pytest.fixture(params=["local", "airtable"])
def project(request: pytest.FixtureRequest, project: Project) -> Project:
    """A project on either store."""
    if request.param == "airtable":
        server: AirtableServer = request.getfixturevalue("server")
        project.environment = server.settings | SHORT_LEASE
        project.run("migrate", "--init")
    return project


on_local = pytest.mark.parametrize("project", ["local"], indirect=True)


def at_the_gate(project: Project, gate: Gate) -> Process:
    """Start a run whose script waits, and return once it does."""
    project.script("first", body=f"self.log.info('it runs')\n{gate.wait}")
    process = Process(project, "migrate", "--data")
    process.wait_for("it runs")
    return process


def test_a_batch_stops_with_its_progress_kept_and_the_next_run_goes_on(
    project: Project, gate: Gate
) -> None:
    migration = numbers(project, f"if number == 4:\n    self.log.info('at 4.')\n    {gate.wait}")
    with Process(project, "migrate", "--data") as run:
        run.wait_for("at 4.")
        with Process(project, "stop") as stop:
            run.wait_for("Stopping at mpt-tool stop; a signal ends at once")
            gate.open()
            stopped, asked = run.wait(), stop.wait()

    again = project.run("migrate", "--data")

    assert stopped.exit_code == 75
    assert f"{MIGRATION} was {STOPPED} after 4 items: its progress is kept" in stopped.stderr
    holder = rf"process {run.pid} on {re.escape(platform.node())} since .*Z"
    assert asked.exit_code == 0
    assert re.fullmatch(rf"It has ended: {holder}\.\n", asked.stdout)
    assert re.search(rf"Asked {holder} to stop: waiting up to 1 min 30 s", asked.stderr)
    assert again.exit_code == 0
    assert migration.processed == list(range(1, TOTAL + 1))
    attempts = project.run("history", "--json").json()["attempts"]
    assert [each["outcome"] for each in attempts] == ["stopped", "applied"]


def test_a_script_is_interrupted_and_may_clean_up(project: Project, gate: Gate) -> None:
    body = f"""
    try:
        self.log.info("it runs")
        {gate.wait}
    except KeyboardInterrupt:
        self.log.info("cleans up")
        raise
    """
    project.script("first", body=body)
    with Process(project, "migrate", "--data") as run:
        run.wait_for("it runs")
        asked, stopped = project.run("stop"), run.wait()

    assert (asked.exit_code, stopped.exit_code) == (0, 143)
    assert "cleans up" in stopped.stderr
    assert f"Migration first was {STOPPED}: the next run begins it anew\n" in stopped.stderr
    assert "Aborted" not in stopped.stderr


@on_local
def test_one_that_does_not_stop_is_told_after_the_wait_and_no_later_run_is_stopped(
    project: Project, gate: Gate
) -> None:
    with at_the_gate(project, gate) as run:
        run.send(signal.SIGSTOP)

        waited = project.run("stop", "--wait", "0.1")
        shown = project.run("status").stdout

        assert waited.exit_code == 75
        assert f"Error running stop command: process {run.pid} on " in waited.stderr
        assert "has not ended yet" in waited.stderr
        assert "alive, asked to stop" in shown
        run.kill()

    gate.open()
    assert project.run("migrate", "--data").exit_code == 0
    assert set(project.tree()) & {".migrations-state.stop.json"} == set()


def test_where_nobody_holds_the_lock_there_is_nothing_to_stop(project: Project) -> None:
    result = project.run("stop")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "Nothing to stop: nobody holds the lock.\n"


@on_local
def test_a_run_that_was_killed_needs_no_stop(project: Project, gate: Gate) -> None:
    with at_the_gate(project, gate) as run:
        run.kill()

    result = project.run("stop")

    assert result.exit_code == 0
    told = rf"Nothing to stop: process {run.pid} on .* is dead\. The next run takes its lock\.\n"
    assert re.fullmatch(told, result.stdout)
