"""SIGINT, SIGTERM and SIGHUP, and whatever else a script does to the process that it runs in."""

import re
import signal
import textwrap

import pytest
from support.process import Process
from support.project import COMMAND, Project, record
from support.terminal import Gate, Terminal

pytestmark = pytest.mark.slow

SIGNALS = [
    pytest.param(signal.SIGINT, 130, id="SIGINT"),
    pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    pytest.param(signal.SIGHUP, 129, id="SIGHUP"),
]


def start(project: Project) -> Process:
    """Start a run, and return once its script says so."""
    process = Process(project, "migrate", "--data")
    process.wait_for("script runs")
    return process


def cleaning_up(gate: Gate) -> str:
    """Return the body of a script that waits at the gate, and once more as it cleans up."""
    return f"""
    self.log.info("script runs")
    try:
        {gate.wait}
    finally:
        self.log.info("cleans up")
        {gate.wait}
    """


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_a_signal_is_a_keyboard_interrupt_in_the_script_which_may_clean_up(
    project: Project, gate: Gate, number: signal.Signals, exit_code: int
) -> None:
    project.script("fine")
    project.script(
        "first",
        body=f"""
        self.log.info("script runs")
        try:
            {gate.wait}
        except KeyboardInterrupt:
            self.log.info("cleaned up")
            raise
        """,
    )
    project.script("second")

    with start(project) as process:
        process.send(number)
        result = process.wait()

    assert result.exit_code == exit_code
    assert " - INFO - cleaned up\n" in result.stderr
    stopped = f"Migration first was stopped by {number.name}: the next run begins it anew\n"
    assert result.stderr.endswith(f"\n{stopped}")
    # It was asked for: nothing looks like a disaster.
    assert not any(word in result.stderr for word in ("Error", "Traceback", "Aborted", "failed"))
    assert "Applied before the stop: fine\nStopped: first\nNot reached: second" in result.stdout
    assert project.state()["first"] == record("first", order_id=20260101000001)
    assert "second" not in project.state()
    assert project.outcomes() == [("fine", "applied"), ("first", "stopped")]
    assert project.attempts()[1]["error"]["message"] == f"stopped by {number.name}"
    assert any("first.py" in frame for frame in project.attempts()[1]["error"]["frames"])
    assert " stopped " in project.run("migrate", "--list").stdout


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_a_signal_that_the_script_swallows_ends_the_run_all_the_same(
    project: Project, gate: Gate, number: signal.Signals, exit_code: int
) -> None:
    project.script(
        "first",
        body=f"""
        self.log.info("script runs")
        try:
            {gate.wait}
        except BaseException:
            pass
        """,
    )
    project.script("second")

    with start(project) as process:
        process.send(number)
        result = process.wait()

    assert result.exit_code == exit_code
    assert project.state() == {"first": record("first")}
    assert project.outcomes() == [("first", "stopped")]


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS[:2])
def test_a_second_signal_ends_the_process_at_once(
    project: Project, gate: Gate, number: signal.Signals, exit_code: int
) -> None:
    project.script("first", body=cleaning_up(gate))

    with start(project) as process:
        process.send(signal.SIGTERM)
        process.wait_for("cleans up")
        process.send(number)
        result = process.wait()

    assert result.exit_code == exit_code
    left = project.state()["first"]
    assert left["started_at"]
    assert left["applied_at"] is None
    assert project.attempts() == []


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_a_signal_is_acknowledged_at_once_by_a_line_of_the_log(
    project: Project, gate: Gate, number: signal.Signals, exit_code: int
) -> None:
    project.script("first", body=cleaning_up(gate))

    with start(project) as process:
        process.send(number)
        process.wait_for("cleans up")
        *_, notice, _ = process.stderr.splitlines()
        gate.open()
        result = process.wait()

    said = f"Stopping at {number.name}: the script is cleaning up; once more ends at once"
    assert re.fullmatch(rf"\d{{4}}-\S+ \S+,\d+ - WARNING - {said}", notice)
    assert result.exit_code == exit_code


