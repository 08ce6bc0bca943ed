"""`mpt-tool status`: what it shows of runs that live, died or sleep, on both stores."""

import fcntl
import json
import platform
import re
import signal
from datetime import UTC, datetime, timedelta

import pytest
from support.airtable_server import BASE, HISTORY_TABLE, TABLE, AirtableServer
from support.batches import MIGRATION, numbers
from support.process import Process, wait_until
from support.project import COMMAND, Project, record
from support.terminal import Gate, Terminal

pytestmark = pytest.mark.slow

SHORT_LEASE = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5"}
LABEL_WIDTH = 14
LABELS = ["Status", "Lock", "Running", "Migrations", "Last failure", "Next"]
BROKEN = """
try:
    {}["sku"]
except KeyError as error:
    raise ValueError("no product") from error
"""


@pytest.fixture(params=["local", "airtable"])
def project(request: pytest.FixtureRequest, project: Project) -> Project:
    """A project on either store."""
    if request.param == "airtable":
        server: AirtableServer = request.getfixturevalue("server")
        project.environment = server.settings
        project.run("migrate", "--init")
    return project


on_airtable = pytest.mark.parametrize("project", ["airtable"], indirect=True)
on_local = pytest.mark.parametrize("project", ["local"], indirect=True)


def parts(text: str) -> dict[str, list[str]]:
    """Return the lines of the screen below each label."""
    found: dict[str, list[str]] = {}
    label = ""
    for line in text.splitlines():
        label = line[:LABEL_WIDTH].rstrip() or label
        found.setdefault(label, []).append(line[LABEL_WIDTH:])
    return found


def screen(project: Project, **env: str) -> dict[str, list[str]]:
    """Return what `status` shows, which writes nothing."""
    before = project.tree()
    result = project.run("status", env=env)

    assert (result.exit_code, result.stderr) == (0, "")
    assert project.tree() == before
    return parts(result.stdout)


def held_batch(project: Project, gate: Gate) -> None:
    """Write a batch migration of 10 that waits at its fourth item, all before it kept."""
    body = f"if number == 4:\n    self.log.info('at 4.')\n    {gate.wait}"
    methods = "def count(self): return 10"
    numbers(project, body, methods=methods, checkpoint_seconds=0, batch_size=1)


def test_nothing_at_all_is_the_first_thing_to_change(project: Project) -> None:
    shown = screen(project)

    assert list(shown) == LABELS
    assert shown["Lock"] == ["free: nothing runs"]
    assert shown["Running"] == ["nothing"]
    assert shown["Migrations"] == shown["Last failure"] == ["none"]
    assert shown["Next"] == ["mpt-tool migrate --new-data NAME", "there is no migration yet"]


def test_a_run_at_work_is_shown_with_how_far_it_is_to_whoever_asks(
    project: Project, gate: Gate
) -> None:
    held_batch(project, gate)
    with Process(project, "migrate", "--data") as run:
        run.wait_for("at 4.")
        shown = screen(project)
        document = project.run("status", "--json").json()
        listed = project.run("migrate", "--list").stdout
        gate.open()
        assert run.wait().exit_code == 0

    holder = rf"process {run.pid} on {re.escape(platform.node())} since \d{{4}}-.*Z"
    who, life = shown["Lock"]
    assert re.match(holder, who)
    assert re.fullmatch(r"alive(, renewed \d+\.\d s ago)?", life)
    what, how_far, after = shown["Running"]
    assert re.fullmatch(rf"{MIGRATION}, data, for \d+\.\d s", what)
    assert re.fullmatch(r"━━━╌╌╌╌╌╌╌ 3 of 10, [\d,]+\.\d/s, \d+\.\d s left", how_far)
    assert after == "after item 3"
    assert shown["Migrations"] == ["data: 1 running"]
    assert shown["Next"][0] == "mpt-tool status --watch"
    assert re.search(r"Next: mpt-tool status --watch\n +process \d+ on .* is at work\n$", listed)
    assert "left running" not in listed
    assert "has come to 3 of 10" in listed
    assert "resumes" not in listed

    assert document["lock"]["is_alive"] is True
    assert (document["lock"]["host"], document["lock"]["process"]) == (
        platform.node(),
        str(run.pid),
    )
    [running] = document["running"]
    assert (running["migration_id"], running["is_left"]) == (MIGRATION, False)
    assert running["checkpoint"]["processed"] == 3
    assert document["counts"] == {"data": {"running": 1}}
    assert document["next"]["command"] == "mpt-tool status --watch"


