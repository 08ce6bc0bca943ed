"""The history: what every attempt leaves, where it may be missing, and `mpt-tool history`."""

import getpass
import json
import platform
import re
from datetime import datetime
from importlib.metadata import version
from typing import Any

import pytest
from support.airtable_server import BASE, HISTORY_TABLE, AirtableServer
from support.process import Process
from support.project import HISTORY_FILE, Project, record
from support.terminal import Gate

pytestmark = pytest.mark.slow

DAY = "2026-01-13T18:05:20+00:00"
KEYS_OF_A_RUN = {
    *("run_id", "user", "host", "process", "version", "tool_version"),
    *("migration_id", "order_id", "type", "outcome", "checksum"),
    *("started_at", "ended_at", "seconds"),
}
TABLE_MISSING = f"There is no history: Airtable base {BASE} has no table {HISTORY_TABLE}"


@pytest.fixture
def failing(project: Project) -> Project:
    """A project with one migration that is applied and one that fails, of either of two kinds."""
    project.script("fine", order_id=1)
    project.script(
        "broken",
        order_id=2,
        above="import shop",
        body="shop.order(lambda: int('no number'))",
    )
    project.file("shop.py", "def order(action): action()")
    return project


@pytest.fixture
def on_airtable(failing: Project, server: AirtableServer) -> Project:
    """The same, with its state in Airtable."""
    failing.environment = server.settings
    return failing


def test_a_run_leaves_everything_an_operator_may_ask_for(failing: Project) -> None:
    failing.run("migrate", "--data", env={"SERVICE_VERSION": "4.2.0"})

    fine, broken = failing.attempts()
    assert fine.keys() == KEYS_OF_A_RUN
    assert broken.keys() == KEYS_OF_A_RUN | {"error"}
    told = {
        "run_id": fine["run_id"],
        "user": getpass.getuser(),
        "host": platform.node(),
        "process": fine["process"],
        "version": "4.2.0",
        "tool_version": version("mpt-tool"),
        "type": "data",
    }
    assert told.items() <= fine.items()
    assert told.items() <= broken.items()
    assert (fine["migration_id"], fine["order_id"], fine["outcome"]) == ("fine", 1, "applied")
    assert (broken["migration_id"], broken["order_id"], broken["outcome"]) == (
        "broken",
        2,
        "failed",
    )
    assert re.fullmatch("[0-9a-f]{16}", fine["checksum"])
    assert fine["checksum"] != broken["checksum"]
    assert fine["started_at"] == failing.state()["fine"]["started_at"]
    assert fine["ended_at"] == failing.state()["fine"]["applied_at"]
    began, ended = (datetime.fromisoformat(fine[key]) for key in ("started_at", "ended_at"))
    assert fine["seconds"] == (ended - began).total_seconds()


def test_the_error_on_record_has_the_scripts_own_frames_alone(failing: Project) -> None:
    failing.run("migrate", "--data")

    error = failing.attempts()[1]["error"]
    assert (error["kind"], error["message"]) == (
        "ValueError",
        "invalid literal for int() with base 10: 'no number'",
    )
    statement = r"shop\.order\(lambda: int\('no number'\)\)"
    frames = [rf"2_broken\.py:\d+ in {name}: {statement}" for name in ("run", "<lambda>")]
    assert len(error["frames"]) == len(frames)
    assert all(map(re.fullmatch, frames, error["frames"]))


def test_the_error_of_a_missing_key_is_the_key_and_names_its_class_once(project: Project) -> None:
    project.script("first", body="{}['sku']")
    project.run("migrate", "--data")

    assert project.attempts()[0]["error"]["message"] == "'sku'"
    assert "\nerror: KeyError: 'sku'\n" in project.run("history", "first").stdout


