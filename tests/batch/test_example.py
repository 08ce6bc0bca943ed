"""What the pages on batch migrations tell and examples/batch/ shows is so."""

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from inspect import getdoc
from signal import SIGINT
from subprocess import PIPE, Popen

import pytest
from support.airtable_server import AirtableServer
from support.mpt_server import MPTServer
from support.pages import REPOSITORY, python_in, text_of
from support.process import HANGS_SECONDS, Process, wait_until
from support.project import Project

from mpt_tool.errors import ExitCode
from mpt_tool.migration import BaseMigration, BatchMigration
from mpt_tool.records import Checkpoint, KeptStep

pytestmark = pytest.mark.slow

EXAMPLE = REPOSITORY / "examples" / "batch"
GUIDE = text_of("batch-migrations")
REFERENCE = text_of("batch-reference")
REWRITES = text_of("batch-rewrites")
TESTING = text_of("batch-testing")
WRITING = text_of("writing-migrations")
MIGRATION_ID = "set_vendor_ids"
SCRIPT = f"migrations/20260201090000_{MIGRATION_ID}.py"
RUN = ("migrate", "--data", MIGRATION_ID)
BASE, TABLE = "appXXXXXXXXXXXXXX", "Regions"


[FIRST] = python_in(GUIDE, "A first one")
[OF_PARENTS] = python_in(GUIDE, "What it walks over")
[MANY] = python_in(GUIDE, "Many at once")
[COLLECTING] = python_in(GUIDE, "Collect")
[FORM] = python_in(GUIDE, "The usual form")
TESTS, TESTS_OF_FORM = python_in(TESTING)
OF_AGREEMENTS = {
    "first": FIRST,
    "collecting": COLLECTING,
    "asynchronous": python_in(GUIDE, "Asynchronous clients")[0],
    "filtering": python_in(REFERENCE, "Walking a collection")[0],
}


@pytest.fixture
def example(project: Project) -> Project:
    """The example as in a fresh clone: without what its runs leave behind."""
    ignored = shutil.ignore_patterns("__pycache__", ".migrations-*")
    shutil.copytree(EXAMPLE, project.root, ignore=ignored, dirs_exist_ok=True)
    return project


@pytest.fixture
def marketplace(example: Project) -> Iterator[Popen[str]]:
    """The example's platform at its quickest, for the example to talk to."""
    command = [sys.executable, "marketplace.py", "--port=0", "--delay=0"]
    with Popen(command, cwd=example.root, stdout=PIPE, text=True) as process:
        try:
            assert process.stdout
            address = process.stdout.readline().split()[-1]
            example.environment = {"MPT_API_BASE_URL": address, "MPT_API_TOKEN": "any"}
            yield process
        finally:
            process.kill()


def test_the_example_is_stopped_and_resumed_as_its_readme_says(
    example: Project, marketplace: Popen[str]
) -> None:
    readme = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^mpt-tool (.+)$", readme, re.MULTILINE)
    look, begin, list_, go_on, history = (command.split() for command in commands)

    def has_checkpoint() -> bool:
        return example.state_file.exists() and "checkpoint" in example.state()[MIGRATION_ID]

    looked = example.run(*look)
    with Process(example, *begin) as process:
        wait_until(has_checkpoint)
        process.send(SIGINT)
        stopped = process.wait()
    listed = example.run(*list_)
    resumed = example.run(*go_on)
    marketplace.terminate()
    served, _ = marketplace.communicate(timeout=HANGS_SECONDS)

    assert "More than 1,000 items\n  AGR-0000-0000-0001\n" in looked.stdout
    assert stopped.exit_code == ExitCode.TRY_LATER
    message = stopped.stderr.splitlines()[-1]
    [place] = re.findall(r"[\d,]+ of 5,000", message)
    assert message.replace(place, "1,235 of 5,000") in readme
    assert not place.startswith("5,000")
    assert f"resumes after {place}" in listed.stdout
    assert f"Resuming {MIGRATION_ID} after {place} items" in resumed.stderr
    assert resumed.exit_code == 0
    assert served.splitlines()[-1] == "5,000 agreements, 5,000 updates"
    outcomes = re.findall("^outcome: (.*)$", example.run(*history).stdout, re.MULTILINE)
    assert outcomes == ["stopped", "applied"]


def test_the_example_is_the_first_one_of_the_guide() -> None:
    assert (EXAMPLE / SCRIPT).read_text(encoding="utf-8") == FIRST


@pytest.fixture
def platform(project: Project) -> Iterator[MPTServer]:
    """A platform with three active agreements, for the project to talk to."""
    with MPTServer() as server:
        for number in range(3):
            server.add_agreement(f"AGR-{number}", status="Active")
        project.environment = {"MPT_API_BASE_URL": server.url, "MPT_API_TOKEN": server.token}
        yield server


@pytest.mark.parametrize("name", OF_AGREEMENTS)
def test_the_migrations_of_the_pages_give_the_agreements_their_vendor_ids(
    project: Project, platform: MPTServer, name: str
) -> None:
    project.file(SCRIPT, OF_AGREEMENTS[name])

    result = project.run(*RUN)

    assert result.exit_code == 0, result.stderr
    vendor_ids = [agreement["externalIds"]["vendor"] for agreement in platform.agreements()]
    assert vendor_ids == ["VND-0", "VND-1", "VND-2"]