def test_a_run_that_was_killed_is_told_from_one_that_lives(project: Project, gate: Gate) -> None:
    held_batch(project, gate)
    with Process(project, "migrate", "--data", env=SHORT_LEASE) as run:
        run.wait_for("at 4.")
        run.kill()
    wait_until(lambda: screen(project, **SHORT_LEASE)["Lock"][1].startswith("dead"))

    shown = screen(project, **SHORT_LEASE)
    listed = project.run("migrate", "--list", env=SHORT_LEASE).stdout

    what, how_far, _ = shown["Running"]
    assert what.startswith(f"{MIGRATION}, data, left by a run that died, since ")
    assert how_far == "━━━╌╌╌╌╌╌╌ 3 of 10"
    assert shown["Next"] == ["mpt-tool migrate --data", f"{MIGRATION} resumes after 3 of 10"]
    assert "  running  " in listed
    assert "left running by a dead run; resumes after 3 of 10" in listed


@on_airtable
def test_a_run_that_is_frozen_is_dead_once_its_lease_is_over(project: Project, gate: Gate) -> None:
    held_batch(project, gate)
    with Process(project, "migrate", "--data", env=SHORT_LEASE) as run:
        run.wait_for("at 4.")
        run.send(signal.SIGSTOP)
        dead = re.compile(r"dead: not renewed for \d+\.\d s")
        wait_until(lambda: bool(dead.fullmatch(screen(project, **SHORT_LEASE)["Lock"][1])))


