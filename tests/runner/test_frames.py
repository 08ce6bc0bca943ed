"""How many frames of ours lie between a command and what it is for."""

from support.project import Project

# Notes the functions of ours between the command, left out itself, and whoever calls this.
NOTE = """
import sys
from pathlib import Path

def note(what):
    frame, names = sys._getframe(2), []
    while frame.f_globals["__name__"] != "mpt_tool.cli.migrate":
        names.append(f"{frame.f_globals['__name__']}.{frame.f_code.co_name}")
        frame = frame.f_back
    with open("frames.txt", "a") as file:
        file.write(f"{what}: {' '.join(names)}\\n")
"""


def frames(project: Project, what: str) -> list[list[str]]:
    """Return the names that were noted, the innermost first, without the command's own."""
    lines = (project.root / "frames.txt").read_text().splitlines()
    return [line.split()[1:] for line in lines if line.startswith(f"{what}: ")]


def test_a_write_is_four_frames_from_the_command_at_most(project: Project) -> None:
    project.file("frames.py", NOTE)
    above = """
    from frames import note
    from mpt_tool.storage.local import LocalRepository

    save = LocalRepository.save

    def noting(self, record):
        note("save")
        save(self, record)

    LocalRepository.save = noting
    """
    project.script("one", above=above)

    assert project.run("migrate", "--data").exit_code == 0

    noted = frames(project, "save")
    assert len(noted) == 2
    assert all("mpt_tool.runner.run.run" in names and len(names) <= 4 for names in noted), noted


def test_an_item_is_six_frames_from_the_command_at_most(project: Project) -> None:
    project.file("frames.py", NOTE)
    project.file(
        "migrations/1_batch.py",
        """
        from frames import note
        from mpt_tool.migration import BatchDataMigration

        class Migration(BatchDataMigration):
            def items(self, cursor):
                return [1]

            def process(self, item):
                note("item")
        """,
    )

    assert project.run("migrate", "--data").exit_code == 0

    [names] = frames(project, "item")
    assert "mpt_tool.runner.run.run" in names
    assert len(names) <= 6, names
