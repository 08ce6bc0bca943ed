"""Messages to people and pings, as a real server gets them."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.batches import numbers
from support.mpt_server import MPTServer
from support.process import Process
from support.project import Project, record
from support.receiver import Receiver

from mpt_tool.observers.deliveries import result_within

ALL = "started, stopped, finished, failed, stalled"
HOOK = "/h00k-0f-a-channel"
PING = "/p1ng-0f-a-check"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def project(project: Project, receiver: Receiver) -> Project:
    project.environment["NOTIFY_URLS"] = f"json://{receiver.address}{HOOK}"
    return project


def messages(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(body) for body in receiver.bodies(HOOK)]


def told(receiver: Receiver) -> list[str]:
    """What the messages are about, the first one first."""
    return [message["title"].removeprefix("extension: ") for message in messages(receiver)]


def test_a_failure_is_told_with_what_where_how_far_and_why(
    project: Project, receiver: Receiver
) -> None:
    project.file("pyproject.toml", '[project]\nname = "shop"\n')
    project.script("first")
    project.script("second", body="raise RuntimeError('the shop is closed')")
    project.script("third")

    result = project.run("migrate", "--data", env={"SERVICE_VERSION": "1.2.3"})

    assert result.exit_code == 1
    [message] = messages(receiver)
    assert (message["title"], message["type"]) == ("shop: migrate --data failed", "failure")
    why, where, how_far, what_next = message["message"].splitlines()
    assert why == "Why: Migration second failed: the shop is closed"
    host, process = (project.attempts()[0][name] for name in ("host", "process"))
    assert where == f"Where: shop 1.2.3 on {host}, process {process}, mpt-tool 7.0.0"
    assert how_far == "How far: 1 of 3 applied, then second"
    assert what_next.startswith("Next: mpt-tool migrate --data (second failed")


def test_of_a_batch_migration_it_is_told_how_many_items_are_done(
    project: Project, receiver: Receiver
) -> None:
    body = "if number in (2, 4): raise ValueError('even')"
    numbers(project, body, on_error="'collect'", methods="def count(self): return 12")

    project.run("migrate", "--data")

    [message] = messages(receiver)
    assert "How far: 0 of 1 applied, then numbers: 10 of 12 items, 2 failed" in message["message"]


def test_there_is_one_message_a_run_however_many_items_fail(
    project: Project, receiver: Receiver
) -> None:
    numbers(project, "raise ValueError('all of them')", on_error="'collect'", max_failures=10)

    project.run("migrate", "--data")

    assert told(receiver) == ["migrate --data failed"]


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("failed", []),
        ("finished", ["migrate --data finished"]),
        (ALL, ["migrate --data started", "migrate --data finished"]),
    ],
)
def test_what_is_told_is_a_setting(
    project: Project, receiver: Receiver, on: str, expected: list[str]
) -> None:
    project.script("one")

    assert project.run("migrate", "--data", env={"NOTIFY_ON": on}).exit_code == 0

    assert told(receiver) == expected


def test_a_stop_is_told_as_one(project: Project, receiver: Receiver) -> None:
    numbers(project, "self.log.info('at work'); time.sleep(0.05)", total=1000)
    with Process(project, "migrate", "--data", env={"NOTIFY_ON": ALL}) as process:
        process.wait_for("at work")
        process.send(signal.SIGTERM)

        assert process.wait().exit_code == 75

    assert told(receiver) == ["migrate --data started", "migrate --data stopped"]
    assert "was stopped by SIGTERM after" in messages(receiver)[-1]["message"]


def test_by_default_neither_a_stop_nor_an_end_is_told(project: Project, receiver: Receiver) -> None:
    numbers(project)

    assert project.run("batch", "numbers", "--limit", "3").exit_code == 75
    assert project.run("batch", "numbers").exit_code == 0

    assert told(receiver) == []


def test_that_another_run_holds_the_lock_is_a_stop(project: Project, receiver: Receiver) -> None:
    numbers(project, "self.log.info('at work'); time.sleep(0.05)", total=1000)
    with Process(project, "migrate", "--data") as process:
        process.wait_for("at work")

        assert project.run("migrate", "--data", env={"NOTIFY_ON": "stopped"}).exit_code == 75

    assert told(receiver) == ["migrate --data stopped"]


def test_what_keeps_a_run_from_its_beginning_is_told(project: Project, receiver: Receiver) -> None:
    project.state_file.write_text("no state")
    project.script("one")

    assert project.run("migrate", "--data").exit_code == 1

    [message] = messages(receiver)
    assert "cannot be read as state" in message["message"]
    assert "How far: nothing was begun" in message["message"]


def test_a_message_does_not_wait_for_a_store_that_does_not_answer() -> None:
    never = Event()

    assert result_within(0.01, never.wait) is None
    assert result_within(10, lambda: "mpt-tool migrate --data") == "mpt-tool migrate --data"


@pytest.mark.slow
def test_a_run_that_does_not_move_is_told_once(project: Project, receiver: Receiver) -> None:
    numbers(project, "self.log.info('at work'); time.sleep(1000 if number == 4 else 0)")
    with Process(project, "batch", "numbers", env={"NOTIFY_STALLED_SECONDS": "0.5"}):
        receiver.wait_for(HOOK)

    assert told(receiver) == ["batch numbers stalled"]
    why, _, how_far, *_ = messages(receiver)[0]["message"].splitlines()
    assert why.startswith("Why: it has not moved for ")
    assert how_far == "How far: 0 of 1 applied, then numbers: 3 items"


@pytest.mark.slow
def test_a_run_that_waits_for_the_lock_stalls(project: Project, receiver: Receiver) -> None:
    numbers(project, "self.log.info('at work'); time.sleep(0.05)", total=1000)
    waiting = ("migrate", "--data", "--wait", "100")
    with Process(project, "migrate", "--data") as process:
        process.wait_for("at work")
        with Process(project, *waiting, env={"NOTIFY_STALLED_SECONDS": "0.3"}):
            receiver.wait_for(HOOK)

    [message] = messages(receiver)
    assert ", and waits for the lock of the store" in message["message"]


@pytest.mark.slow
def test_a_run_stalls_whose_requests_are_refused(project: Project, receiver: Receiver) -> None:
    project.file(
        "migrations/1_asks.py",
        """\
        from mpt_tool.migration import DataBaseMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(DataBaseMigration, MPTAPIClientMixin):
            def run(self):
                self.mpt_client.commerce.agreements.get("1")
        """,
    )
    with MPTServer() as platform:
        platform.add_agreement("1")
        env = {**platform.settings, "NOTIFY_STALLED_SECONDS": "5"}
        platform.answer(429, headers={"Retry-After": "100"})
        with Process(project, "migrate", "--data", env=env) as process:
            process.wait_for("answered 429")
            receiver.wait_for(HOOK)

    [message] = messages(receiver)
    assert ", and waits for The platform, which answered 429" in message["message"]


def test_that_an_earlier_run_died_is_told(project: Project, receiver: Receiver) -> None:
    project.script("one")
    project.write_state(record("one", started_at="2026-01-01T00:00:00+00:00"))

    assert project.run("migrate", "--data").exit_code == 0

    assert told(receiver) == ["migrate --data found a dead run"]
    assert "one began in an earlier run that died" in messages(receiver)[0]["message"]


def test_the_address_is_a_secret_everywhere(project: Project) -> None:
    address = project.environment["NOTIFY_URLS"]
    body = f"self.log.info({address!r}); raise RuntimeError('POST {HOOK}')"
    project.script("one", body=body)

    result = project.run("migrate", "--data")

    assert HOOK[1:] not in result.stderr + result.stdout
    assert HOOK[1:].encode() not in b"".join(filter(None, project.tree().values())).replace(
        project.script("one", body=body).read_bytes(), b""
    )


def test_what_is_told_holds_no_secret_and_no_control_characters(
    project: Project, receiver: Receiver
) -> None:
    secret = "s3cr3t-value-of-a-key"
    project.script("one", body=f"raise RuntimeError('{secret}\\\\n\\\\x1b[31mred')")

    project.run("migrate", "--data", env={"MPT_API_TOKEN": secret})

    [message] = messages(receiver)
    assert "Why: Migration one failed: ***\\n\\x1b[31mred\n" in message["message"]


def test_an_address_that_refuses_changes_nothing_but_a_warning(
    project: Project, receiver: Receiver
) -> None:
    receiver.status = 500
    project.script("one", body="raise RuntimeError('closed')")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "Not sent: the notification: Failed to send JSON" in result.stderr
    assert HOOK not in result.stderr
    assert project.outcomes() == [("one", "failed")]


@pytest.mark.slow
def test_an_address_that_hangs_is_waited_for_a_few_seconds(
    project: Project, receiver: Receiver
) -> None:
    receiver.hangs = True
    project.script("one", body="raise RuntimeError('closed')")
    project.environment["NOTIFY_PING_URL"] = f"http://{receiver.address}{PING}"

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "Not sent: the ping of this run: " in result.stderr
    assert "Not sent: the notification: " in result.stderr


def test_one_of_several_addresses_that_cannot_be_used_is_named_by_its_number(
    project: Project, receiver: Receiver
) -> None:
    project.environment["NOTIFY_URLS"] += " nothing://of-the-k1nd"
    project.script("one", body="raise RuntimeError('closed')")

    result = project.run("migrate", "--data")

    assert told(receiver) == ["migrate --data failed"]
    expected = "Not sent: the notification to address 2 of 2: NOTIFY_URLS: Apprise knows no service"
    assert expected in result.stderr
    assert "k1nd" not in result.stderr


def test_where_the_extra_is_missing_one_warning_says_how_to_get_it(
    project: Project, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "sitecustomize.py").write_text("import sys; sys.modules['apprise'] = None\n")
    project.environment["PYTHONPATH"] = str(missing)
    project.script("one")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert result.stderr.count("WARNING") == 1
    assert "pip install 'mpt-tool[notify]'" in result.stderr


@pytest.mark.parametrize(
    ("body", "exit_code", "end"),
    [("pass", 0, PING), ("raise RuntimeError('closed')", 1, f"{PING}/fail")],
)
def test_a_check_is_pinged_at_the_beginning_and_at_the_end(
    project: Project, receiver: Receiver, body: str, exit_code: int, end: str
) -> None:
    project.environment = {"NOTIFY_PING_URL": f"http://{receiver.address}{PING}/"}
    project.script("one", body=body)

    result = project.run("migrate", "--data")

    assert result.exit_code == exit_code
    assert [each.path for each in receiver.received] == [f"{PING}/start", end]
    first_line, command, *_ = receiver.bodies(end)[0].splitlines()
    assert (first_line, command) == (f"exit code {exit_code}", "migrate --data")
    assert "WARNING" not in result.stderr


def test_a_ping_of_a_run_that_was_stopped_tells_its_exit_code(
    project: Project, receiver: Receiver
) -> None:
    project.environment = {"NOTIFY_PING_URL": f"http://{receiver.address}{PING}?rid=1"}
    numbers(project)

    assert project.run("batch", "numbers", "--limit", "3").exit_code == 75

    end = receiver.received[-1]
    assert end.path == f"{PING}/fail?rid=1"
    assert end.content.decode().startswith("exit code 75\n")


def test_what_is_no_address_is_a_warning_without_it(project: Project) -> None:
    project.environment = {"NOTIFY_PING_URL": "hc-ping.example/k3y-of-a-check"}
    project.script("one")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "NOTIFY_PING_URL is no address" in result.stderr
    assert "k3y" not in result.stderr


def test_an_occasion_that_nobody_knows_is_refused(project: Project) -> None:
    result = project.run("migrate", "--list", env={"NOTIFY_ON": "failed,finnished"})

    assert result.exit_code == 2
    expected = (
        "NOTIFY_ON (or MPT_TOOL_NOTIFY_ON) is 'failed,finnished': use some of started, finished,"
        " stopped, failed, stalled"
    )
    assert expected in result.stderr


def test_settings_may_stand_in_files_but_for_the_address(
    project: Project, receiver: Receiver
) -> None:
    address = project.environment.pop("NOTIFY_URLS")
    project.file(".env", f"MPT_TOOL_NOTIFY_URLS={address}\n")
    project.file("pyproject.toml", '[tool.mpt-tool]\nnotify-on = ["finished"]\n')
    project.script("one")

    assert project.run("migrate", "--data").exit_code == 0
    assert told(receiver) == ["migrate --data finished"]

    project.file("pyproject.toml", f'[tool.mpt-tool]\nnotify-urls = "{address}"\n')
    refused = project.run("migrate", "--data")
    assert refused.exit_code == 2
    assert "notify-urls is a secret" in refused.stderr
    assert HOOK not in refused.stderr


def test_while_a_run_goes_on_the_next_command_is_to_watch_it(
    project: Project, receiver: Receiver
) -> None:
    project.script("one")

    project.run("migrate", "--data", env={"NOTIFY_ON": "started"})

    [message] = messages(receiver)
    assert "Next: mpt-tool status --watch (this run is at work)" in message["message"]


def test_what_just_looks_notifies_nobody(project: Project, receiver: Receiver) -> None:
    numbers(project, methods="def verify(self): raise ValueError('no')")
    looking = {"NOTIFY_ON": ALL, "NOTIFY_PING_URL": f"http://{receiver.address}{PING}"}

    project.run("batch", "numbers", "--dry-run", env=looking)
    project.run("verify", env=looking)

    assert (messages(receiver), receiver.bodies(PING)) == ([], [])