def test_runs_are_told_apart_and_nothing_is_ever_removed(failing: Project) -> None:
    failing.run("migrate", "--data")
    first = (failing.root / HISTORY_FILE).read_bytes()

    failing.run("migrate", "--data", env={"SERVICE_VERSION": "4.2.0"})
    failing.run("migrate", "--fake", "broken")

    assert (failing.root / HISTORY_FILE).read_bytes().startswith(first)
    attempts = failing.attempts()
    assert [attempt["outcome"] for attempt in attempts] == ["applied", "failed", "failed", "faked"]
    assert len({attempt["run_id"] for attempt in attempts}) == 3
    assert [attempt.get("version") for attempt in attempts] == [None, None, "4.2.0", None]
    faked = attempts[-1]
    assert "started_at" not in faked
    assert faked["ended_at"] == failing.state()["broken"]["applied_at"]


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b'{"run_id": "torn', id="a torn line"),
        pytest.param(b"\n\n[]\nnull\n{}\n\xff\xfe\n", id="lines that are no attempts"),
    ],
)
def test_a_broken_line_is_passed_over_and_the_next_attempt_has_its_own(
    failing: Project, tail: bytes
) -> None:
    path = failing.root / HISTORY_FILE
    failing.run("migrate", "--data")
    whole = path.read_bytes()
    path.write_bytes(whole + tail)

    failing.run("migrate", "--data")
    shown = failing.run("history", "--json", "--verbose")

    outcomes = [attempt["outcome"] for attempt in shown.json()["attempts"]]
    assert outcomes == ["applied", "failed", "failed"]
    assert f"A line of {path} is no attempt: left out" in shown.stderr
    assert path.read_bytes().startswith(whole + tail)


def test_an_attempt_of_endless_seconds_is_none(failing: Project) -> None:
    failing.run("migrate", "--data")
    path = failing.root / HISTORY_FILE
    line = json.loads(path.read_text().splitlines()[0])
    endless = json.dumps({**line, "seconds": 0}).replace('"seconds": 0', '"seconds": 1e999')
    with path.open("a") as file:
        file.write(f"{endless}\n")

    shown = failing.run("history")

    assert (shown.exit_code, shown.stderr) == (0, "")
    _, *lines = shown.stdout.splitlines()
    assert len(lines) == len(failing.attempts()) - 1


@pytest.mark.parametrize("fails", [False, True], ids=["applied", "failed"])
def test_a_history_that_cannot_be_written_warns_and_changes_no_outcome(
    project: Project, fails: bool
) -> None:
    (project.root / HISTORY_FILE).mkdir()
    project.script("first", body=f"assert not {fails}")

    result = project.run("migrate", "--data")
    listed = project.run("migrate", "--list")

    assert result.exit_code == int(fails)
    assert " - WARNING - The history lacks this attempt at first: " in result.stderr
    assert f"{HISTORY_FILE} cannot be written: Is a directory" in result.stderr
    assert bool(project.state()["first"]["applied_at"]) is not fails
    assert listed.exit_code == 0
    assert "cannot be told: " in listed.stderr


def test_the_table_has_a_line_an_attempt_the_newest_last(failing: Project) -> None:
    failing.run("migrate", "--data", env={"SERVICE_VERSION": "4.2.0"})
    failing.run("migrate", "--fake", "broken")

    result = failing.run("history")

    assert (result.exit_code, result.stderr) == (0, "")
    heading, *lines = [re.split(r"  +", line) for line in result.stdout.splitlines()]
    names = ["started", "id", "type", "outcome", "duration", "by", "version", "note"]
    assert heading == names
    moment = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")
    assert all(moment.fullmatch(line[0]) for line in lines)
    by = f"{getpass.getuser()}@{platform.node()}"
    message = "invalid literal for int() with base 10: 'no number'"
    shown = [dict(zip(names, line, strict=True)) for line in lines]
    kept = ("id", "outcome", "by", "version", "note")
    assert [tuple(line[name] for name in kept) for line in shown] == [
        ("fine", "applied", by, "4.2.0", "-"),
        ("broken", "failed", by, "4.2.0", message),
        ("broken", "faked", by, "-", "-"),
    ]


def test_one_migration_is_shown_in_full(failing: Project) -> None:
    failing.run("migrate", "--data")
    failing.run("migrate", "--fake", "broken")
    _, broken, faked = failing.attempts()

    result = failing.run("history", "broken")

    assert result.exit_code == 0
    first, second = result.stdout.split("\n\n")
    error = broken.pop("error")
    assert first.splitlines() == [
        *(f"{key}: {value}" for key, value in broken.items()),
        f"error: {error['kind']}: {error['message']}",
        *(f"  {frame}" for frame in error["frames"]),
    ]
    assert second.splitlines() == [f"{key}: {value}" for key, value in faked.items()]


