"""`verify()` of a migration: before it counts as applied, and by `mpt-tool verify` ever after."""

from pathlib import Path

import pytest
from support.airtable_server import AirtableServer
from support.mpt_server import MPTServer
from support.project import Project, record

DAY = "2026-01-13T18:05:20+00:00"
CHECKED = """\
import os, signal, sys
from pathlib import Path

from mpt_tool.migration import BatchDataMigration, DataBaseMigration


def note(text):
    with open("notes.txt", "a") as file:
        file.write(text + "\\n")


class Migration({base}):
    {targets}

    {work}

    {verify} verify(self):
        note(f"verify {{self.target}}".strip())
        if self.target in os.environ.get("MPT_WRONG", "-").split(","):
            raise AssertionError(f"not so {{self.target}}".strip())
"""
RUN = """\
def run(self):
        note(f"run {self.target}".strip())
        if os.environ.get("MPT_BREAKS"):
            raise ValueError("broken")"""
ITEMS = """\
def items(self, cursor):
        return range((cursor or 0) + 1, 3)

    def process(self, item):
        note(f"item {self.target}{item}")"""
KINDS = pytest.mark.parametrize("is_batch", [False, True], ids=["run", "batch"])
# The one target of a migration without any has no name.
WRONG = {"MPT_WRONG": ""}


def checked(
    project: Project,
    migration_id: str = "checked",
    *,
    is_batch: bool = False,
    targets: str = "",
    verify: str = "def",
    order_id: int = 1,
) -> Path:
    """Write a migration that is verified: wrong for the targets that MPT_WRONG lists."""
    text = CHECKED.format(
        base="BatchDataMigration" if is_batch else "DataBaseMigration",
        work=ITEMS if is_batch else RUN,
        targets=f"targets = {targets}" if targets else "",
        verify=verify,
    )
    return project.file(f"migrations/{order_id}_{migration_id}.py", text)


def notes(project: Project) -> list[str]:
    path = project.root / "notes.txt"
    return path.read_text().splitlines() if path.exists() else []


def applied(project: Project, *migration_ids: str) -> None:
    project.write_state(*(record(each, started_at=DAY, applied_at=DAY) for each in migration_ids))


# --- before it counts as applied


@pytest.mark.parametrize("verify", ["def", "async def"])
@KINDS
def test_it_is_called_after_all_else(project: Project, is_batch: bool, verify: str) -> None:
    checked(project, is_batch=is_batch, verify=verify)

    assert project.run("migrate", "--data").exit_code == 0

    assert notes(project)[-1] == "verify"
    assert len(notes(project)) > 1


@KINDS
def test_it_is_called_before_applied_is_recorded(project: Project, is_batch: bool) -> None:
    path = checked(project, is_batch=is_batch)
    path.write_text(path.read_text() + "        note(Path('.migrations-state.json').read_text())\n")

    project.run("migrate", "--data")

    assert '"applied_at": null' in (project.root / "notes.txt").read_text()


@KINDS
def test_it_is_called_for_each_target(project: Project, is_batch: bool) -> None:
    checked(project, is_batch=is_batch, targets="('A', 'B')")

    result = project.run("migrate", "--data", env={"MPT_WRONG": "A"})

    assert result.exit_code == 1
    assert [note for note in notes(project) if "verify" in note] == ["verify A", "verify B"]
    targets = project.state()["checked"]["targets"]
    assert [bool(each["applied_at"]) for each in targets.values()] == [False, True]


@KINDS
def test_a_migration_that_is_not_so_has_failed(project: Project, is_batch: bool) -> None:
    checked(project, is_batch=is_batch)

    result = project.run("migrate", "--data", env=WRONG)

    assert result.exit_code == 1
    assert "Error running data command: Migration checked failed: not so\n" in result.stderr
    assert ", in verify\n" in result.stderr
    table = project.run("migrate", "--list").stdout.partition("\n\n")[0]
    assert (table.splitlines()[-1].split()[3], table.endswith("  to be verified")) == (
        "failed",
        True,
    )


@KINDS
def test_a_run_after_the_correction_begins_with_verifying(project: Project, is_batch: bool) -> None:
    path = checked(project, is_batch=is_batch)
    project.run("migrate", "--data", env=WRONG)
    (project.root / "notes.txt").unlink()
    path.write_text(path.read_text() + "        note('corrected')\n")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert notes(project) == ["verify", "corrected"]


