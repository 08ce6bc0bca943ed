"""What is left after a run was killed, or could not write: never a broken state, never silence."""

import json
import shlex
import shutil

import pytest
from support.process import Process
from support.project import COMMAND, HISTORY_FILE, STATE_FILE, Project, Result, record
from support.terminal import Gate

pytestmark = pytest.mark.slow

APPLIED = "2026-01-13T18:05:20+00:00"
BEGAN, ENDED = "2026-01-13T18:05:20.123456+00:00", "2026-01-13T20:35:20.123456+00:00"
RECORD_IT = "Do not run it again; once it can be recorded: mpt-tool migrate --fake first"


def execute_with_mounts(project: Project, mount: str, *arguments: str) -> Result:
    """Run `mpt-tool` in the project's root, where only it sees what the shell mounts before."""
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or project.execute([*isolated, mount]).exit_code:
        pytest.skip("this system lets nobody mount anything")
    # The folder that the shell is in is still the one below the mount.
    enter = f"cd {shlex.quote(str(project.root))}"
    return project.execute([*isolated, f"{mount} && {enter} && exec {shlex.join(arguments)}"])


def test_a_run_that_was_killed_is_recognised_and_its_migration_runs_again(
    project: Project, gate: Gate
) -> None:
    project.script("fine")
    project.script("first", body=f"self.log.info('first runs')\n{gate.wait}")
    with Process(project, "migrate", "--data") as killed:
        killed.wait_for("first runs")
        killed.kill()

    left = project.state()["first"]
    assert left["started_at"]
    assert left["applied_at"] is None
    assert project.outcomes() == [("fine", "applied")]
    assert project.run("pending").exit_code == 3

    gate.open()
    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "1 applied, 1 skipped, 0 failed" in result.stdout
    assert " - WARNING - Migration first began at " in result.stderr
    assert "in a run that died: it runs again\n" in result.stderr
    again = project.state()["first"]
    assert left["started_at"] < again["started_at"] <= again["applied_at"]
    assert project.outcomes()[1:] == [("first", "found dead"), ("first", "applied")]
    found_dead = project.attempts()[1]
    assert found_dead["started_at"] == left["started_at"]
    assert "ended_at" not in found_dead


def attempted(migration_id: str, outcome: str, started_at: str) -> str:
    """Return a line of the history, of an attempt that ended at a certain moment."""
    run = {"run_id": "r", "user": "u", "host": "h", "process": 1, "tool_version": "7.0.0"}
    what = {"migration_id": migration_id, "order_id": 1, "type": "data", "outcome": outcome}
    return json.dumps({**run, **what, "started_at": started_at, "ended_at": ENDED}) + "\n"


@pytest.mark.parametrize("began", [BEGAN, BEGAN[:-9] + "000+00:00"], ids=["exact", "milliseconds"])
def test_a_run_whose_end_only_the_history_knows_is_recorded_and_not_run_again(
    project: Project, began: str
) -> None:
    project.script("first", order_id=1, body="raise AssertionError('ran again')")
    project.write_state(record("first", order_id=1, started_at=BEGAN))
    project.file(HISTORY_FILE, attempted("first", "applied", began))

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "was applied by a run that could not record it: recorded now" in result.stderr
    assert " - INFO - Applied migration: first in 2 h 30 min\n" in result.stderr
    assert project.state()["first"] == record(
        "first", order_id=1, started_at=BEGAN, applied_at=ENDED
    )
    assert project.outcomes() == [("first", "applied")]


@pytest.mark.parametrize(
    ("migration_id", "outcome", "began"),
    [
        ("first", "failed", BEGAN),
        ("first", "stopped", BEGAN),
        ("first", "found dead", BEGAN),
        ("first", "faked", BEGAN),
        ("first", "applied", "2026-01-13T18:05:20.126000+00:00"),
        ("other", "applied", BEGAN),
    ],
)
def test_a_run_that_the_history_does_not_know_as_applied_runs_again(
    project: Project, migration_id: str, outcome: str, began: str
) -> None:
    project.script("first", order_id=1, body="print('runs again')")
    project.write_state(record("first", order_id=1, started_at=BEGAN))
    project.file(HISTORY_FILE, attempted(migration_id, outcome, began))

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "runs again\n" in result.stdout
    assert project.outcomes()[1:] == [("first", "found dead"), ("first", "applied")]


def test_what_a_killed_run_left_of_a_new_state_is_not_read(project: Project) -> None:
    project.script("first")
    project.file(f"{STATE_FILE}.0a1b2c3d.tmp", '{"first": {"migr')

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert project.state()["first"]["applied_at"]


def full_project(project: Project) -> bytes:
    """Give the project a pending script and a state of some size, and return that."""
    project.script("first", body="print('ran')")
    project.write_state(*(record(f"old_{number}", applied_at=APPLIED) for number in range(200)))
    return project.state_file.read_bytes()