def test_ctrl_c_is_acknowledged_at_once_on_a_terminal(project: Project, gate: Gate) -> None:
    project.script("first", body=cleaning_up(gate))

    with Terminal(
        [COMMAND, "migrate", "--data"], project.root, project.environment_of_run(), columns=100
    ) as terminal:
        terminal.wait_for("script runs")
        terminal.press("\x03")
        terminal.wait_for(
            r"(?m)^Stopping at SIGINT: the script is cleaning up; once more ends at once\.$"
        )
        terminal.wait_for("cleans up")
        gate.open()
        exit_code = terminal.wait()

    assert exit_code == 130


def test_a_terminal_that_is_closed_lets_a_script_clean_up_however_many_signals_that_sends(
    project: Project, gate: Gate
) -> None:
    project.script("first", body=cleaning_up(gate))

    with start(project) as process:
        process.send(signal.SIGHUP)
        process.wait_for("cleans up")
        process.send(signal.SIGHUP)
        gate.open()
        result = process.wait()

    assert result.exit_code == 129
    assert project.outcomes() == [("first", "stopped")]


def test_a_run_outlasts_its_terminal_under_nohup(project: Project) -> None:
    project.script("first", above="import os, signal", body="os.kill(os.getpid(), signal.SIGHUP)")
    project.script("second", above="import os, signal", body="os.kill(os.getpid(), signal.SIGHUP)")

    result = project.execute(["nohup", COMMAND, "migrate", "--data"])

    assert result.exit_code == 0
    assert project.outcomes() == [("first", "applied"), ("second", "applied")]


@pytest.mark.parametrize(("number", "exit_code"), SIGNALS)
def test_a_signal_while_a_record_is_saved_tears_nothing_and_stops_before_the_next(
    project: Project, number: signal.Signals, exit_code: int
) -> None:
    above = f"""
        import os

        flush = os.fsync

        def flush_interrupted(descriptor):
            os.fsync = flush
            os.kill(os.getpid(), {number:d})
            flush(descriptor)
        """
    project.script("first", above=above, body="os.fsync = flush_interrupted")
    project.script("second")

    result = project.run("migrate", "--data")

    assert result.exit_code == exit_code
    assert result.stderr.endswith(f"\nMigration second was not begun: stopped by {number.name}\n")
    assert project.state().keys() == {"first"}
    assert project.outcomes() == [("first", "applied")]


def test_a_signal_while_scripts_are_loaded_ends_the_run_before_anything_happened(
    project: Project, gate: Gate
) -> None:
    project.script("first")
    project.script(
        "second",
        above=f"import sys; print('script runs', file=sys.stderr, flush=True)\n{gate.wait}",
    )

    with start(project) as process:
        process.send(signal.SIGTERM)
        result = process.wait()

    assert result.exit_code == 143
    assert not project.state_file.exists()


def test_a_signal_stops_an_asynchronous_script(project: Project) -> None:
    project.file(
        "migrations/1_first.py",
        """
        import asyncio
        from mpt_tool.migration import DataBaseMigration

        class Migration(DataBaseMigration):
            async def run(self):
                self.log.info("script runs")
                try:
                    await asyncio.Event().wait()
                finally:
                    self.log.info("cleaned up")
        """,
    )

    with start(project) as process:
        process.send(signal.SIGTERM)
        result = process.wait()

    assert result.exit_code == 143
    assert " - INFO - cleaned up\n" in result.stderr
    assert project.state() == {"first": record("first", order_id=1)}
    assert project.outcomes() == [("first", "stopped")]


def test_a_script_may_handle_signals_itself_and_the_next_is_stopped_as_ever(
    project: Project, gate: Gate
) -> None:
    project.script(
        "own",
        above="import os, signal",
        body="""
        signal.signal(signal.SIGTERM, lambda number, frame: self.log.info("handled"))
        os.kill(os.getpid(), signal.SIGTERM)
        """,
    )
    project.script("first", body=f"self.log.info('script runs')\n{gate.wait}")

    with start(project) as process:
        process.send(signal.SIGTERM)
        result = process.wait()

    assert result.exit_code == 143
    assert " - INFO - handled\n" in result.stderr
    assert project.outcomes() == [("own", "applied"), ("first", "stopped")]