def test_the_migration_of_parents_and_children_handles_each_subscription(
    project: Project, platform: MPTServer
) -> None:
    for number in range(3):
        subscription = f"SUB-{number}"
        platform.add("commerce/subscriptions", subscription, agreement={"id": f"AGR-{number % 2}"})
    project.file(SCRIPT, OF_PARENTS)

    handled = project.run("batch", MIGRATION_ID, "--only", '["AGR-0", "SUB-2"]')
    result = project.run(*RUN)

    assert (handled.exit_code, result.exit_code) == (0, 0), result.stderr
    subscriptions = platform.items("commerce/subscriptions")
    vendor_ids = [subscription["externalIds"]["vendor"] for subscription in subscriptions]
    assert vendor_ids == ["AGR-0/SUB-0", "AGR-1/SUB-1", "AGR-0/SUB-2"]


def test_the_migration_of_many_at_once_writes_ten_rows_a_request(
    project: Project, server: AirtableServer
) -> None:
    server.add_table(BASE, TABLE, [{"name": "Name", "type": "singleLineText"}])
    for number in range(25):
        server.add_row(BASE, TABLE, {"Name": f" {number} "})
    project.environment = {
        "AIRTABLE_API_KEY": server.token,
        "STORAGE_AIRTABLE_ENDPOINT_URL": server.url,
    }
    project.file(SCRIPT, MANY)

    result = project.run(*RUN)

    assert result.exit_code == 0, result.stderr
    names = [row["fields"]["Name"] for row in server.rows(BASE, TABLE)]
    assert names == [str(number) for number in range(25)]
    assert len(server.requests("PATCH")) == 3


def test_a_migration_with_a_run_makes_one_item_for_each_product(
    project: Project, platform: MPTServer
) -> None:
    [script] = [each for each in python_in(WRITING) if "targets" in each]
    project.file("migrations/1_add_items.py", script)

    for products in ("PRD-1,PRD-2", "PRD-1,PRD-2,PRD-3"):
        result = project.run("migrate", "--schema", env={"MPT_PRODUCTS_IDS": products})
        assert result.exit_code == 0, result.stderr

    items = platform.items("catalog/items")
    assert [item["product"]["id"] for item in items] == ["PRD-1", "PRD-2", "PRD-3"]


@pytest.mark.parametrize(
    "fragment", [code for page in (GUIDE, REFERENCE, TESTING, REWRITES) for code in python_in(page)]
)
def test_every_fragment_of_python_compiles(fragment: str) -> None:
    compile(textwrap.dedent(fragment), "the page", "exec")


@pytest.mark.parametrize(
    ("heading", "name"),
    [
        ("Products, agreements, subscriptions", "subscriptions"),
        ("A second system", "second_system"),
        ("An asynchronous service", "asynchronous"),
    ],
)
def test_the_page_of_rewrites_shows_the_scripts(heading: str, name: str) -> None:
    scripts = [EXAMPLE / "rewrites" / f"{name}_{when}.py" for when in ("before", "after")]

    shown = python_in(REWRITES, heading)

    assert shown == [script.read_text(encoding="utf-8") for script in scripts]


@pytest.mark.parametrize(
    ("script", "code", "tests"),
    [
        (SCRIPT, COLLECTING, TESTS),
        ("migrations/20260201090000_set_regions.py", FORM, TESTS_OF_FORM),
    ],
    ids=["collecting", "the usual form"],
)
def test_the_tests_of_the_page_pass(project: Project, script: str, code: str, tests: str) -> None:
    project.file(script, code)
    project.file("test_the_script.py", tests)

    result = project.execute([sys.executable, "-m", "pytest", "-p", "no:cacheprovider"])

    assert f"{tests.count('def test_')} passed" in result.stdout


ATTRIBUTES = {*BatchMigration.__annotations__, *BaseMigration.__annotations__} - {
    "type",
    "project_root",
}


@pytest.mark.parametrize("attribute", sorted(ATTRIBUTES))
def test_every_attribute_is_documented_with_its_default(attribute: str) -> None:
    row = rf"^\| `{attribute}` \| [^|]* \| `([^`]*)` \|"
    [default] = re.findall(row, REFERENCE, re.MULTILINE)

    assert eval(default) == getattr(BatchMigration, attribute)


def test_every_method_is_documented() -> None:
    members = {**vars(BaseMigration), **vars(BatchMigration)}
    of_the_tool = {"run", "finds", "has_source", "handles_many"}
    methods = {
        name for name, value in members.items() if callable(value) and not name.startswith("_")
    }
    documented = set(re.findall(r"^\| `(\w+)\(.*?\)` \|", REFERENCE, re.MULTILINE))

    assert methods - of_the_tool == documented


def test_the_documented_checkpoint_has_all_keys() -> None:
    [block] = re.findall(r"^```json\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)
    documented = json.loads(block)

    assert documented.keys() == Checkpoint.model_fields.keys()
    assert documented["steps"][0].keys() == KeptStep.model_fields.keys()


def test_the_promise_is_that_of_the_class() -> None:
    promise = str(getdoc(BatchMigration)).partition("Its promise:")[2]
    section = GUIDE.partition("\n## The promise\n")[2]

    assert "SIGKILL" in promise
    assert section.split()[: len(promise.split())] == promise.split()
