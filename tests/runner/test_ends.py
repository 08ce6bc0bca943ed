"""What a run leaves behind that came to no good end, and what is typed next."""

import signal
from typing import Any

import pytest
from support.batches import MIGRATION, TOTAL, Numbers, numbers
from support.project import Project, Result

pytestmark = pytest.mark.slow

FIND = "def find(self, cursor): return cursor"
COLLECT: dict[str, Any] = {"on_error": "'collect'"}


def change(migration: Numbers) -> None:
    """Change the script in what counts."""
    migration.path.write_text(migration.path.read_text() + "\nCHANGED = True\n")


def next_of(project: Project) -> str:
    """Return what is told everywhere to type next."""
    told = project.run("status", "--json").json()["next"]["command"]
    for command in (["migrate", "--list"], ["pending"]):
        assert f"\nNext: {told}\n" in project.run(*command).stdout
    return str(told)


def typed(project: Project, command: str) -> Result:
    return project.run(*command.split()[1:])


# --- a script that was changed


def test_the_next_command_after_a_change_is_not_refused(project: Project) -> None:
    migration = numbers(project)
    project.run("batch", MIGRATION, "--limit", "3")
    change(migration)

    assert "was changed since it came to 3 items" in project.run("migrate", "--data").stderr
    assert next_of(project) == f"mpt-tool batch {MIGRATION} --resume-anyway"
    assert typed(project, next_of(project)).exit_code == 0


def test_where_only_failed_items_are_left_a_changed_script_retries_them(project: Project) -> None:
    body = "assert number != 4 or Path('mended').exists()"
    migration = numbers(project, body, methods=FIND, **COLLECT)
    project.run("migrate", "--data")
    change(migration)
    project.file("mended", "")

    refused = project.run("migrate", "--data")

    retry = f"mpt-tool batch {MIGRATION} --retry-failed"
    assert refused.exit_code == 1
    assert (
        f"was changed since it came to its end, where 1 item had failed. Handle those: {retry};"
        f" or begin anew: mpt-tool batch {MIGRATION} --restart\n"
    ) in refused.stderr
    assert next_of(project) == retry
    assert typed(project, retry).exit_code == 0


def test_a_run_that_fails_says_next_what_its_changed_script_takes(project: Project) -> None:
    # The script is saved again while it runs.
    again = "p = Path('migrations/1_numbers.py'); p.write_text(p.read_text() + 'CHANGED = True')"
    numbers(project, f"if number == 3:\n    {again}\n    raise ValueError('no')", batch_size=1)

    failed = project.run("migrate", "--data")

    assert f"\nNext: mpt-tool batch {MIGRATION} --resume-anyway\n" in failed.stdout


def test_killed_while_failed_items_are_retried_only_they_are_left(project: Project) -> None:
    body = """
    assert number not in (2, 4, 6) or Path('mended').exists()
    if number == 4 and Path('deadly').exists():
        os.kill(os.getpid(), signal.SIGKILL)
    """
    migration = numbers(project, body, methods=FIND, batch_size=1, **COLLECT)
    project.run("migrate", "--data")
    project.file("mended", "")
    deadly = project.file("deadly", "")

    assert project.run("batch", MIGRATION, "--retry-failed").exit_code == -signal.SIGKILL

    checkpoint = migration.record["checkpoint"]
    assert (checkpoint["done"], checkpoint["failed"]) == (True, 2)
    assert next_of(project) == f"mpt-tool batch {MIGRATION} --retry-failed"
    deadly.unlink()
    assert typed(project, next_of(project)).exit_code == 0


def test_a_folder_that_was_given_is_in_the_next_command(project: Project) -> None:
    path = project.script("one", body="raise ValueError('no')")
    path.parent.rename(project.root / "elsewhere")

    for command in ("--list", "--data"):
        shown = project.run("migrate", command, "--folder", "elsewhere")
        assert "\nNext: mpt-tool migrate --data --folder elsewhere\n" in shown.stdout


@pytest.mark.parametrize(
    "text",
    [
        "from django.db import migrations\nclass Migration(migrations.Migration): pass",
        "x = 1",
        "def broken(:",
    ],
)
def test_a_script_without_a_migration_is_checked_next(project: Project, text: str) -> None:
    project.file("migrations/0001_initial.py", text)

    assert next_of(project) == "mpt-tool migrate --check"


def test_a_script_whose_targets_cannot_be_read_is_counted(project: Project) -> None:
    above = "from os import environ"
    path = project.script("one", above=above)
    path.write_text(path.read_text() + "    targets = tuple(environ)\n")

    assert project.run("status", "--json").json()["counts"] == {"data": {"not applied": 1}}