@pytest.mark.parametrize(("number", "status"), [("SIGTERM", 143), ("SIGINT", 1), ("SIGHUP", 129)])
def test_a_signal_to_a_forked_child_is_none_to_the_run(
    project: Project, gate: Gate, number: str, status: int
) -> None:
    project.script(
        "first",
        above="import os, signal, time",
        body=f"""
        ready, tell = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(tell, b"ready")
                {gate.wait}
            finally:
                os._exit(1)
        os.read(ready, 5)
        ended_child = 0
        while not ended_child:
            # One that comes in the instant in which the child falls asleep does not wake it.
            os.kill(child, signal.{number})
            ended_child, ended = os.waitpid(child, os.WNOHANG)
            time.sleep(0.02)
        assert os.waitstatus_to_exitcode(ended) == {status}, ended
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert project.outcomes() == [("first", "applied")]


@pytest.mark.parametrize(
    ("raised", "exit_code", "kind", "message"),
    [
        ("BaseException('base')", 1, "BaseException", "base"),
        ("GeneratorExit()", 1, "GeneratorExit", "GeneratorExit"),
        ("KeyboardInterrupt()", 130, "KeyboardInterrupt", "KeyboardInterrupt"),
        ("asyncio.CancelledError()", 1, "CancelledError", "CancelledError"),
        ("KeyError()", 1, "KeyError", "KeyError"),
        ("SystemExit(3)", 3, "SystemExit", "it exited with 3"),
        ("SystemExit('no licence')", 1, "SystemExit", "it exited with no licence"),
        ("Mute()", 1, "Mute", "Mute"),
    ],
)
def test_whatever_a_script_raises_is_a_failure_on_record(
    project: Project, raised: str, exit_code: int, kind: str, message: str
) -> None:
    above = """
        import asyncio

        class Mute(BaseException):
            def __str__(self):
                raise self
        """
    project.script("first", above=above, body=f"raise {raised}")
    project.script("second")

    result = project.run("migrate", "--data")

    assert result.exit_code == exit_code
    assert project.state() == {"first": record("first")}
    (attempt,) = project.attempts()
    assert attempt["outcome"] == "failed"
    assert (attempt["error"]["kind"], attempt["error"]["message"]) == (kind, message)
    assert result.stderr.endswith(f"Migration first failed: {message}\nAborted.\n")


@pytest.mark.parametrize(
    "mischief",
    [
        "sys.stdout.close()",
        "sys.stdout = None",
        "sys.stdout = sys.__stdout__ = None",
        "sys.stdout = sys.__stdout__; sys.stdout.close()",
        "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'utf-8')",
        "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), 'utf-8')",
        "os.chdir('/')",
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
        "logging.basicConfig(force=True, level=logging.ERROR, format='%(message)s')",
        "logging.config.dictConfig({'version': 1, 'root': {'handlers': [], 'level': 'ERROR'}})",
        "logging.disable(logging.CRITICAL)",
        "logging.getLogger().handlers[0].setFormatter(logging.Formatter('%(message)s'))",
        "logging.getLogger().handlers[0].setLevel(logging.CRITICAL)",
        "logging.getLogger('mpt_tool').setLevel(logging.CRITICAL)",
        "logging.setLogRecordFactory(logging.LogRecord)",
        "logging.shutdown()",
        "threading.excepthook = threading.__excepthook__",
        "sys.unraisablehook = sys.__unraisablehook__",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.setitimer(signal.ITIMER_REAL, 0)",
        "os.environ.clear()",
        "sys.modules.pop('mpt_tool.records')",
        "sys.setrecursionlimit(200)",
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    ],
)
def test_what_a_script_does_to_the_process_is_no_matter_to_the_next_nor_to_what_is_kept(
    project: Project, mischief: str
) -> None:
    imports = "import io, logging, logging.config, os, signal, sys, threading, time"
    project.script("first", above=imports, body=mischief)
    project.script(
        "second",
        above="""
        import logging, os, threading

        log, secret = logging.getLogger("shop"), os.environ["SHOP_TOKEN"]

        class Raising:
            def __del__(self):
                raise ValueError(secret)
        """,
        body="""
        print(secret)
        log.info("second logs %s", secret)
        os.stat("migrations")
        Raising()
        thread = threading.Thread(target=int, args=[secret])
        thread.start()
        thread.join()
        """,
    )

    result = project.run("migrate", "--data", env={"SHOP_TOKEN": "token-12345"})

    assert result.exit_code == 0, result.stderr
    assert re.search(r"(?m)^\d{4}-\S+ \S+ - INFO - second logs \*\*\*$", result.stderr)
    assert re.search(r"(?m)^\d{4}-\S+ \S+ - INFO - Applied migration: second in", result.stderr)
    assert "token-12345" not in result.stderr
    assert all(each["applied_at"] for each in project.state().values())
    assert project.outcomes() == [("first", "applied"), ("second", "applied")]


def test_a_script_that_exits_without_an_error_at_a_signal_is_interrupted(project: Project) -> None:
    project.script(
        "first",
        above="import os, signal, time",
        body="""
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except KeyboardInterrupt:
            raise SystemExit(0)
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 143
    assert project.outcomes() == [("first", "stopped")]


@pytest.mark.parametrize(
    "body",
    [
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        signal.raise_signal(signal.SIGUSR1)
        """,
        """
        signal.signal(signal.SIGVTALRM, lambda number, frame: None)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.01, 0.01)
        """,
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        subprocess.run(["sh", "-c", f"kill -USR1 {os.getpid()}"], check=True)
        signal.sigwait([signal.SIGUSR1])
        """,
    ],
    ids=["left pending", "left ringing", "waited for"],
)
def test_signals_of_a_script_do_not_end_the_process(project: Project, body: str) -> None:
    imports = "import os, signal, subprocess"
    project.script("first", type="schema", above=imports, body=body)
    project.script("second", type="schema", body="sum(range(1_000_000))")

    result = project.run("migrate", "--schema")

    assert result.exit_code == 0, result.stderr
    assert project.outcomes() == [("first", "applied"), ("second", "applied")]


