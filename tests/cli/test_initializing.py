"""`migrate --init` on the local store."""

from support.project import Project


def test_init_creates_an_empty_state_file_and_the_folder_and_says_so(project: Project) -> None:
    result = project.run("migrate", "--init")

    assert (result.exit_code, result.stderr) == (0, "")
    created = ["Created .migrations-state.json.", "Created folder migrations."]
    assert result.stdout.splitlines()[1:3] == created
    assert project.tree() == {".migrations-state.json": b"{}", "migrations": None}
    assert project.run("migrate", "--list").stdout.count("No migrations found.\n") == 1


def test_init_creates_the_folder_that_the_settings_name_and_leaves_one_alone(
    project: Project,
) -> None:
    first = project.run("migrate", "--init", env={"MPT_TOOL_FOLDER": "backend/scripts"})
    project.state_file.unlink()
    second = project.run("migrate", "--init", "--folder", "backend/scripts")

    assert "Created folder backend/scripts.\n" in first.stdout
    assert (project.root / "backend/scripts").is_dir()
    assert second.exit_code == 0
    assert "folder" not in second.stdout


def test_a_folder_that_cannot_be_created_is_an_error(project: Project) -> None:
    project.file("migrations", "")

    result = project.run("migrate", "--init")

    assert result.exit_code == 1
    reason = "Migration folder migrations cannot be created: File exists"
    assert result.error == f"Error running init command: {reason}\nAborted.\n"


def test_init_fails_on_an_existing_state_file_and_leaves_it_alone(project: Project) -> None:
    project.state_file.write_text("anything")

    result = project.run("migrate", "--init")

    assert result.exit_code == 1
    assert result.error.startswith("Error running init command: ")
    assert "already exists" in result.stderr
    assert result.stderr.endswith("\nAborted.\n")
    assert project.state_file.read_text() == "anything"
