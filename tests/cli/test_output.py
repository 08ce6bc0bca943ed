"""What is written where: streams, logs, JSON, secrets, tracebacks, exit codes."""

import os
import re
from pathlib import Path

import pytest
from support.batches import numbers
from support.project import COMMAND, HISTORY_FILE, STATE_FILE, Project

import mpt_tool
from mpt_tool.process.tracebacks import script_traceback

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - [A-Z]+ - .*")
SECRETS = {
    "MPT_API_TOKEN": "idt:TKN-0001:abcdef",
    "AIRTABLE_API_KEY": "patABCDEF.012345",
    "SHOP_PASSWORD": "correct horse",
    "DATABASE_URL": "postgres://shop:battery-staple@db.example.com/shop",
}
HIDDEN = [
    SECRETS["MPT_API_TOKEN"],
    SECRETS["AIRTABLE_API_KEY"],
    SECRETS["SHOP_PASSWORD"],
    "battery-staple",
]
# How a script ends, whether that is applied and with which error, and the exit code.
ENDS = [("pass", (True, None), 0), ("raise ValueError('its own')", (False, "its own"), 1)]

on_full_disk = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="this system has no /dev/full"
)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--data", "--schema"),
        ("--new-data", "a", "--fake", "b"),
        ("some_id",),
        ("--list", "--dry-run"),
        ("--data", "--json"),
        ("--list", "--verbose", "--quiet"),
        ("--fake",),
        ("--no-such-option",),
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2_and_does_nothing(
    project: Project, arguments: tuple[str, ...]
) -> None:
    project.script("some_id")
    before = project.tree()

    result = project.run("migrate", *arguments)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "─ Error ─" in result.stderr
    assert "Traceback" not in result.stderr
    assert project.tree() == before


def test_logs_are_one_event_a_line_in_a_fixed_form(project: Project) -> None:
    body = """
        self.log.debug("a detail of %s", "the script")
        self.log.info("first line\\nsecond line")
        self.log.warning("careful")
        """
    project.script("talks", body=body)

    plain = project.run("migrate", "--data")
    project.state_file.unlink()
    verbose = project.run("migrate", "--data", "--verbose")

    assert all(LOG_LINE.fullmatch(line) for line in plain.stderr.splitlines())
    assert r" - INFO - first line\nsecond line" in plain.stderr
    assert " - WARNING - careful" in plain.stderr
    assert "a detail" not in plain.stderr
    assert " - DEBUG - a detail of the script" in verbose.stderr


def test_quiet_leaves_results_and_errors(project: Project) -> None:
    project.script("talks", body="self.log.info('news'); self.log.warning('careful')")
    project.script("broken", body="1 / 0")

    ran = project.run("migrate", "--data", "--quiet")
    listed = project.run("migrate", "--list", "--quiet")
    created = project.run("migrate", "--new-data", "another", "--quiet")

    assert ran.exit_code == 1
    assert ran.stdout.startswith("Applied before the failure: talks\nFailed: broken\n")
    assert "news" not in ran.stderr
    assert " - WARNING - careful" in ran.stderr
    assert "Error running data command: Migration broken failed: division by zero" in ran.stderr
    assert "order id" in listed.stdout.splitlines()[0]
    assert (created.exit_code, created.stdout, created.stderr) == (0, "", "")


def test_a_dry_run_has_a_json_form_whatever_scripts_print(project: Project) -> None:
    project.script("noisy", order_id=1, above="print('noise')")

    result = project.run("migrate", "--schema", "--dry-run", "--json")
    noisy = project.run("migrate", "--data", "--dry-run", "--json")

    assert result.json() == {"version": 1, "command": "schema", "would_run": []}
    assert noisy.json() == {
        "version": 1,
        "command": "data",
        "would_run": [{"order_id": 1, "migration_id": "noisy", "type": "data"}],
    }
    assert noisy.stderr == "noise\n"


@pytest.mark.parametrize("arguments", [("--list",), ("--data", "--dry-run")])
def test_an_error_has_the_json_form_too(project: Project, arguments: tuple[str, ...]) -> None:
    project.migrations.mkdir()

    result = project.run("migrate", *arguments, "--json", env={"STORAGE_TYPE": "postgres"})

    assert result.exit_code == 2
    document = result.json()
    command = arguments[0].removeprefix("--")
    assert (document["version"], document["command"]) == (1, command)
    assert f"Error running {command} command: {document['error']}\nAborted.\n" == result.stderr