def test_a_signal_that_a_script_blocks_stops_the_run_before_the_next_one(project: Project) -> None:
    project.script(
        "first",
        above="import os, signal",
        body="""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)
        """,
    )
    project.script("second")

    result = project.run("migrate", "--data")

    assert result.exit_code == 143
    assert "Migration second was not begun: stopped by SIGTERM" in result.stderr
    assert project.outcomes() == [("first", "applied")]


@pytest.mark.parametrize(
    "set_up",
    [
        "logging.basicConfig(force=True, stream=sys.stderr, level=0, format='%(message)s')",
        """
        logging.config.dictConfig({
            "version": 1,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"own": {"class": "logging.StreamHandler", "formatter": "plain"}},
            "root": {"handlers": ["own"], "level": 0},
        })
        """,
    ],
    ids=["basicConfig", "dictConfig"],
)
def test_no_secret_is_logged_by_the_handlers_of_a_script_either(
    project: Project, set_up: str
) -> None:
    project.script(
        "first",
        above="import logging, logging.config, os, sys",
        body=f"""
        {textwrap.indent(textwrap.dedent(set_up), "        ").strip()}
        self.log.info("first logs %s", os.environ["SHOP_TOKEN"])
        try:
            raise ValueError(os.environ["SHOP_TOKEN"])
        except ValueError:
            self.log.exception("what it raised")
        """,
    )

    result = project.run("migrate", "--data", env={"SHOP_TOKEN": "token-12345"})

    assert result.exit_code == 0
    assert "\nfirst logs ***\n" in result.stderr
    assert "ValueError: ***" in result.stderr
    assert "token-12345" not in result.stdout + result.stderr
