"""The command line itself: its pages of help, what goes with what, what is called how."""

import re
from importlib.metadata import version

import pytest
from support.batches import numbers
from support.project import COMMAND, Project
from support.terminal import Terminal

COMMANDS = ["migrate", "batch", "unlock", "pending", "history", "failures", "doctor"]
ACTIONS = [
    *("--data", "--schema", "--fake", "--new-data", "--new-schema", "--init", "--list", "--check")
]
# How each command is called with what it needs, and nothing else.
CALLS = {
    "migrate": ["migrate", "--list"],
    "batch": ["batch", "first"],
    "unlock": ["unlock", "web-1:4711:5b77fc53"],
    "pending": ["pending"],
    "history": ["history"],
    "failures": ["failures", "first"],
    "doctor": ["doctor"],
}


def wrong_usage(project: Project, *arguments: str) -> str:
    """Return the message of a command that ends as wrong usage, on one line."""
    project.script("first", above="raise AssertionError('imported')")
    before = project.tree()

    result = project.run("--no-color", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert project.tree() == before
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.slow
def test_one_screen_of_a_small_terminal_shows_all_commands_in_groups(project: Project) -> None:
    environment = project.environment_of_run()
    with Terminal([COMMAND, "--help"], project.root, environment, lines=24) as terminal:
        assert terminal.wait() == 0

    shown = [line.split()[0] for line in terminal.lines if line.startswith("  ")]
    assert [name for name in shown if name in COMMANDS] == COMMANDS
    assert terminal.lines[0] == "Usage: mpt-tool [OPTIONS] COMMAND [ARGS]..."
    headings = [line for line in terminal.lines if re.match(r"\w.*:", line)]
    assert [heading.partition(":")[0] for heading in headings[1:]] == [
        *("Commands that run", "Commands that show", "Options")
    ]


def test_without_a_command_all_there_are_are_shown(project: Project) -> None:
    alone, asked = project.run(), project.run("--help")

    assert (alone.exit_code, alone.stdout, alone.stderr) == (2, asked.stdout, "")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_each_command_has_a_page_of_help_without_types_of_flags(
    project: Project, command: list[str]
) -> None:
    short, long = (project.run(*command, option) for option in ("-h", "--help"))

    assert short == long
    assert (long.exit_code, long.stderr) == (0, "")
    assert f"Usage: {' '.join(['mpt-tool', *command])} [OPTIONS]" in long.stdout
    assert not re.search("<?bool", long.stdout, re.IGNORECASE)
    if command and command[0] not in ("migrate", "history", "pending"):
        # Whatever does not fit on a screen is not read.
        assert len(long.stdout.splitlines()) <= 45


@pytest.mark.parametrize(
    ("command", "help_"),
    [
        ("migrate", "run just this migration."),
        ("batch", "The batch migration."),
        ("unlock", "Who holds the lock"),
        ("history", "Show the attempts at this one"),
        ("failures", "The batch migration."),
    ],
)
def test_a_page_of_help_says_what_the_argument_is(
    project: Project, command: str, help_: str
) -> None:
    assert help_ in project.run(command, "-h", env={"COLUMNS": "120"}).stdout


def test_the_help_of_migrate_has_an_example_for_each_action_and_says_what_goes_with_what(
    project: Project,
) -> None:
    result = project.run("migrate", "--help", env={"COLUMNS": "120"})

    assert {"Run", "Create", "Inspect", "Output"} <= set(re.findall(r"─ (\w+) ─", result.stdout))
    options, _, examples = result.stdout.partition("Examples")
    assert set(re.findall(r"mpt-tool migrate (--[\w-]+)", examples)) == set(ACTIONS)
    assert "With --list, --check or --dry-run: write one JSON document." in options


@pytest.mark.parametrize(
    ("command", "lines", "options"),
    [
        ("migrate", 60, set(ACTIONS)),
        ("batch", 45, {"--rehearse", "--retry-failed", "--restart"}),
    ],
)
def test_each_example_of_the_help_has_a_line_in_80_columns(
    project: Project, command: str, lines: int, options: set[str]
) -> None:
    shown = project.run(command, "-h", env={"COLUMNS": "80"}).stdout

    _, _, examples = shown.partition(" Examples\n")
    for line in examples.splitlines():
        assert line.startswith(f"   mpt-tool {command} ")
        assert len(line) <= 80
    assert options <= set(re.findall(r"--[\w-]+", examples))
    assert len(shown.splitlines()) <= lines


@pytest.mark.parametrize("option", ["-V", "--version"])
@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_every_command_tells_the_version(project: Project, command: list[str], option: str) -> None:
    result = project.run(*command, option)

    assert (result.exit_code, result.stdout) == (0, f"mpt-tool {version('mpt-tool')}\n")


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ([], f"use exactly one of {', '.join(ACTIONS)}"),
        (["--data", "--schema"], f"use exactly one of {', '.join(ACTIONS)}"),
        (["first", "--list"], "MIGRATION_ID goes with --data or --schema"),
        (["--list", "--dry-run"], "--dry-run goes with --data or --schema"),
        (["--new-schema", "other", "--batch"], "--batch goes with --new-data"),
        (["--list", "--wait", "0"], "--wait goes with --data, --schema, --fake or --init"),
        (["--list", "--strict"], "--strict goes with --check"),
        (["--data", "--missing-ok"], "--missing-ok goes with --check"),
        (["--data", "--json"], "--json goes with --list, --check or --dry-run"),
        (["--list", "--verbose", "--quiet"], "--verbose and --quiet exclude each other"),
        (["--data", "--wait", "-1"], "Invalid value for '--wait'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_migrate_that_do_not_go_together_are_wrong_usage(
    project: Project, options: list[str], mistake: str
) -> None:
    assert mistake in wrong_usage(project, "migrate", *options)


@pytest.mark.parametrize(
    "option",
    [
        *("--pending", "--history", "--unlock", "--restart", "--resume-anyway"),
        *("--retry-failed", "--rehearse", "--limit", "--type"),
    ],
)
def test_what_is_a_command_of_its_own_is_no_option_of_migrate(
    project: Project, option: str
) -> None:
    assert "No such option" in wrong_usage(project, "migrate", "--data", option)


@pytest.mark.parametrize("command", ["batch", "unlock", "failures"])
def test_what_a_command_needs_has_to_be_given(project: Project, command: str) -> None:
    assert "Missing argument" in wrong_usage(project, command)


def test_a_json_document_and_csv_are_not_to_be_had_at_once(project: Project) -> None:
    message = wrong_usage(project, "failures", "first", "--json", "--csv")

    assert "--json and --csv exclude each other" in message


# The doctor has a line for it.
@pytest.mark.parametrize("command", [each for each in COMMANDS if each != "doctor"])
def test_an_error_names_the_command(project: Project, command: str) -> None:
    project.script("first")

    result = project.run(*CALLS[command], env={"STORAGE_TYPE": "tape"})

    called = "list" if command == "migrate" else command
    assert result.exit_code == 2
    assert result.error.startswith(f"Error running {called} command: STORAGE_TYPE (or ")
    assert result.stderr.endswith("\nAborted.\n")


@pytest.mark.parametrize(
    ("action", "name"),
    [
        (["--data"], "data"),
        (["--schema"], "schema"),
        (["--data", "--dry-run"], "data"),
        (["--fake", "first"], "fake"),
        (["--new-data", "second"], "newdata"),
        (["--new-schema", "second"], "newschema"),
        (["--list"], "list"),
        (["--check"], "check"),
        (["--init"], "init"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_names_the_action_of_migrate(
    project: Project, action: list[str], name: str
) -> None:
    project.script("first")

    result = project.run("migrate", *action, env={"MPT_TOOL_SCHEMA_TIME_LIMIT": "long"})

    assert result.exit_code == 2
    assert result.error.startswith(f"Error running {name} command: SCHEMA_TIME_LIMIT (or ")


@pytest.mark.parametrize("call", [["migrate", "--data", "numbers"], ["batch", "numbers"]])
def test_one_step_lies_between_a_command_and_the_walk(project: Project, call: list[str]) -> None:
    body = """
        import traceback
        from pathlib import Path

        for frame in traceback.extract_stack():
            print("/".join(Path(frame.filename).parts[-2:]), frame.name)
        """
    numbers(project, body, total=1)

    lines = project.run(*call).stdout.splitlines()

    walk = lines.index("runner/run.py run")
    assert lines[walk - 2 : walk] == [f"cli/{call[0]}.py {call[0]}", "cli/running.py run"]