def test_one_that_is_still_not_so_is_verified_alone_until_it_is_restarted(
    project: Project,
) -> None:
    checked(project)
    project.run("migrate", "--data", env=WRONG)

    again = project.run("migrate", "--data", env=WRONG)
    restarted = project.run("migrate", "--data", "checked", "--anew")

    assert (again.exit_code, restarted.exit_code) == (1, 0)
    assert "Verifying checked, which ran to its end before; to run it anew:" in again.stderr
    assert "mpt-tool migrate --data checked --anew\n" in again.stderr
    assert notes(project) == ["run", "verify", "verify", "run", "verify"]


def test_a_batch_that_is_still_not_so_handles_no_item_again_until_it_is_restarted(
    project: Project,
) -> None:
    checked(project, is_batch=True)
    project.run("migrate", "--data", env=WRONG)

    again = project.run("migrate", "--data", env=WRONG)
    restarted = project.run("batch", "checked", "--restart")

    assert (again.exit_code, restarted.exit_code) == (1, 0)
    assert notes(project) == ["item 1", "item 2", "verify", "verify", "item 1", "item 2", "verify"]


def test_one_that_failed_when_it_ran_again_is_not_taken_for_one_that_ran(project: Project) -> None:
    checked(project)
    project.run("migrate", "--data", env=WRONG)
    project.run("migrate", "--data", "checked", "--anew", env={"MPT_BREAKS": "1"})
    (project.root / "notes.txt").unlink()

    project.run("migrate", "--data")

    assert notes(project) == ["run", "verify"]


@KINDS
def test_a_yield_in_it_is_a_failure_for_nothing_of_it_ran(project: Project, is_batch: bool) -> None:
    path = checked(project, is_batch=is_batch)
    path.write_text(path.read_text() + "        yield\n")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "verify() holds a yield" in result.stderr


def test_a_run_killed_while_it_verifies_goes_on_with_that(project: Project) -> None:
    path = checked(project)
    text = path.read_text()
    path.write_text(text + "        os.kill(os.getpid(), signal.SIGKILL)\n")
    project.run("migrate", "--data")
    path.write_text(text)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert notes(project) == ["run", "verify", "verify"]


# --- mpt-tool verify


@KINDS
def test_all_that_is_applied_is_verified_a_line_each(project: Project, is_batch: bool) -> None:
    checked(project, "first", is_batch=is_batch)
    checked(project, "second", is_batch=is_batch, order_id=2)
    checked(project, "pending", is_batch=is_batch, order_id=3)
    project.script("without", order_id=4, above="raise AssertionError('imported')")
    applied(project, "first", "second", "without")

    result = project.run("verify")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "first: verified\nsecond: verified\n"


def test_one_alone_is_verified(project: Project) -> None:
    checked(project, "first")
    path = checked(project, "second", order_id=2)
    path.write_text("raise AssertionError('imported')\n" + path.read_text())
    applied(project, "first", "second")

    result = project.run("verify", "first")

    assert (result.exit_code, result.stdout) == (0, "first: verified\n")


def test_nothing_is_written_and_no_lock_is_taken(project: Project) -> None:
    path = checked(project)
    path.write_text(path.read_text().replace("note(f", "print(f"))
    applied(project, "checked")
    before = project.tree()

    project.run("verify")

    assert project.tree() == before
    assert not (project.root / ".migrations-state.lock").exists()


def test_it_knows_that_nothing_is_to_be_written(project: Project) -> None:
    path = checked(project)
    path.write_text(path.read_text().replace("note(f", "print(self.is_rehearsal, f"))
    applied(project, "checked")

    assert "True verify" in project.run("verify").stderr


def test_what_is_not_so_is_told_in_its_own_frames(project: Project) -> None:
    checked(project, "first")
    checked(project, "second", order_id=2, verify="async def")
    applied(project, "first", "second")

    result = project.run("verify", env=WRONG)

    assert result.exit_code == 1
    assert result.stdout == "first: not so\nsecond: not so\n"
    assert result.stderr.count("AssertionError: not so") == 2
    assert "2_second.py" in result.stderr
    assert "/mpt_tool/" not in result.stderr
    last = "Error running verify command: 2 of 2 are not as they should be: first, second\n"
    assert result.stderr.endswith(f"{last}Aborted.\n")


