"""Completion at a TAB: in the real shells, and by the protocol that their scripts speak."""

import json
import shutil
from pathlib import Path

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.project import COMMAND, HISTORY_FILE, STATE_FILE, Project, record
from support.terminal import Terminal

MOMENT = "2026-01-13T18:05:20+00:00"
PENDING_DATA = ["data_failed", "data_new"]
PENDING_SCHEMA = ["schema_new"]
COMMANDS = ["mpt-tool", "mpt-service-cli"]
# How each shell is started without the user's own configuration, and what turns completion on.
SHELLS = {
    "bash": (
        ["bash", "--noprofile", "--norc", "-i"],
        'source <("$COMMAND" --show-completion)',
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        'autoload -Uz compinit && compinit -D && source <("$COMMAND" --show-completion)',
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        '"$COMMAND" --show-completion | source',
    ),
}
BROKEN = {
    "state that is no JSON": ({STATE_FILE: "{"}, {}),
    "state that holds no record": ({STATE_FILE: '{"data_new": []}'}, {}),
    "pyproject.toml": ({"pyproject.toml": "["}, {}),
    "setting": ({}, {"DATA_TIME_LIMIT": "long"}),
    "folder": ({}, {"MPT_TOOL_FOLDER": "nowhere"}),
}


@pytest.fixture
def project(project: Project) -> Project:
    """A project with pending and applied migrations, which leave a file if they are imported."""
    for migration_id, type_ in {
        "data_applied": "data",
        "data_failed": "data",
        "data_new": "data",
        "schema_applied": "schema",
        "schema_new": "schema",
    }.items():
        project.script(migration_id, type=type_, above="open('imported', 'w').close()")
    project.write_state(
        record("data_applied", started_at=MOMENT, applied_at=MOMENT),
        record("data_failed"),
        record("schema_applied", type="schema", applied_at=MOMENT),
    )
    return project


def completions(project: Project, shell: str, line: str) -> list[str]:
    """Return the words that the command of a line offers for its last one, by `answer`."""
    return offers(answer(project, shell, line), shell)


def answer(project: Project, shell: str, line: str) -> str:
    """Return the answer for the last word of a line, asked as the shell's script asks.

    Nothing but the offers is written, and nothing in the project changes.
    """
    words = line.split(" ")
    variable = f"_{words[0].upper().replace('-', '_')}_COMPLETE"
    env = {variable: f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line}
    match shell:
        case "bash":
            env |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
        case "fish":
            env |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    before = project.tree()

    outcome = project.execute([str(Path(COMMAND).with_name(words[0]))], env=env)

    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert project.tree() == before
    return outcome.stdout


def offers(answer: str, shell: str) -> list[str]:
    """Return the words offered in an answer, without their descriptions."""
    if shell != "zsh":
        return [line.split("\t")[0] for line in answer.splitlines() if line]
    # _arguments '*: :(("word":"description"
    # "word"))'
    lines = answer.removeprefix("_arguments '*: :((").splitlines() if "((" in answer else []
    return [line.split('"')[1] for line in lines]


def test_a_malformed_id_is_never_offered(project: Project) -> None:
    project.script("malformed;id>file;")
    project.script("malformed$(id)")

    assert completions(project, "bash", "mpt-tool migrate --fake malformed") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mpt-tool migrate --fake ", PENDING_DATA + PENDING_SCHEMA),
        ("mpt-tool migrate --data ", PENDING_DATA),
        ("mpt-service-cli migrate --schema ", PENDING_SCHEMA),
        ("mpt-tool migrate --data data_n", ["data_new"]),
        ("mpt-service-cli migrate --data schema", []),
        ("mpt-tool migrate --dry", ["--dry-run"]),
        ("mpt-service-cli mig", ["migrate"]),
    ],
)
def test_offers_options_and_pending_migrations_of_the_right_type(
    project: Project, line: str, expected: list[str]
) -> None:
    assert completions(project, "bash", line) == expected