@on_local
def test_a_run_that_is_frozen_lives_as_the_system_tells_but_makes_no_progress(
    project: Project,
) -> None:
    began = datetime.now(UTC) - timedelta(minutes=5)
    checkpoint = {
        "cursor": 3,
        "processed": 3,
        "since": began.isoformat(),
        "rate": 1.5,
        "reached_at": (began + timedelta(minutes=1)).isoformat(),
    }
    started = record(MIGRATION, started_at=began.isoformat(), checkpoint=checkpoint)
    project.write_state(started)
    holder = {"host": "web-1", "process": 4711, "since": began.isoformat(), "run_id": "1"}
    project.file(".migrations-state.lock.json", json.dumps(holder))
    project.file(".migrations-state.lock", "")

    with (project.root / ".migrations-state.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shown = screen(project)

    assert shown["Lock"][1] == "alive"
    assert re.fullmatch(r"3, no progress for 4 min \d+ s", shown["Running"][1])


def test_the_last_failure_is_shown_with_its_cause_and_the_scripts_line(
    project: Project,
) -> None:
    path = project.script("broken", body=BROKEN)
    project.run("migrate", "--data")
    line = path.read_text().splitlines().index('            {}["sku"]') + 1

    failed = screen(project)

    assert failed["Migrations"] == ["data: 1 failed"]
    what, error, cause, where = failed["Last failure"]
    assert re.fullmatch(r"broken, \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, by .*@.*", what)
    assert (error, cause) == ("ValueError: no product", "caused by KeyError: 'sku'")
    assert where == f'{path.name}:{line} in run: {{}}["sku"]'
    assert failed["Next"] == [
        "mpt-tool migrate --data",
        "broken failed: mpt-tool history broken says why",
    ]


def test_of_failed_items_the_last_failure_tells_the_error_of_one_and_its_line(
    project: Project,
) -> None:
    path = numbers(project, "{}[f'sku-{number}']", total=2, on_error="'collect'").path
    project.run("migrate", "--data")

    _, failed, error, where = screen(project)["Last failure"]

    assert failed == f"ItemsFailedError: Migration {MIGRATION} failed for 2 of 2 items"
    assert error == "caused by KeyError: 'sku-2'"
    assert re.fullmatch(rf"{path.name}:\d+ in process: {{}}\[f'sku-{{number}}'\]", where)


def test_until_its_first_checkpoint_a_run_has_no_rate(project: Project, gate: Gate) -> None:
    body = f"""
        if number == 2 and 'HOLDS' in os.environ:
            self.log.info('at 2.')
            {gate.wait}
    """
    methods = "def count(self): return 10"
    numbers(project, body, methods=methods, checkpoint_seconds=0, batch_size=1)
    assert project.run("batch", MIGRATION, "--limit", "1").exit_code == 75
    with Process(project, "migrate", "--data", env={"HOLDS": "1"}) as run:
        run.wait_for("at 2.")
        _, how_far, _ = screen(project)["Running"]
        gate.open()
        assert run.wait().exit_code == 0

    assert how_far == "━╌╌╌╌╌╌╌╌╌ 1 of 10"


@on_airtable
def test_a_big_store_on_airtable_takes_four_requests(
    project: Project, server: AirtableServer
) -> None:
    moment = "2026-01-13T18:05:20+00:00"
    for number in range(250):
        row = record(f"m{number}", order_id=number, started_at=moment, applied_at=moment)
        server.add_row(BASE, TABLE, row)
    attempt = {"run_id": "r", "user": "u", "host": "h", "process": 1, "tool_version": "7.0.0"}
    for number in range(5000):
        outcome = "failed" if number % 10 == 5 else "applied"
        what = {"migration_id": f"m{number}", "order_id": number, "type": "data"}
        ended = {"outcome": outcome, "ended_at": f"2026-01-{1 + number % 28:02}T{number:06}"}
        server.add_row(BASE, HISTORY_TABLE, attempt | what | ended)
    server.add_row(BASE, TABLE, {"migration_id": "lock:web-1:4711:0a1b2c3d", "order_id": 0})
    server.clear_requests()

    shown = screen(project)

    assert len(server.requests()) == 4
    assert {each.method for each in server.requests()} == {"GET"}
    assert shown["Lock"][0].startswith("process 4711 on web-1 since ")
    assert shown["Migrations"] == ["data: 250 applied"]


@on_airtable
def test_without_a_history_no_failure_is_told(project: Project, server: AirtableServer) -> None:
    project.script("first", body="raise ValueError")

    project.environment["STORAGE_AIRTABLE_HISTORY_TABLE_NAME"] = "Nowhere"

    assert screen(project)["Last failure"] == ["none"]


@on_local
def test_the_screen_fits_a_terminal_of_80_by_24_whatever_there_is_to_tell(
    project: Project, gate: Gate
) -> None:
    project.script(
        "a_migration_with_quite_a_long_name_for_a_screen", body=f"raise ValueError({'x' * 200!r})"
    )
    project.run("migrate", "--data")
    moment = "2026-01-13T18:05:20+00:00"
    checkpoint = {"cursor": "AGR-" * 40, "processed": 7, "since": moment, "outcomes": {"a" * 90: 7}}
    project.write_state(
        *project.state().values(),
        *(record(f"left_{n}", started_at=moment, checkpoint=checkpoint) for n in range(5)),
    )

    with Terminal(
        [COMMAND, "status"], project.root, project.environment_of_run(), lines=24
    ) as terminal:
        assert terminal.wait() == 0
        assert len(terminal.lines) <= 23
        assert parts(terminal.text)["Running"][-1] == "and 2 more"
        assert all(len(line) <= 80 for line in terminal.written_lines)
        # Nothing is left out but what there is no room for.
        assert 3 <= terminal.text.count("…") < 8
        assert terminal.lines[0].startswith("Status        at ")


@on_local
def test_watching_redraws_in_place_until_ctrl_c(project: Project, gate: Gate) -> None:
    held_batch(project, gate)
    with (
        Process(project, "migrate", "--data") as run,
        Terminal(
            [COMMAND, "status", "--watch"], project.root, project.environment_of_run(), lines=24
        ) as terminal,
    ):
        run.wait_for("at 4.")
        terminal.wait_for("3 of 10")
        assert not terminal.shows_cursor
        gate.open()
        assert run.wait().exit_code == 0
        terminal.wait_for("free: nothing runs")

        assert terminal.text.count("Migrations") == 1
        terminal.press("\x03")
        assert terminal.wait() == 0
        assert terminal.shows_cursor
        assert "Stopping" not in terminal.text
        assert "Aborted" not in terminal.text


@on_local
def test_watching_away_from_a_terminal_writes_a_block_each_time(project: Project) -> None:
    with Process(project, "status", "--watch") as watching:
        wait_until(lambda: watching.stdout.count("\n\nStatus  ") >= 1)
        watching.send(signal.SIGINT)
        result = watching.wait()

    assert (result.exit_code, result.stderr) == (0, "")
    for block in result.stdout.strip().split("\n\n"):
        assert list(parts(block)) == LABELS


@on_local
def test_watching_ends_once_nobody_reads_it(project: Project) -> None:
    result = project.execute(["sh", "-c", f"{COMMAND} status --watch | head -n 1"])

    assert result.stdout.startswith("Status ")


@on_local
def test_watching_has_no_json_form(project: Project) -> None:
    result = project.run("status", "--watch", "--json")

    assert result.exit_code == 2