def test_what_the_encoding_lacks_is_written_escaped(project: Project) -> None:
    project.script("größe", body="print('→'); self.log.info('→'); raise ValueError('ß')")
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}

    listed = project.run("migrate", "--list", env=ascii_only)
    ran = project.run("migrate", "--data", env=ascii_only)

    assert (listed.exit_code, listed.stderr) == (0, "")
    assert r"gr\xf6\xdfe" in listed.stdout
    assert ran.exit_code == 1
    assert r"\u2192" in ran.stdout
    assert r"Running migration: gr\xf6\xdfe" in ran.stderr


def test_no_secret_reaches_what_is_written_or_kept(project: Project) -> None:
    names = list(SECRETS)
    body = f"""
        for name in {names}:
            self.log.info("%s is %s", name, os.environ[name])
            self.log.debug({{name: os.environ[name]}})
        try:
            raise KeyError(os.environ["SHOP_PASSWORD"])
        except KeyError as error:
            error.add_note("connected to " + os.environ["DATABASE_URL"])
            self.log.exception("cannot log in")
            raise RuntimeError(" ".join(os.environ[name] for name in {names})) from error
        """
    project.script("careless", above="import os", body=body)

    result = project.run("migrate", "--data", "--verbose", env=SECRETS)

    assert result.exit_code == 1
    written = result.stdout + result.stderr + project.state_file.read_text()
    assert [secret for secret in HIDDEN if secret in written] == []
    assert "MPT_API_TOKEN is ***" in result.stderr
    assert "postgres://shop:***@db.example.com/shop" in result.stderr


def test_secrets_of_the_env_file_are_kept_secret_too(project: Project) -> None:
    lines = (f"{name}='{value}'" for name, value in SECRETS.items())
    project.file(".env", "\n".join(lines))
    project.script("careless", above=f"HELD = {HIDDEN}", body="raise RuntimeError(', '.join(HELD))")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert [secret for secret in HIDDEN if secret in result.stdout + result.stderr] == []


def test_a_wrong_setting_does_not_show_its_password(project: Project) -> None:
    environment = {
        "STORAGE_TYPE": "airtable",
        "AIRTABLE_API_KEY": "patABCDEF.012345",
        "STORAGE_AIRTABLE_BASE_ID": "app1",
        "STORAGE_AIRTABLE_ENDPOINT_URL": "ftp://proxy:battery-staple@example.com",
    }

    result = project.run("migrate", "--list", "--json", env=environment)

    assert result.exit_code == 2
    assert "STORAGE_AIRTABLE_ENDPOINT_URL" in result.stderr
    assert "battery-staple" not in result.stdout + result.stderr


def frames(stderr: str) -> list[tuple[str, str]]:
    """Return (file, function) of the frames in all tracebacks, in the order they are written."""
    return re.findall(r'File "(?:.*/)?(\S+)", line \d+, in (\S+)', stderr)


def test_a_failing_script_shows_its_own_frames_and_the_whole_chain(project: Project) -> None:
    project.file("shop.py", "def order(): raise KeyError('no such order')")
    body = """
        try:
            shop.order()
        except KeyError as error:
            raise RuntimeError("cannot order") from error
        """
    path = project.script("orders", above="import shop", body=body)

    result = project.run("migrate", "--data")

    assert frames(result.stderr) == [(path.name, "run"), ("shop.py", "order"), (path.name, "run")]
    assert "KeyError: 'no such order'" in result.stderr
    assert "direct cause" in result.stderr
    assert "RuntimeError: cannot order" in result.stderr
    assert "Traceback" not in result.stdout


