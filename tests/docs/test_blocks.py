"""Every block of code of the README and of docs/ is what it says: it is run, loaded or compared."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from messages import BLANK, all_texts
from support.airtable_server import AirtableServer
from support.mpt_server import MPTServer
from support.pages import PAGES, REPOSITORY, Block, blocks, commands, python_in, text_of
from support.postgresql import Postgresql
from support.project import Project, record
from support.reader import Reader
from support.schemas import assert_follows_schema

# What is followed by a test of its own.
FOLLOWED_ELSEWHERE = {
    "docs/tutorial.md": "tests/docs/test_tutorial.py",
    "examples/backend/README.md": "tests/storage/test_example_backend.py",
    "examples/batch/README.md": "tests/batch/test_example.py",
    "examples/extension/README.md": "tests/cli/test_examples.py",
    "docs/how-to/github-actions.md": "tests/cli/test_how_to.py",
    "docs/how-to/gitlab.md": "tests/cli/test_how_to.py",
    "docs/how-to/azure-devops.md": "tests/cli/test_how_to.py",
    "docs/how-to/docker.md": "tests/cli/test_how_to.py",
    "docs/how-to/pre-commit.md": "tests/cli/test_how_to.py",
}
# What cannot be run, by how the command begins, and why.
NOT_RUN = {
    "pip install": "downloads from a registry",
    "uv add": "downloads from a registry",
    ".ci/uv": "downloads uv; tests/test_checkout.py runs it with one in its place",
    "kubectl": "needs a cluster; tests/cli/test_kubernetes.py reads the manifests",
    "mpt-tool --install-completion": "writes to the shell's files; tests/cli/test_completion.py",
}
# Commands that exit with something else than 0, and why.
EXIT_CODES = {
    "mpt-tool unlock '?'": {1},  # it takes the lock from nobody, and only names the holder
    "mpt-tool batch set_vendor_ids --retry-failed": {1},  # nothing has failed here
    "mpt-tool migrate --init": {0, 1},  # the second time there is nothing to do
}
# The pages whose output is that of the commands above it; elsewhere it is an example.
COMPARED = {"airtable", "from-5", "from-6", "sql"}
# How far a migration is: put together from more than one text.
PROGRESS = re.compile(r"\w+: [\d,]+ of [\d,]+, .* left")
LOGGED = re.compile(r"^[\d-]+ [\d:,]+ - [A-Z]+ - (.*)$|^Error running \w+ command: (.*)$")
BASE = "appOfThePages"
DATABASE = "postgresql://migrations:...@db.example.com/shop"
PRODUCTS = ("PRD-1111-1111", "PRD-2222-2222")
# What a fragment of a script takes for given.
PRELUDE = """\
from mpt_tool.migration import BatchDataMigration, DataBaseMigration
from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin
"""


def is_script(code: str) -> bool:
    return "class Migration(" in code and "import" in code


ALL = {
    str(path.relative_to(REPOSITORY)): blocks(path.read_text(encoding="utf-8")) for path in PAGES
}
WITH_COMMANDS = [
    name
    for name, found in ALL.items()
    if name not in FOLLOWED_ELSEWHERE and any(block.language == "bash" for block in found)
]
PYTHON = [block.text for found in ALL.values() for block in found if block.language == "python"]


@pytest.fixture
def platform() -> Iterator[MPTServer]:
    with MPTServer() as server:
        for number in range(4):
            server.add_agreement(
                f"AGR-0000-0000-{number:04}",
                status="Active",
                product={"id": PRODUCTS[number % 2]},
                price={"currency": "EUR"},
                parameters={"fulfillment": []},
            )
        yield server


@pytest.fixture
def airtable() -> Iterator[AirtableServer]:
    with AirtableServer() as server:
        server.add_base(BASE)
        yield server


def with_a_state(project: Project, **further: str) -> None:
    """Write two scripts and the state that an earlier release left of them."""
    began, ended = "2026-01-13T18:05:20", "2026-01-13T18:05:23.123456"
    project.script("sync_users", order_id=20260113180013)
    project.script("fix_null_emails", order_id=20260115090000)
    project.write_state(
        {
            **record("sync_users", order_id=20260113180013, started_at=began, applied_at=ended),
            **further,
        },
        record("fix_null_emails", order_id=20260115090000, applied_at=ended),
    )


def with_regions(project: Project) -> None:
    """Write the migration of the usual form."""
    form, *_ = python_in(text_of("batch-migrations"), "The usual form")
    project.file("migrations/20260201090000_set_regions.py", form)


def with_scripts(project: Project) -> None:
    project.script("earlier", type="schema")
    project.script("say_goodbye")


# How the project stands before the commands of a page; by default it has two scripts.
PREPARED: Mapping[str, Callable[[Project], None]] = {
    "batch-migrations": with_regions,
    "from-5": with_a_state,
    "from-6": lambda project: with_a_state(project, version="1.4.0"),
}


@pytest.mark.parametrize("name", WITH_COMMANDS)
def test_the_commands_of_a_page_do_what_it_says(
    project: Project,
    platform: MPTServer,
    airtable: AirtableServer,
    name: str,
    request: pytest.FixtureRequest,
) -> None:
    stem = Path(name).stem
    PREPARED.get(stem, with_scripts)(project)
    project.environment = {**platform.settings, "STORAGE_AIRTABLE_ENDPOINT_URL": airtable.url}
    values = {"pat...": airtable.token, "app...": BASE}
    if stem == "sql":
        database: Postgresql = request.getfixturevalue("database")
        values |= {DATABASE: database.url, "migrations": request.getfixturevalue("schema")}
    reader = Reader(project, values=values)

    for block in ALL[name]:
        if block.language == "bash":
            for command in commands(block.text):
                if not command.startswith(tuple(NOT_RUN)):
                    reader.run(Block("bash", command))
                    assert reader.exit_code in EXIT_CODES.get(command, {0}), reader.written[-1]
        elif block.title or (block.language == "text" and stem in COMPARED):
            reader.follow([block])


def test_each_message_that_a_page_shows_is_one_of_the_code() -> None:
    """Those that are compared with what a command wrote are among them."""
    forms = [_form(words) for words in all_texts() if sum(map(str.isalpha, words)) > 5]
    shown = [
        line[1] or line[2]
        for found in ALL.values()
        for block in found
        if block.language == "text"
        for line in map(LOGGED.match, block.text.splitlines())
        if line and not PROGRESS.match(line[1] or "")
    ]

    assert len(shown) > 15
    assert [each for each in shown if not any(form.match(each) for form in forms)] == []


def _form(words: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, words.split(BLANK))))


def test_no_python_of_a_page_uses_a_name_that_is_not_there(tmp_path: Path) -> None:
    for number, code in enumerate(PYTHON):
        whole = dedent(code)
        prelude = "" if "import" in whole else PRELUDE
        (tmp_path / f"block_{number}.py").write_text(prelude + whole, encoding="utf-8")

    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select=E9,F63,F7,F82"]
    checked = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=False)

    assert checked.returncode == 0, checked.stdout


def test_each_whole_script_of_a_page_can_be_loaded(project: Project, platform: MPTServer) -> None:
    # Since release 6 of the platform's client.
    missing = "mpt_api_client.auth" if find_spec("mpt_api_client.auth") is None else "nothing else"
    scripts = [code for code in PYTHON if is_script(code) and missing not in code]
    for number, code in enumerate(scripts):
        project.file(f"migrations/{number + 1}_script_{number + 1}.py", code)
    project.environment = {**platform.settings, "MPT_PRODUCTS_IDS": ",".join(PRODUCTS)}

    looks = [project.run("migrate", action, "--dry-run") for action in ("--data", "--schema")]

    assert [look.exit_code for look in looks] == [0, 0], [look.stderr for look in looks]
    assert len(scripts) > 15


def test_each_migration_of_a_page_that_needs_no_client_runs(project: Project) -> None:
    scripts = [code for code in PYTHON if is_script(code) and "Mixin" not in code]
    for number, code in enumerate(scripts):
        if "DataBaseMigration" in code and "mpt_api_client" not in code:
            project.file(f"migrations/{number + 1}_script_{number + 1}.py", code)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr


def test_each_table_of_settings_of_a_page_is_taken(project: Project) -> None:
    tables = [block.text for found in ALL.values() for block in found if block.language == "toml"]
    ours = [text for text in tables if "tool" in tomllib.loads(text)]

    for text in ours:
        project.file("pyproject.toml", text)
        result = project.run("migrate", "--check", "--missing-ok")
        assert result.exit_code == 0, result.stderr

    assert ours


def test_each_json_document_of_a_page_follows_its_schema() -> None:
    for block in blocks(text_of("usage")):
        if block.language == "json":
            assert_follows_schema(yaml.safe_load(block.text))


def test_each_yaml_of_a_page_can_be_parsed() -> None:
    """More cannot be asked here: what is read by Kubernetes, GitHub or pre-commit is theirs."""
    for found in ALL.values():
        for block in found:
            if block.language == "yaml":
                assert isinstance(yaml.safe_load(block.text), dict | list)


def test_every_block_is_of_a_language_that_one_of_these_tests_is_for() -> None:
    known = {"bash", "diff", "dockerfile", "json", "python", "text", "toml", "yaml"}

    others = {
        f"{name}:{block.line} {block.language}"
        for name, found in ALL.items()
        for block in found
        if block.language not in known
    }

    assert others == set()
