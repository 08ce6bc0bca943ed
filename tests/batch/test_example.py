"""What docs/batch-migrations.md tells and examples/batch/ shows is so."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from signal import SIGINT
from subprocess import PIPE, Popen

import pytest
from support.mpt_server import MPTServer
from support.process import HANGS_SECONDS, Process, wait_until
from support.project import Project

from mpt_tool.errors import ExitCode
from mpt_tool.migration import BatchMigration
from mpt_tool.records import Checkpoint

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "batch"
PAGE = (REPOSITORY / "docs" / "batch-migrations.md").read_text(encoding="utf-8")
MIGRATION_ID = "set_vendor_ids"
SCRIPT = f"migrations/20260201090000_{MIGRATION_ID}.py"
RUN = ("migrate", "--data", MIGRATION_ID)

FIRST, FILTERING, COLLECTING, TESTS, BY_HAND, REWRITTEN = re.findall(
    r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)
MIGRATIONS = {
    "first": FIRST,
    "filtering": FILTERING,
    "collecting": COLLECTING,
    "by hand": BY_HAND,
    "rewritten": REWRITTEN,
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
    message = stopped.stderr.splitlines()[-2].removeprefix("Error running data command: ")
    [place] = re.findall(r"[\d,]+ of 5,000", message)
    assert message.replace(place, "1,235 of 5,000") in readme
    assert not place.startswith("5,000")
    assert f"resumes after {place}" in listed.stdout
    assert f"Resuming {MIGRATION_ID} after {place} items" in resumed.stderr
    assert resumed.exit_code == 0
    assert served.splitlines()[-1] == "5,000 agreements, 5,000 updates"
    outcomes = re.findall("^outcome: (.*)$", example.run(*history).stdout, re.MULTILINE)
    assert outcomes == ["interrupted", "applied"]


def test_the_example_is_the_first_migration_of_the_page() -> None:
    assert (EXAMPLE / SCRIPT).read_text(encoding="utf-8") == FIRST


@pytest.fixture
def platform(project: Project) -> Iterator[MPTServer]:
    """A platform with three active agreements, for the project to talk to."""
    with MPTServer() as server:
        for number in range(3):
            server.add_agreement(f"AGR-{number}", status="Active")
        project.environment = {"MPT_API_BASE_URL": server.url, "MPT_API_TOKEN": server.token}
        yield server


@pytest.mark.parametrize("name", MIGRATIONS)
def test_each_migration_of_the_page_gives_the_agreements_their_vendor_ids(
    project: Project, platform: MPTServer, name: str
) -> None:
    project.file(SCRIPT, MIGRATIONS[name])

    result = project.run(*RUN)

    assert result.exit_code == 0, result.stderr
    vendor_ids = [agreement["externalIds"]["vendor"] for agreement in platform.agreements()]
    assert vendor_ids == ["VND-0", "VND-1", "VND-2"]


def test_the_loop_by_hand_hides_the_failure_that_its_rewrite_keeps(
    project: Project, platform: MPTServer
) -> None:
    for script, exit_code in ((BY_HAND, ExitCode.DONE), (REWRITTEN, ExitCode.FAILED)):
        project.file(SCRIPT, script)
        project.state_file.unlink(missing_ok=True)
        platform.answer(400, {"title": "Bad Request"}, method="PUT", path="AGR-1")
        assert project.run(*RUN).exit_code == exit_code

    assert project.run("batch", MIGRATION_ID, "--retry-failed").exit_code == ExitCode.DONE


def test_the_tests_of_the_page_pass(project: Project) -> None:
    project.file(SCRIPT, COLLECTING)
    project.file("test_vendor_ids.py", TESTS)

    result = project.execute([sys.executable, "-m", "pytest", "-p", "no:cacheprovider"])

    assert f"{TESTS.count('def test_')} passed" in result.stdout


@pytest.mark.parametrize("attribute", BatchMigration.__annotations__)
def test_every_attribute_is_documented_with_its_default(attribute: str) -> None:
    [default] = re.findall(rf"^\| `{attribute}` \| [^|]* \| `([^`]*)` \|", PAGE, re.MULTILINE)

    assert eval(default) == getattr(BatchMigration, attribute)


def test_every_method_is_documented() -> None:
    methods = {
        name
        for name, value in vars(BatchMigration).items()
        if callable(value) and not name.startswith("_") and name != "run"
    }
    documented = set(re.findall(r"^\| `(\w+)\(.*?\)` \|", PAGE, re.MULTILINE))

    assert len(methods) > 5
    assert methods <= documented


def test_the_documented_checkpoint_has_all_keys() -> None:
    [block] = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

    assert json.loads(block).keys() == Checkpoint.model_fields.keys()


def test_the_promise_is_that_of_the_class() -> None:
    promise = str(getdoc(BatchMigration)).partition("Its promise:")[2]
    section = PAGE.partition("\n## The promise\n")[2]

    assert "SIGKILL" in promise
    assert section.split()[: len(promise.split())] == promise.split()