def test_nothing_runs_if_the_disk_is_full_and_the_old_state_stays(project: Project) -> None:
    before = full_project(project)

    # The size of any file, in blocks: too little for the state, enough for the lock.
    # A module that is compiled under it would be cut off, and found so by every later command.
    result = project.execute(
        ["sh", "-c", f"ulimit -f 8 && exec {COMMAND} migrate --data"],
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )

    assert result.exit_code == 1
    assert "ran" not in result.stdout.splitlines()
    assert f"{STATE_FILE} cannot be written: File too large\nAborted.\n" in result.stderr
    assert project.state_file.read_bytes() == before
    assert project.tree().keys() == {"migrations", "migrations/20260101000000_first.py", STATE_FILE}


def test_nothing_runs_in_a_folder_that_is_read_only(project: Project) -> None:
    before = full_project(project)
    read_only = "mount --bind . . && mount -o remount,bind,ro ."

    result = execute_with_mounts(project, read_only, COMMAND, "migrate", "--data")

    assert result.exit_code == 1
    assert "ran" not in result.stdout.splitlines()
    assert "Error running data command: " in result.stderr
    assert "Read-only file system" in result.stderr
    assert "Traceback" not in result.stderr
    assert project.state_file.read_bytes() == before


def test_what_is_applied_while_the_disk_runs_full_is_told_with_what_to_do(project: Project) -> None:
    project.script(
        "first",
        above="from contextlib import suppress",
        body="""
        with open("volume/all", "wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(512)):
                pass
        """,
    )
    project.file("volume/state.json", "{}")
    project.state_file.symlink_to("volume/state.json")
    small = (
        "mkdir -p kept && cp volume/* kept && mount -t tmpfs -o size=64k none volume"
        " && cp kept/* volume"
    )
    run_and_keep = f"{COMMAND} migrate --data; ended=$?; cp volume/state.json kept; exit $ended"

    result = execute_with_mounts(project, small, "sh", "-c", run_and_keep)

    assert result.exit_code == 1
    assert "state.json cannot be written: No space left on device. Do not run" in result.stderr
    assert RECORD_IT in result.stderr
    assert "The history lacks this attempt at first: " in result.stderr
    kept = json.loads((project.root / "kept/state.json").read_bytes())
    assert kept["first"]["applied_at"] is None


@pytest.mark.parametrize(
    "replace",
    [
        pytest.param("write_text(theirs)", id="written over"),
        pytest.param("with_name('new').write_text(theirs); os.replace('new', state)", id="moved"),
        pytest.param("unlink()", id="deleted"),
    ],
)
@pytest.mark.parametrize("fails", [False, True], ids=["applied", "failed"])
def test_a_state_that_something_else_replaced_meanwhile_is_left_alone(
    project: Project, replace: str, fails: bool
) -> None:
    theirs = json.dumps({"theirs": record("theirs", applied_at=APPLIED)})
    project.script(
        "first",
        above=f"""
        import os, pathlib

        theirs = {theirs!r}
        state = pathlib.Path({STATE_FILE!r})
        """,
        body=f"state.{replace}\nassert not {fails}, 'out of paper'",
    )
    project.script("second", body="print('ran second')")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "was changed by something else since it was read: it is left alone" in result.stderr
    if fails:
        assert "The failure of first could not be recorded: " in result.stderr
        assert "Migration first failed: out of paper" in result.stderr
    else:
        assert "Migration first was applied, but that could not be recorded: " in result.stderr
        assert RECORD_IT in result.stderr
    assert "ran second" not in result.stdout
    left = project.state_file.read_text() if project.state_file.exists() else None
    assert left == (None if replace == "unlink()" else theirs)
    assert project.outcomes() == [("first", "failed" if fails else "applied")]


def test_what_could_not_even_be_begun_is_told_apart_from_what_was_applied(project: Project) -> None:
    replace = f"from pathlib import Path\nPath({STATE_FILE!r}).write_text('{{}}')"
    project.script("first", above=replace, body="raise AssertionError")
    project.script("second")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "Not begun: first\nNot reached: second\n" in result.stdout
    assert "Error running data command: Migration first was not begun: " in result.stderr
    assert "--fake" not in result.stderr
    assert project.attempts() == []


def test_the_command_that_is_told_records_what_was_applied(project: Project) -> None:
    project.script(
        "first", body=f"open('ran', 'x').close(); open({STATE_FILE!r}, 'w').write('{{}} ')"
    )
    told = project.run("migrate", "--data").stderr
    assert RECORD_IT in told

    recorded = project.run(*told.partition("recorded: mpt-tool ")[2].splitlines()[0].split())
    again = project.run("migrate", "--data")

    assert (recorded.exit_code, again.exit_code) == (0, 0)
    assert "0 applied, 1 skipped" in again.stdout
    assert project.outcomes() == [("first", "applied"), ("first", "faked")]
