"""`migrate --init` on the local store."""

from support.project import Project


def test_init_creates_an_empty_state_file_and_nothing_else(project: Project) -> None:
    result = project.run("migrate", "--init")

    assert (result.exit_code, result.stderr) == (0, "")
    assert ".migrations-state.json" in result.stdout
    assert project.tree() == {".migrations-state.json": b"{}"}
    assert project.run("migrate", "--list").stdout.endswith("No migrations found.\n")


def test_init_fails_on_an_existing_state_file_and_leaves_it_alone(project: Project) -> None:
    project.state_file.write_text("anything")

    result = project.run("migrate", "--init")

    assert result.exit_code == 1
    assert result.stderr.startswith("Error running init command: ")
    assert "already exists" in result.stderr
    assert result.stderr.endswith("\nAborted.\n")
    assert project.state_file.read_text() == "anything"