@pytest.fixture
def batches(project: Project) -> Project:
    """The same with a history, and batch migrations: one new, one with failed items."""
    for migration_id in ("walk_new", "walk_failed"):
        text = (
            "from mpt_tool.migration import BatchDataMigration as Base\nclass Migration(Base): ..."
        )
        project.file(f"migrations/9{len(migration_id)}_{migration_id}.py", text)
    failures = [{"cursor": number, "error": "refused"} for number in range(1200)]
    place = {"cursor": 1300, "processed": 100, "failed": 1200, "since": MOMENT}
    with_failures = record("walk_failed", checkpoint={**place, "failures": failures})
    project.write_state(*project.state().values(), with_failures)
    run = {"run_id": "r", "user": "u", "host": "h", "process": 1, "tool_version": "7.0.0"}
    of_data = {**run, "order_id": 1, "type": "data"}
    for migration_id, outcome in (
        ("gone", "failed"),
        ("gone", "applied"),
        ("data_new", "failed"),
        ("$(id)", "failed"),
    ):
        attempt = {**of_data, "migration_id": migration_id, "outcome": outcome}
        with (project.root / HISTORY_FILE).open("a") as file:
            file.write(json.dumps(attempt) + "\n")
    holder = {"host": "web-1", "process": 4711, "since": MOMENT}
    project.file(".migrations-state.lock.json", json.dumps(holder))
    return project


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mpt-tool batch ", ["walk_failed", "walk_new"]),
        ("mpt-tool failures ", ["walk_failed"]),
        ("mpt-tool history ", ["data_new", "gone"]),
        ("mpt-tool unlock ", ["web-1:4711"]),
        ("mpt-tool copy-state --from ", ["airtable", "local", "sql"]),
        ("mpt-tool copy-state --from local --to a", ["airtable"]),
        ("mpt-tool pending ", []),
        ("mpt-tool pending --type ", ["data", "schema"]),
        ("mpt-tool migrate --folder mig", ["migrations"]),
    ],
)
def test_each_command_offers_what_it_can_be_given(
    batches: Project, line: str, expected: list[str]
) -> None:
    assert completions(batches, "bash", line) == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_is_offered_the_same(batches: Project, shell: str) -> None:
    offered = [
        completions(batches, shell, f"mpt-tool {words}")
        for words in ("migrate --data ", "migrate --data data_n", "migrate --dry", "unlock ")
    ]

    # In zsh the colon of a holder is escaped.
    holder = ["web-1\\\\:4711" if shell == "zsh" else "web-1:4711"]
    assert offered == [
        ["data_failed", "data_new", "walk_failed", "walk_new"],
        ["data_new"],
        ["--dry-run"],
        holder,
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mpt-tool migrate --fake data_f", "data_failed\tdata, failed"),
        ("mpt-tool batch walk_n", "walk_new\tdata, not applied"),
        ("mpt-tool failures ", "walk_failed\t1,200 failed"),
        ("mpt-tool history g", "gone\tapplied"),
    ],
)
def test_an_id_has_its_status_beside_it(batches: Project, line: str, expected: str) -> None:
    assert answer(batches, "fish", line) == f"{expected}\n"


def test_offers_from_below_what_the_root_has(project: Project) -> None:
    (project.root / ".git").mkdir()
    (project.root / "src").mkdir()

    offered = completions(Project(project.root / "src"), "bash", "mpt-tool migrate --data ")

    assert offered == PENDING_DATA


def test_offers_every_option(project: Project) -> None:
    offered = completions(project, "bash", "mpt-tool migrate --")

    actions = {"--data", "--schema", "--fake", "--manual", "--list", "--check", "--init"}
    assert {*actions, "--new-data", "--new-schema", "--dry-run", "--json"} <= set(offered)


@pytest.mark.parametrize(("files", "environment"), BROKEN.values(), ids=BROKEN)
def test_offers_nothing_and_says_nothing_where_something_is_broken(
    project: Project, files: dict[str, str], environment: dict[str, str]
) -> None:
    for name, text in files.items():
        project.file(name, text)
    project.environment = environment

    assert completions(project, "bash", "mpt-tool migrate --fake ") == []


def test_asks_no_store_that_is_elsewhere_and_offers_applied_migrations_too(
    project: Project,
) -> None:
    with AirtableServer() as server:
        project.environment = {
            "STORAGE_TYPE": "airtable",
            "AIRTABLE_API_KEY": server.token,
            "STORAGE_AIRTABLE_BASE_ID": "appState",
            "STORAGE_AIRTABLE_ENDPOINT_URL": server.url,
        }
        offered = completions(project, "bash", "mpt-tool migrate --schema ")

        assert offered == ["schema_applied", "schema_new"]
        assert not server.requests()


def test_offers_who_holds_the_lock_of_a_store_that_is_elsewhere_by_one_request(
    project: Project, server: AirtableServer
) -> None:
    project.environment = server.settings
    server.add_row(BASE, TABLE, {"migration_id": "lock:web-1:4711:0a1b2c3d", "order_id": 0})

    assert completions(project, "bash", "mpt-tool unlock ") == ["web-1:4711:0a1b2c3d"]
    assert len(server.requests()) == 1


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_completes_in_the_shell(project: Project, shell: str, command: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    start, turn_on = SHELLS[shell]
    program = Path(COMMAND).with_name(command)
    environment = project.environment_of_run({"COMMAND": str(program), "PS1": "$ "})
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"

    for name in ("imports.txt", "pyproject.toml"):
        project.file(name, "")

    with Terminal(start, project.root, environment) as terminal:
        terminal.press(f"{turn_on}; echo 'completion is' on\r")
        terminal.wait_for(r"(?m)^completion is on$")
        # One option, and one migration, that begin so: the shell fills in the rest.
        terminal.press(f"{command} migrate --sch\t")
        terminal.wait_for("migrate --schema ?$")
        terminal.press(" schema\t")
        terminal.wait_for("--schema +schema_new")
        # Nothing is to be had for an unknown beginning: no file either.
        terminal.press(f"\x15{command} history import\t pyproj\t; echo 'that is' all\r")
        terminal.wait_for(r"(?m)^that is all$")
        assert "history import pyproj;" in terminal.text

    assert not (project.root / "imported").exists()
