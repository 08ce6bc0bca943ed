"""How long a migration may take: a warning, then an exception in the script."""

import pytest
from support.project import Project, record

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
OVER = "it took longer than the limit of 0.5 seconds"
WARNING = "slow has taken 80 % of its 0.5 seconds"
IMPORTS = "import asyncio, signal, time"
# What is left until the warning, at four fifths of the limit; 0 if there is none.
SHOW_TIME_LEFT = "print('left:', signal.getitimer(signal.ITIMER_REAL)[0])"


@pytest.mark.parametrize("body", [SLEEPS, WORKS, WAITS, SWALLOWS])
def test_a_schema_migration_is_warned_and_stopped_once_its_time_is_over(
    project: Project, body: str
) -> None:
    project.script("slow", type="schema", above=IMPORTS, body=body)
    project.script("next", type="schema")

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "0.5"})

    assert result.exit_code == 1
    assert result.stderr.count(f" - WARNING - {WARNING}\n") == 1
    assert result.stderr.index(WARNING) < result.stderr.index(OVER)
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

        logging.getLogger().addHandler(Listener())
        warned.wait()
        """
    project.script("slow", type="schema", above="import logging, threading", body=body)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "3"})

    assert result.exit_code == 0
    assert " - WARNING - slow has taken 80 % of its 3 seconds\n" in result.stderr
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
    project.script("any", type=migration_type, above=IMPORTS, body=SHOW_TIME_LEFT)

    result = project.run("migrate", f"--{migration_type}", env=env)

    left = float(result.stdout.partition("left: ")[2].splitlines()[0])
    assert 0.8 * seconds - 60 < left <= 0.8 * seconds


def test_each_migration_has_the_whole_time_and_none_is_left_after_it(project: Project) -> None:
    project.script("first", type="schema", above=IMPORTS, body="signal.alarm(0)")
    project.script("second", type="schema", above=IMPORTS, body=SHOW_TIME_LEFT)

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": "100"})

    assert 20 < float(result.stdout.partition("left: ")[2].splitlines()[0]) <= 80


@pytest.mark.parametrize("limit", ["-1", "soon", "nan"])
def test_a_limit_that_is_none_is_refused(project: Project, limit: str) -> None:
    project.script("any", type="schema")

    result = project.run("migrate", "--schema", env={"SCHEMA_TIME_LIMIT": limit})

    assert result.exit_code == 2
    assert "SCHEMA_TIME_LIMIT (or MPT_TOOL_SCHEMA_TIME_LIMIT) is " in result.stderr
