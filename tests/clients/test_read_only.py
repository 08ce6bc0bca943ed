"""A dry run and a rehearsal write nothing, whatever of the author's sends it."""

from collections.abc import Iterator

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import MIGRATION
from support.http_server import LoopbackServer
from support.mpt_server import MPTServer
from support.project import Project

pytestmark = pytest.mark.slow

DRY_RUN = ("migrate", "--data", MIGRATION, "--dry-run")
REHEARSAL = ("batch", MIGRATION, "--rehearse")
LOOKS = [DRY_RUN, REHEARSAL]
UPDATE = "mpt_client.commerce.agreements.update('AGR-1', {'done': True})"
CREATE = f"airtable_client.table({BASE!r}, {TABLE!r}).create({{'order_id': 1}})"
# `{...}` are what each place of a script does.
SCRIPT = """\
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin


class Helper(AirtableAPIClientMixin, MPTAPIClientMixin):
    pass


class Migration(BatchDataMigration, MPTAPIClientMixin, AirtableAPIClientMixin):
    def __init__(self):
        {init}

    def items(self, cursor):
        {items}
        return [1, 2]

    def describe(self, number):
        {describe}
        return str(number)

    def process(self, number):
        {process}
"""


@pytest.fixture
def platform() -> Iterator[MPTServer]:
    with MPTServer() as server:
        server.add_agreement("AGR-1")
        yield server


@pytest.fixture
def project(project: Project, platform: MPTServer, server: AirtableServer) -> Project:
    """A project that uses both services, with the state in a file."""
    project.environment = {**platform.settings, **server.settings, "STORAGE_TYPE": "local"}
    return project


def write_script(project: Project, **places: str) -> None:
    """Write the migration, with a statement in some of its places."""
    named = dict.fromkeys(("init", "items", "describe", "process"), "pass") | places
    project.file(f"migrations/1_{MIGRATION}.py", SCRIPT.format(**named))


def written(*servers: LoopbackServer) -> list[str]:
    """Return the methods of all requests that may have changed something."""
    asked = [request.method for server in servers for request in server.requests()]
    return [method for method in asked if method != "GET"]


@pytest.mark.parametrize("arguments", LOOKS)
@pytest.mark.parametrize(
    ("place", "write"),
    [
        ("init", f"Helper().{UPDATE}"),
        ("items", f"self.{UPDATE}"),
        ("items", f"Helper().{CREATE}"),
        ("describe", f"self.{CREATE}"),
    ],
)
def test_a_write_is_refused_and_named_wherever_it_is_sent(
    project: Project,
    platform: MPTServer,
    server: AirtableServer,
    arguments: tuple[str, ...],
    place: str,
    write: str,
) -> None:
    write_script(project, **{place: write})

    result = project.run(*arguments)

    assert written(platform, server) == []
    assert result.exit_code == 1
    method, url = ("PUT", platform.url) if UPDATE in write else ("POST", server.url)
    assert f"{method} {url}" in result.stderr
    assert "was refused: a dry run writes nothing" in result.stderr


@pytest.mark.parametrize("arguments", LOOKS)
def test_a_refusal_that_the_script_swallows_is_listed(
    project: Project, platform: MPTServer, arguments: tuple[str, ...]
) -> None:
    swallowing = f"import contextlib\n        with contextlib.suppress(Exception): self.{UPDATE}"
    write_script(project, items=swallowing)

    result = project.run(*arguments)

    assert written(platform) == []
    assert "Writes that were refused (1):\n  PUT " in result.stdout


def test_nothing_is_written_when_the_scripts_of_a_plan_are_loaded(
    project: Project, platform: MPTServer
) -> None:
    write_script(project, init=f"self.{UPDATE}")

    result = project.run("migrate", "--data", "--dry-run")

    assert written(platform) == []
    assert result.exit_code == 1


def test_a_read_that_airtable_takes_as_a_post_is_let_through(
    project: Project, server: AirtableServer
) -> None:
    # Too long for an address.
    formula = "LEFT({migration_id}, 16000) = " + f'"{"x" * 16000}"'
    table = f"self.airtable_client.table({BASE!r}, {TABLE!r})"
    write_script(project, process=f"{table}.all(formula={formula!r})")

    result = project.run(*REHEARSAL)

    assert "Writes that were refused (0):\nItems that failed (0):" in result.stdout
    assert [request.path for request in server.requests("POST")] == [
        f"/v0/{BASE}/{TABLE}/listRecords"
    ] * 2