def test_the_history_of_one_migration_has_a_json_form(failing: Project) -> None:
    failing.run("migrate", "--data")

    document = failing.run("history", "broken", "--json").json()

    assert document == {"version": 1, "command": "history", "attempts": failing.attempts()[1:]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "No attempts found.\n"),
        (["--failed"], "No attempts found.\n"),
        (["scripted"], "No attempts at scripted found.\n"),
        (["recorded"], "No attempts at recorded found.\n"),
    ],
)
def test_where_nothing_was_attempted_that_is_said(
    project: Project, arguments: list[str], said: str
) -> None:
    project.script("scripted")
    project.write_state(record("recorded"))

    result = project.run("history", *arguments)

    assert (result.exit_code, result.stdout) == (0, said)
    assert project.run("history", *arguments, "--json").json()["attempts"] == []


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_id_that_nothing_has_is_an_error(failing: Project, options: list[str]) -> None:
    failing.run("migrate", "--data")

    result = failing.run("history", "unheard_of", *options)

    message = "Migration unheard_of not found"
    assert result.exit_code == 1
    assert result.error == f"Error running history command: {message}\nAborted.\n"
    if options:
        assert result.json() == {"version": 1, "command": "history", "error": message}


def attempted(migration_id: str, started_at: str, outcome: str) -> str:
    """Return a line of the history."""
    run = {"run_id": "r", "user": "u", "host": "h", "process": 1, "tool_version": "7.0.0"}
    what = {"migration_id": migration_id, "order_id": 1, "type": "data", "outcome": outcome}
    # One that was faked has no beginning, but an end.
    moment = {"ended_at" if outcome == "faked" else "started_at": started_at}
    return json.dumps({**run, **what, **moment}) + "\n"


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--last", "2"], ["c", "d"]),
        (["--last", "9"], ["a", "b", "c", "d"]),
        (["--failed"], ["a", "b"]),
        (["--failed", "--last", "1"], ["b"]),
        (["--since", "2026-02-01"], ["b", "c", "d"]),
        (["--since", "2026-02-01T00:00:01"], ["c", "d"]),
        (["--since", "2026-02-01T01:00+01:00"], ["b", "c", "d"]),
        (["--since", "2027-01-01"], []),
        (["b", "--failed"], ["b"]),
        (["b", "--since", "2026-03-01"], []),
    ],
)
def test_attempts_are_selected_by_number_outcome_and_time(
    project: Project, arguments: list[str], shown: list[str]
) -> None:
    lines = [
        attempted("a", "2026-01-31T23:59:59+00:00", "failed"),
        attempted("b", "2026-02-01T00:00:00+00:00", "failed"),
        attempted("c", "2026-03-01T00:00:00+00:00", "applied"),
        attempted("d", "2026-04-01T00:00:00+00:00", "faked"),
    ]
    project.file(HISTORY_FILE, "".join(lines))

    document = project.run("history", *arguments, "--json").json()

    assert [attempt["migration_id"] for attempt in document["attempts"]] == shown


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        (["--last", "0"], "Invalid value for '--last'"),
        (["--since", "yesterday"], "'yesterday' is no date like 2026-01-31"),
        (["--since", "0001-01-01T00:00+01:00"], "is no date like 2026-01-31"),
    ],
)
def test_what_is_no_number_and_no_date_is_wrong_usage(
    project: Project, arguments: list[str], mistake: str
) -> None:
    result = project.run("--no-color", "history", *arguments)

    assert result.exit_code == 2
    assert mistake in " ".join(result.stderr.replace("│", " ").split())


def test_whatever_an_error_says_stays_on_its_line(project: Project) -> None:
    project.script("first", body="raise ValueError('one\\ntwo\\x1b[2J')")
    project.run("migrate", "--data")

    table = project.run("history").stdout
    details = project.run("history", "first").stdout

    assert table.splitlines()[1].endswith(r"one\ntwo\x1b[2J")
    assert r"error: ValueError: one\ntwo\x1b[2J" in details


def history_rows(server: AirtableServer) -> list[dict[str, Any]]:
    return [dict(row["fields"]) for row in server.rows(BASE, HISTORY_TABLE)]


def test_airtable_keeps_the_history_in_a_table_of_its_own(
    on_airtable: Project, server: AirtableServer
) -> None:
    on_airtable.run("migrate", "--init")
    on_airtable.run("migrate", "--data", env={"SERVICE_VERSION": "4.2.0"})

    fine, broken = history_rows(server)
    assert fine.keys() == KEYS_OF_A_RUN
    assert broken.keys() == KEYS_OF_A_RUN | {"error"}
    assert json.loads(broken["error"])["kind"] == "ValueError"

    shown = on_airtable.run("history", "--json").json()["attempts"]
    assert [attempt["outcome"] for attempt in shown] == ["applied", "failed"]
    assert shown[0] == fine
    assert shown[1] == {**broken, "error": json.loads(broken["error"])}


