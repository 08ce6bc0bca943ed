"""How long a migration may take: a warning, then an exception in the script."""

import signal
import threading

import pytest
from support.project import Project, record

from mpt_tool.process.signals import start_aside

pytestmark = pytest.mark.slow

SLEEPS = "time.sleep(60)"
WORKS = "while True: pass"
WAITS = "asyncio.run(asyncio.sleep(60))"
SWALLOWS = """
    try:
        time.sleep(60)
    except BaseException:
        pass
    """
OVER = "it took longer than the 0.5 seconds of SCHEMA_TIME_LIMIT"
WARNING = "slow has taken 80 % of the 0.5 seconds of SCHEMA_TIME_LIMIT: it will be stopped in 0.1 s"
IMPORTS = "import asyncio, os, signal, threading, time"
# What watches over the time is a thread that is named after it.
SHOW_LIMITS = """
    limits = [each.name for each in threading.enumerate() if each.name.startswith("limit")]
    print("limits:", limits)
    """
# As many scripts do that limit a call of their own.
SETS_AN_ALARM = """
    before = signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.alarm(100)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    time.sleep(60)
    """


@pytest.mark.parametrize("body", [SLEEPS, WORKS, WAITS, SWALLOWS, SETS_AN_ALARM])
def test_a_schema_migration_is_warned_and_stopped_once_its_time_is_over(
    project: Project, body: str
) -> None:
    project.script("slow", type="schema", above=IMPORTS, body=body)
    project.script("next", type="schema")

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "0.5"})

    assert result.exit_code == 1
    assert result.stderr.count(f" - WARNING - {WARNING}\n") == 1
    assert result.stderr.index(WARNING) < result.stderr.index(f"\nKeyboardInterrupt: {OVER}\n")
    assert result.stderr.endswith(f"Migration slow failed: {OVER}\nAborted.\n")
    assert project.state() == {"slow": record("slow", type="schema")}
    (attempt,) = project.attempts()
    assert (attempt["outcome"], attempt["error"]["message"]) == ("failed", OVER)


def test_a_script_may_clean_up_when_its_time_is_over(project: Project) -> None:
    body = "try:\n    time.sleep(60)\nfinally:\n    self.log.info('cleaned up')"
    project.script("slow", type="schema", above=IMPORTS, body=body)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "0.5"})

    assert " - INFO - cleaned up\n" in result.stderr


def test_a_script_that_ends_after_the_warning_is_applied(project: Project) -> None:
    body = """
        warned = threading.Event()

        class Listener(logging.Handler):
            def emit(self, event):
                warned.set()

        get_log().addHandler(Listener())
        warned.wait()
        """
    above = "import logging, threading\nfrom mpt_tool.process.log import get_log"
    project.script("slow", type="schema", above=above, body=body)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "3"})

    assert result.exit_code == 0
    left = "3 seconds of SCHEMA_TIME_LIMIT: it will be stopped in 0.6 s"
    assert f" - WARNING - slow has taken 80 % of the {left}\n" in result.stderr
    assert project.state()["slow"]["applied_at"]


@pytest.mark.parametrize(
    ("migration_type", "env", "seconds"),
    [
        ("schema", {}, 15 * 60),
        ("schema", {"SCHEMA_TIME_LIMIT": "100"}, 100),
        ("schema", {"MPT_TOOL_SCHEMA_TIME_LIMIT": "100", "SCHEMA_TIME_LIMIT": "1"}, 100),
        ("schema", {"SCHEMA_TIME_LIMIT": "0"}, 0),
        ("schema", {"DATA_TIME_LIMIT": "100", "SCHEMA_TIME_LIMIT": "0"}, 0),
        ("data", {}, 0),
        ("data", {"SCHEMA_TIME_LIMIT": "100"}, 0),
        ("data", {"DATA_TIME_LIMIT": "100"}, 100),
    ],
)
def test_the_limit_is_the_one_that_is_set_for_the_type(
    project: Project, migration_type: str, env: dict[str, str], seconds: int
) -> None:
    project.script("any", type=migration_type, above=IMPORTS, body=SHOW_LIMITS)

    result = project.run("migrate", f"--{migration_type}", env=env)

    limits = [f"limit of {seconds} seconds"] if seconds else []
    assert f"limits: {limits}\n" in result.stdout


def test_each_migration_has_the_whole_time_and_none_is_left_after_it(project: Project) -> None:
    for name in ("first", "second"):
        project.script(name, type="schema", above=IMPORTS, body=SHOW_LIMITS)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "100"})

    assert result.stdout.count("limits: ['limit of 100 seconds']\n") == 2


@pytest.mark.parametrize(
    "body",
    [
        "signal.signal(signal.SIGALRM, lambda number, frame: 1 / 0); signal.alarm(1)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    ],
    ids=["alarm", "blocked signals"],
)
def test_what_a_script_does_to_signals_is_no_matter_to_the_limit_of_the_next(
    project: Project, body: str
) -> None:
    project.script("first", type="schema", above=IMPORTS, body=body)
    project.script("slow", type="schema", above=IMPORTS, body=SLEEPS)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "1.5"})

    assert f"slow failed: {OVER.replace('0.5', '1.5')}\n" in result.stderr


def test_a_script_that_blocks_every_signal_has_failed_once_its_time_was_over(
    project: Project,
) -> None:
    body = "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\ntime.sleep(1)"
    project.script("slow", type="schema", above=IMPORTS, body=body)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "0.5"})

    assert result.exit_code == 1
    assert project.attempts()[0]["error"]["message"] == OVER


def test_a_script_that_exits_without_an_error_when_its_time_is_over_has_failed(
    project: Project,
) -> None:
    body = """
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            raise SystemExit(0)
        """
    project.script("slow", type="schema", above=IMPORTS, body=body)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "0.5"})

    assert result.exit_code == 1
    assert project.outcomes() == [("slow", "failed")]


def test_what_cleans_up_after_a_signal_has_all_the_time_that_it_needs(project: Project) -> None:
    body = """
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            time.sleep(1)
            self.log.info("cleaned up")
        """
    project.script("slow", type="schema", above=IMPORTS, body=body)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "0.5"})

    assert result.exit_code == 143
    assert "cleaned up\n" in result.stderr
    assert project.attempts()[0]["error"]["message"] == "stopped by SIGTERM"


@pytest.mark.parametrize("limit", ["-1", "soon", "nan", "1e10"])
def test_a_limit_that_is_none_is_refused(project: Project, limit: str) -> None:
    project.script("any", type="schema")

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": limit})

    assert result.exit_code == 2
    assert "SCHEMA_TIME_LIMIT (or MPT_TOOL_SCHEMA_TIME_LIMIT) is " in result.stderr


def test_a_signal_as_a_thread_of_ours_begins_leaves_none_blocked() -> None:
    """Where another thread takes one, it raises although this one blocks all."""

    class Late(threading.Thread):
        def start(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_aside(Late())

    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