def test_every_member_of_a_group_is_shown_with_its_frames(project: Project) -> None:
    path = project.file(
        "migrations/1_tasks.py",
        """
        import asyncio
        from mpt_tool.migration import DataBaseMigration

        async def fail(error):
            raise error

        class Migration(DataBaseMigration):
            async def run(self):
                async with asyncio.TaskGroup() as tasks:
                    for number in range(20):
                        tasks.create_task(fail(ValueError(f"number {number}")))
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert frames(result.stderr) == [(path.name, "run")] + [(path.name, "fail")] * 20
    shown = re.findall(r"ValueError: (number \d+)", result.stderr)
    assert shown == [f"number {number}" for number in range(20)]


def test_a_syntax_error_is_shown_with_its_place(project: Project) -> None:
    path = project.file("migrations/1_broken.py", "import sys\n\ndef broken(:\n")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f'File "{path}", line 3' in result.stderr
    assert frames(result.stderr) == []
    assert "SyntaxError: invalid syntax" in result.stderr


def test_what_is_reported_comes_before_the_error_where_both_end_in_one_log(
    project: Project,
) -> None:
    project.file("migrations/1_broken.py", "")

    result = project.execute(["sh", "-c", f"{COMMAND} migrate --check 2>&1"])

    finding, error, aborted = result.stdout.splitlines()[1:]
    assert finding == "1_broken.py: no Migration class"
    assert error.startswith("Error running check command: 1 problem(s) found")
    assert aborted == "Aborted."


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_script_that_closes_a_stream_changes_no_outcome(project: Project, stream: str) -> None:
    project.script("closes", above="import sys", body=f"sys.{stream}.close()")
    project.script("follows")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "Traceback" not in result.stderr
    assert all(record["applied_at"] for record in project.state().values())
    assert set(project.state()) == {"closes", "follows"}


def recorded(project: Project) -> tuple[bool, str | None]:
    """Return whether the state has the migration as applied, and which error the history has."""
    (attempt,) = project.attempts()
    is_applied = bool(project.state()["first"]["applied_at"])
    return is_applied, attempt["error"]["message"] if "error" in attempt else None


@pytest.mark.parametrize(("end", "outcome", "exit_code"), ENDS)
@pytest.mark.parametrize("closed", ["[1]", "[2]", "[0, 1, 2]"])
def test_a_script_that_closes_descriptors_is_recorded_by_its_own_outcome(
    project: Project, closed: str, end: str, outcome: tuple[bool, str | None], exit_code: int
) -> None:
    close = f"print('printed')\nfor each in {closed}: os.close(each)\n"
    project.script("first", above="import os", body=close + end)

    result = project.run("migrate", "--data")

    assert result.exit_code == exit_code
    assert recorded(project) == outcome


def test_a_script_and_its_children_have_all_descriptors_whatever_one_before_it_closed(
    project: Project,
) -> None:
    project.script("first", above="import os", body="for each in range(3): os.close(each)")
    look = "import os; [os.fstat(each) for each in range(3)]"
    project.script(
        "second",
        above="import subprocess, sys",
        body=f"""
        print("prints", flush=True)
        subprocess.check_call([sys.executable, "-c", {look!r}])
        """,
    )

    assert project.run("migrate", "--data").exit_code == 0


@pytest.mark.parametrize(("end", "outcome", "exit_code"), ENDS)
@pytest.mark.parametrize(
    "where",
    [
        *("| true", "| head -c 1", "2>&1 | true", "2>&1 >/dev/null | true"),
        pytest.param("2> /dev/full", marks=on_full_disk),
    ],
)
def test_a_run_goes_on_and_on_record_though_nobody_reads_it(
    project: Project, where: str, end: str, outcome: tuple[bool, str | None], exit_code: int
) -> None:
    # More than a pipe holds.
    body = f"for stream in (sys.stdout, sys.stderr): print('x' * 1_000_000, file=stream)\n{end}"
    project.script("first", above="import sys", body=body)

    run = f"{{ {COMMAND} migrate --data; echo $? > exit_code; }} {where}"
    project.execute(["sh", "-c", run])

    assert (project.root / "exit_code").read_text() == f"{exit_code}\n"
    assert recorded(project) == outcome


@pytest.mark.parametrize(
    "where", ["| true", ">&-", pytest.param("> /dev/full", marks=on_full_disk)]
)
def test_an_error_is_told_on_stderr_whatever_becomes_of_stdout(
    project: Project, where: str
) -> None:
    project.script("first", body="print('x' * 1_000_000)\nraise ValueError('its own')")

    result = project.execute(["sh", "-c", f"{COMMAND} migrate --data {where}"])

    told = (
        "ValueError: its own\nError running data command: Migration first failed: its own\nAborted."
    )
    assert told in result.stderr


@on_full_disk
def test_a_full_disk_behind_stdout_fails_the_command_but_not_the_run(project: Project) -> None:
    project.script("first", body="print('x' * 1_000_000)")
    project.script("second")

    result = project.execute(["sh", "-c", f"{COMMAND} migrate --data > /dev/full"])

    assert result.exit_code == 1
    assert result.stderr.endswith("\nError: [Errno 28] No space left on device\n")
    assert project.outcomes() == [("first", "applied"), ("second", "applied")]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_not_buffered_is_seen_at_once(project: Project, unbuffered: str) -> None:
    project.script("first", above="import os", body="print('printed', end=' ')\nos._exit(0)")

    result = project.run("migrate", "--data", env={"PYTHONUNBUFFERED": unbuffered})

    assert ("printed" in result.stdout) == bool(unbuffered)


def test_the_umask_of_a_script_is_not_that_of_what_is_kept(project: Project) -> None:
    script = project.script("first", above="import os", body="os.umask(0o777)")

    project.run("migrate", "--data")

    kept = [project.root / name for name in (STATE_FILE, HISTORY_FILE)]
    assert {path.stat().st_mode for path in kept} == {script.stat().st_mode}


def test_a_working_folder_that_is_gone_is_said(project: Project) -> None:
    gone = "mkdir gone && cd gone && rmdir ../gone"

    result = project.execute(["sh", "-c", f"{gone} && exec {COMMAND} migrate --list"])

    assert result.exit_code == 1
    assert "Error running list command: The working folder is gone" in result.stderr


def test_a_long_chain_of_exceptions_is_reported_to_its_end(project: Project) -> None:
    body = """
        error = ValueError("first")
        for number in range(1500):
            following = ValueError(number)
            following.__cause__ = error
            error = following
        raise error
        """
    project.script("chained", body=body)

    result = project.run("migrate", "--data")

    assert result.stderr.count("direct cause") == 1500
    assert result.stderr.endswith("Migration chained failed: 1499\nAborted.\n")


def test_what_the_members_of_a_group_say_is_in_the_error_too(project: Project) -> None:
    members = "[ValueError('one'), ExceptionGroup('inner', [KeyError('other')])]"
    project.script("grouped", body=f"raise ExceptionGroup('outer', {members})")

    result = project.run("migrate", "--data")

    said = "outer (2 sub-exceptions): one; inner (1 sub-exception): KeyError: 'other'"
    assert result.stderr.endswith(f"Migration grouped failed: {said}\nAborted.\n")
    assert project.attempts()[0]["error"]["message"] == said


@pytest.mark.parametrize("collects", [False, True], ids=["run", "collected item"])
def test_stderr_tells_a_long_error_once(project: Project, collects: bool) -> None:
    error = "raise ValueError('begin' + 300_000 * 'x' + 'end')"
    if collects:
        numbers(project, f"if number == 2: {error}", on_error="'collect'")
    else:
        project.script("first", body=error)

    result = project.run("migrate", "--data")

    assert result.stderr.count("x" * 300_000) == 1
    assert result.stderr.count("x") < 320_000
    if not collects:
        assert result.stderr.splitlines()[-2].endswith("xend")


def test_frames_of_a_package_with_a_longer_name_are_the_scripts_own() -> None:
    ours = Path(mpt_tool.__file__).parent
    neighbour = f"{ours}_neighbour{os.sep}shop.py"
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", neighbour, "exec"))

    assert neighbour in script_traceback(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param("self.log.info('%d', SECRET)", id="of another type"),
        pytest.param("self.log.info('%s', Mute())", id="without a text"),
    ],
)
def test_a_wrong_log_call_is_one_line_without_what_was_to_be_logged(
    project: Project, call: str
) -> None:
    above = """
        import os

        SECRET = os.environ["SHOP_TOKEN"]

        class Mute:
            def __str__(self): raise AttributeError(SECRET)
        """
    project.script("mute", above=above, body=call)

    result = project.run("migrate", "--data", env={"SHOP_TOKEN": "token-12345"})

    assert result.exit_code == 0
    assert " - INFO - A message that could not be formatted (" in result.stderr
    assert "token-12345" not in result.stderr
    assert "Traceback" not in result.stderr


def test_what_goes_past_logging_is_logged_too_and_holds_no_secret(project: Project) -> None:
    above = "import os, threading, warnings"
    body = """
        secret = os.environ["SHOP_TOKEN"]
        warnings.warn(secret)
        thread = threading.Thread(target=int, args=(secret,))
        thread.start()
        thread.join()
        """
    project.script("shop", above=above, body=body)

    result = project.run("migrate", "--data", env={"SHOP_TOKEN": "token-12345"})

    assert " - WARNING - " in result.stderr
    assert " - ERROR - Exception in thread " in result.stderr
    assert "token-12345" not in result.stderr


@pytest.mark.parametrize("where", ["> /dev/full", ">&-", "| head -c 1"])
def test_a_stdout_that_takes_nothing_is_no_traceback_of_ours(project: Project, where: str) -> None:
    if where == "> /dev/full" and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    project.script("any")

    result = project.execute(["sh", "-c", f"{COMMAND} migrate --list {where}"])

    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