# --- a stop


def stopping(project: Project, failing: str) -> None:
    """Write a migration of two targets: the first is as told, the second is stopped."""
    body = f"""
    if self.target == 'A':
        {failing}
    elif number == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    """
    numbers(project, body, targets=("A", "B"), **COLLECT)


@pytest.mark.parametrize("failing", ["assert number != 2, 'A is broken'", "raise SystemExit(4)"])
def test_a_stop_after_a_target_that_failed_goes_on_and_the_failure_is_told(
    project: Project, failing: str
) -> None:
    stopping(project, failing)

    result = project.run("migrate", "--data")

    assert result.exit_code == 75
    assert f"{MIGRATION} (A) failed" in result.stderr
    assert f"{MIGRATION} (B) was stopped by SIGTERM after 3 items" in result.stderr
    assert result.stderr.endswith("is not applied for 2 of 2 targets: A, B\nAborted.\n")


def test_a_stop_in_the_first_target_leaves_the_second(project: Project) -> None:
    stopping(project, "if number == 2: os.kill(os.getpid(), signal.SIGTERM)")

    result = project.run("migrate", "--data")

    assert result.exit_code == 75
    assert result.stderr.endswith("its progress is kept, run it again to go on\n")


def test_a_stop_is_called_so_everywhere(project: Project) -> None:
    project.script("one", body="import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert project.run("migrate", "--data").exit_code == 143

    assert "\nMigrations    data: 1 stopped\n" in project.run("status").stdout
    for command in (["migrate", "--list"], ["pending"]):
        shown = project.run(*command).stdout
        assert "  stopped  " in shown
        assert "\n1 migration: 1 stopped.\n" in shown
        assert "one was stopped: it begins anew" in shown
        assert "failed" not in shown
    report = project.run("report", "-").stdout
    assert "**1 stopped, of 1 migration.**" in report
    assert "- **stopped** one" in report


IMPORTED = "if Path('slow').exists():\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(9)"


@pytest.mark.parametrize(("limit", "exit_code"), [("3", 75), ("", 143)])
def test_a_stop_while_scripts_are_imported_keeps_what_was_kept(
    project: Project, limit: str, exit_code: int
) -> None:
    migration = numbers(project, methods=IMPORTED)
    if limit:
        project.run("batch", MIGRATION, "--limit", limit)
    project.file("slow", "")

    stopped = project.run("migrate", "--data")

    assert stopped.exit_code == exit_code
    assert "Nothing was begun: stopped by SIGTERM" in stopped.stderr
    assert "Aborted" not in stopped.stderr
    assert len(migration.processed) == (3 if limit else 0)


# --- a run that died


def test_a_report_tells_of_the_run_that_died_and_not_of_the_one_before(project: Project) -> None:
    body = """
    import os, pathlib, signal
    if pathlib.Path('deadly').exists():
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError('earlier')
    """
    project.script("one", body=body)
    project.run("migrate", "--data")
    project.file("deadly", "")
    assert project.run("migrate", "--data").exit_code == -signal.SIGKILL

    report = project.run("report", "-").stdout
    _, case, *_ = report.split("### ")
    started = project.state()["one"]["started_at"][:19].replace("T", " ")
    assert case.startswith("Needs attention\n\n- **found dead** one\n")
    assert started in case
    assert "earlier" not in case
    project.run("report", "report.html")
    page = (project.root / "report.html").read_text()
    [of_case] = page.split('<article class="case ')[1:]
    assert "earlier" not in of_case.partition("</article>")[0]


# --- one that is to be verified


def test_where_only_verify_is_left_a_look_says_so(project: Project) -> None:
    numbers(project, methods="def verify(self): raise ValueError('not yet')")
    project.run("migrate", "--data")

    for look in (["--dry-run"], ["--rehearse", "--unguarded"]):
        shown = project.run("batch", MIGRATION, *look)
        assert shown.stdout.endswith(
            "\nNo item is left: a run just verifies what earlier ones did.\n"
        )
        document = project.run("batch", MIGRATION, *look, "--json").json()["items"]
        assert (document["items"], document["is_to_verify"]) == (0, True)
    again = project.run("migrate", "--data")
    assert "0 items" not in again.stdout + again.stderr
    assert len(project.attempts()) == 2
    assert project.attempts()[-1]["counts"] == {"processed": TOTAL, "failed": 0}