def test_the_table_of_the_history_may_have_another_name(
    on_airtable: Project, server: AirtableServer
) -> None:
    on_airtable.environment["STORAGE_AIRTABLE_HISTORY_TABLE_NAME"] = "Log"

    on_airtable.run("migrate", "--init")
    on_airtable.run("migrate", "--fake", "fine")

    assert [row["fields"]["outcome"] for row in server.rows(BASE, "Log")] == ["faked"]


def test_airtable_does_without_the_table_and_says_so_when_asked(
    on_airtable: Project, server: AirtableServer
) -> None:
    run = on_airtable.run("migrate", "--data")
    faked = on_airtable.run("migrate", "--fake", "broken")
    listed = on_airtable.run("migrate", "--list")
    verbose = on_airtable.run("migrate", "--list", "--verbose")
    shown = on_airtable.run("history")

    assert (run.exit_code, faked.exit_code, listed.exit_code) == (1, 0, 0)
    assert {"fine", "broken"} == server.records().keys()
    assert "history" not in run.stderr + faked.stderr + listed.stderr
    assert f" - DEBUG - {TABLE_MISSING}" in verbose.stderr
    assert shown.exit_code == 1
    assert f"Error running history command: {TABLE_MISSING}" in shown.stderr
    assert "mpt-tool migrate --init creates it" in shown.stderr


def test_a_history_table_that_refuses_warns_and_changes_no_outcome(
    on_airtable: Project, server: AirtableServer
) -> None:
    server.add_table(BASE, HISTORY_TABLE, [{"name": "run_id", "type": "singleLineText"}])

    result = on_airtable.run("migrate", "--fake", "fine")

    assert result.exit_code == 0
    assert " - WARNING - The history lacks this attempt at fine: " in result.stderr
    assert server.records()["fine"]["applied_at"]


def test_a_row_that_is_no_attempt_is_passed_over(
    on_airtable: Project, server: AirtableServer
) -> None:
    on_airtable.run("migrate", "--init")
    server.add_row(BASE, HISTORY_TABLE, {"run_id": "somebody's own"})
    server.add_row(BASE, HISTORY_TABLE, {"error": "{torn"})
    on_airtable.run("migrate", "--fake", "fine")

    shown = on_airtable.run("history", "--json").json()["attempts"]

    assert [attempt["outcome"] for attempt in shown] == ["faked"]