def test_each_target_that_is_applied_is_verified(project: Project) -> None:
    checked(project, targets="'PRODUCTS'")
    project.run("migrate", "--data", env={"PRODUCTS": "A,B"})

    result = project.run("verify", env={"PRODUCTS": "A,B,C", "MPT_WRONG": "B"})

    assert result.exit_code == 1
    assert result.stdout == "checked (A): verified\nchecked (B): not so B\n"
    assert "checked (B) is not as it should be: not so B\n" in result.stderr


def test_without_the_variable_the_targets_that_were_recorded_are_verified(project: Project) -> None:
    checked(project, targets="'PRODUCTS'")
    project.run("migrate", "--data", env={"PRODUCTS": "A"})

    assert project.run("verify").stdout == "checked (A): verified\n"


def test_one_applied_before_it_had_targets_is_verified_for_those_of_today(project: Project) -> None:
    checked(project, targets="'PRODUCTS'")
    applied(project, "checked")

    assert project.run("verify", env={"PRODUCTS": "A"}).stdout == "checked (A): verified\n"
    assert project.run("verify").exit_code == 2


def test_the_result_has_a_json_form(project: Project) -> None:
    checked(project, targets="('A', 'B')")
    project.run("migrate", "--data")

    result = project.run("verify", "--json", env={"MPT_WRONG": "B"})

    assert result.exit_code == 1
    document = result.json()
    right, wrong = document["verified"]
    assert (document["version"], document["command"]) == (1, "verify")
    assert right == {"migration_id": "checked", "target": "A", "error": None}
    assert (wrong["target"], wrong["error"]["message"]) == ("B", "not so B")
    assert wrong["error"]["frames"][0].startswith("1_checked.py:")


def test_without_a_verify_there_is_nothing_to_do(project: Project) -> None:
    project.script("plain", above="raise AssertionError('imported')")
    applied(project, "plain")

    of_all, of_one = project.run("verify"), project.run("verify", "plain")

    assert (of_all.exit_code, of_one.exit_code) == (0, 0)
    assert of_all.stdout == "Nothing to verify: no applied migration has a verify().\n"
    assert of_one.stdout == "Nothing to verify: plain has no verify().\n"


@pytest.mark.parametrize(
    ("migration_id", "said"),
    [("checked", "Migration checked is not applied"), ("typo", "Migration typo not found")],
)
def test_what_cannot_be_verified_is_an_error(
    project: Project, migration_id: str, said: str
) -> None:
    checked(project)

    result = project.run("verify", migration_id)

    assert result.exit_code == 1
    assert said in result.stderr


@KINDS
def test_writes_are_refused(project: Project, is_batch: bool) -> None:
    path = checked(project, is_batch=is_batch)
    path.write_text(
        path.read_text()
        .replace(
            "class Migration(",
            "from mpt_tool.migration.mixins import MPTAPIClientMixin\n\n"
            "class Migration(MPTAPIClientMixin, ",
        )
        .replace('note(f"verify', "self.mpt_client.commerce.agreements.update('A', {}) #")
    )
    applied(project, "checked")
    with MPTServer() as platform:
        result = project.run("verify", env=platform.settings)

        assert platform.requests() == []
    assert result.exit_code == 1
    assert "was refused" in result.stderr


def test_a_script_that_cannot_be_loaded_stops_it_before_anything_is_called(
    project: Project,
) -> None:
    checked(project, "first")
    path = checked(project, "second", order_id=2)
    path.write_text("import nowhere\n" + path.read_text())
    applied(project, "first", "second")

    result = project.run("verify")

    assert result.exit_code == 1
    assert notes(project) == []
    assert "2_second.py cannot be loaded" in result.stderr


def test_the_ids_are_completed_that_can_be_verified(project: Project) -> None:
    checked(project, "first")
    checked(project, "pending", order_id=2)
    project.script("plain", order_id=3)
    applied(project, "first", "plain")
    completing = {
        "_MPT_TOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": "mpt-tool verify ",
        "COMP_CWORD": "2",
    }

    assert project.run(env=completing).stdout.split() == ["first"]


def test_airtable_tells_what_is_applied(project: Project, server: AirtableServer) -> None:
    project.environment = server.settings
    checked(project, targets="('A',)")
    project.run("migrate", "--data")

    assert project.run("verify").stdout == "checked (A): verified\n"