def test_a_migration_that_is_found_dead_and_dies_again_has_both_on_record(
    project: Project,
) -> None:
    project.script("first", body="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    project.write_state(record("first", started_at=DAY))

    for _ in range(2):
        assert project.run("migrate", "--data").exit_code == -9

    found = project.attempts()
    assert [attempt["outcome"] for attempt in found] == ["found dead", "found dead"]
    assert found[0]["started_at"] == DAY < found[1]["started_at"]


def test_who_finds_a_run_dead_is_on_record_for_it_and_a_fake_finds_none(project: Project) -> None:
    project.script("first", body="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    for release in ("1.3.0", "1.4.0"):
        project.run("migrate", "--data", env={"SERVICE_VERSION": release})
    project.run("migrate", "--fake", "first")

    found, faked = project.attempts()

    assert (found["outcome"], found["version"]) == ("found dead", "1.4.0")
    assert {"ended_at", "seconds"} & found.keys() == set()
    assert faked["outcome"] == "faked"


def test_what_is_still_running_is_the_newest_attempt(
    failing: Project, server: AirtableServer, gate: Gate
) -> None:
    failing.script("slow", order_id=1, body=f"self.log.info('it runs')\n{gate.wait}")
    for environment in ({}, server.settings):
        failing.environment = environment
        if environment:
            failing.run("migrate", "--init")
        with Process(failing, "migrate", "--data", env={"SERVICE_VERSION": "4.2.0"}) as run:
            run.wait_for("it runs")
            shown = failing.run("history").stdout.splitlines()[-1]
            [*_, attempt] = failing.run("history", "--json").json()["attempts"]
            alone = failing.run("history", "slow").stdout
            newest = failing.run("history", "--last", "1", "--json").json()["attempts"]
            run.kill()

        assert re.search(r"Z  slow +data +running +- +\S+ +4\.2\.0 +-$", shown)
        assert attempt == newest[0]
        assert (attempt["migration_id"], attempt["outcome"]) == ("slow", "running")
        assert (attempt["host"], attempt["process"]) == (platform.node(), run.pid)
        assert "\noutcome: running\n" in f"\n{alone}"

    failing.environment = {}
    *_, dead = failing.run("history", "--json").json()["attempts"]

    assert dead["outcome"] == "found dead"
    assert {"run_id", "user", "host", "process"} & dead.keys() == set()


def test_a_run_has_a_line_of_its_own_and_is_looked_up_by_its_id(failing: Project) -> None:
    failing.run("migrate", "--data", env={"SERVICE_VERSION": "4.2.0"})
    failing.run("migrate", "--fake", "broken")
    ids = list(dict.fromkeys(attempt["run_id"] for attempt in failing.attempts()))

    table = failing.run("history", "--runs").stdout
    document = failing.run("history", "--runs", "--json").json()["runs"]
    [newest] = failing.run("history", "--runs", "--last", "1", "--json").json()["runs"]
    of_first = failing.run("history", "--run", ids[0], "--json").json()["attempts"]

    heading, first, second = [re.split(r"  +", line) for line in table.splitlines()]
    by = f"{getpass.getuser()}@{platform.node()}"
    assert heading == ["started", "run", "outcomes", "duration", "by", "version"]
    assert first[1:3] + first[4:] == [ids[0], "1 applied, 1 failed", by, "4.2.0"]
    assert second[1:] == [ids[1], "1 faked", "0.0 s", by, "-"]
    assert [each["run_id"] for each in document] == ids
    assert document[0]["outcomes"] == {"applied": 1, "failed": 1}
    assert document[0]["migrations"] == ["fine", "broken"]
    assert newest == document[1]
    assert of_first == failing.attempts()[:2]


def test_a_run_that_does_not_exist_is_an_error(failing: Project) -> None:
    failing.run("migrate", "--data")
    [run_id] = {attempt["run_id"] for attempt in failing.attempts()}

    unknown = failing.run("history", "--run", "unheard_of")
    without = failing.run("history", "--run", run_id, "--since", "2090-01-01")

    assert unknown.exit_code == 1
    assert "Run unheard_of not found: mpt-tool history --runs shows all" in unknown.stderr
    assert (without.exit_code, without.stdout) == (0, "No attempts found.\n")


def test_the_history_is_shown_where_the_state_is_broken(failing: Project) -> None:
    failing.run("migrate", "--data")
    failing.state_file.write_text("{")

    result = failing.run("history")

    assert result.exit_code == 0
    assert "What is still running cannot be told: " in result.stderr
    assert result.stdout.count("fine") == 1


def test_the_whole_chain_of_causes_is_kept(project: Project) -> None:
    project.script(
        "first",
        body="""
        try:
            try:
                open("not there")
            except OSError as error:
                raise ValueError("no settings") from error
        except ValueError:
            raise RuntimeError("cannot start")
        """,
    )
    project.run("migrate", "--data")

    [attempt] = project.attempts()
    shown = project.run("history", "first").stdout

    error = attempt["error"]
    kinds = [error["kind"], error["cause"]["kind"], error["cause"]["cause"]["kind"]]
    assert kinds == ["RuntimeError", "ValueError", "FileNotFoundError"]
    assert "\nerror: RuntimeError: cannot start\n" in shown
    assert "\ncaused by: ValueError: no settings\n" in shown
    assert "\ncaused by: FileNotFoundError: [Errno 2] No such file" in shown


@pytest.mark.parametrize("character", ["x", "\\0", "数"])
def test_an_error_that_airtable_has_no_room_for_is_cut_and_not_lost(
    project: Project, server: AirtableServer, character: str
) -> None:
    project.environment = server.settings
    project.run("migrate", "--init")
    text = f"'begin' + '{character}' * 300_000 + 'end'"
    project.script("first", body=f"raise ValueError({text}) from OSError({text})")

    project.run("migrate", "--data")

    [attempt] = project.run("history", "--json").json()["attempts"]
    for error in (attempt["error"], attempt["error"]["cause"]):
        assert error["message"].startswith("begin")
        assert error["message"].endswith("end")
