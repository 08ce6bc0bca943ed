"""The clients that mixins give to migrations, from outside, against the test servers."""

from collections.abc import Iterator

import pytest
from mpt_api_client.models import model
from support.airtable_server import AirtableServer
from support.mpt_server import MPTServer
from support.project import COMMAND, Project

BASE = "appOfTheExtension"
TABLE = "Agreements"
AGREEMENT = "AGR-1234-5678-9012"
MIXINS_LAST = "DataBaseMigration, MPTAPIClientMixin, AirtableAPIClientMixin"
MIXINS_FIRST = "AirtableAPIClientMixin, MPTAPIClientMixin, DataBaseMigration"


@pytest.fixture
def mpt() -> Iterator[MPTServer]:
    with MPTServer() as server:
        server.add_agreement(AGREEMENT, name="First")
        yield server


@pytest.fixture
def airtable() -> Iterator[AirtableServer]:
    with AirtableServer() as server:
        server.add_table(BASE, TABLE, [{"name": "name", "type": "singleLineText"}])
        yield server


@pytest.fixture
def project(project: Project, mpt: MPTServer, airtable: AirtableServer) -> Project:
    """A project that is told where both services are."""
    project.environment = {
        "MPT_API_BASE_URL": mpt.url,
        "MPT_API_TOKEN": mpt.token,
        "STORAGE_AIRTABLE_ENDPOINT_URL": airtable.url,
        "AIRTABLE_API_KEY": airtable.token,
    }
    return project


def migration(project: Project, *statements: str, bases: str = MIXINS_LAST) -> None:
    """Write a migration with both mixins."""
    body = "\n        ".join(statements)
    project.file(
        "migrations/20260101000000_uses_clients.py",
        f"""\
import sys

from mpt_tool.migration import DataBaseMigration
from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin


class Migration({bases}):
    def run(self):
        {body}
""",
    )


@pytest.mark.parametrize("bases", [MIXINS_LAST, MIXINS_FIRST])
def test_both_clients_work_on_either_side_of_the_base(
    project: Project, airtable: AirtableServer, bases: str
) -> None:
    migration(
        project,
        f"agreement = self.mpt_client.commerce.agreements.get({AGREEMENT!r})",
        f"table = self.airtable_client.table({BASE!r}, {TABLE!r})",
        "table.create({'name': agreement.name})",
        bases=bases,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert [row["fields"] for row in airtable.rows(BASE, TABLE)] == [{"name": "First"}]


def test_the_clients_are_the_libraries_own_each_made_once(project: Project) -> None:
    migration(
        project,
        "for name in ('mpt_client', 'airtable_client'):",
        "    client = getattr(self, name)",
        "    kind = type(client)",
        "    print(kind.__module__, kind.__name__, client is getattr(self, name))",
    )

    result = project.run("migrate", "--data", "--quiet")

    assert "mpt_api_client.mpt_client MPTClient True" in result.stdout
    assert "pyairtable.api.api Api True" in result.stdout


def test_unused_mixins_need_no_settings_and_import_no_client(project: Project) -> None:
    project.environment.clear()
    migration(
        project,
        "libraries = {'mpt_api_client', 'pyairtable', 'httpx', 'requests'}",
        "print('imported:', libraries & sys.modules.keys())",
    )

    # Started anew: `run` has the libraries in memory.
    result = project.execute([COMMAND, "migrate", "--data"])

    assert result.exit_code == 0
    assert "imported: set()" in result.stdout


@pytest.mark.parametrize(
    ("client", "variable"),
    [
        ("mpt_client", "MPT_API_TOKEN"),
        ("mpt_client", "MPT_API_BASE_URL"),
        ("airtable_client", "AIRTABLE_API_KEY"),
    ],
)
def test_a_missing_variable_is_a_value_error_that_names_it(
    project: Project, client: str, variable: str
) -> None:
    del project.environment[variable]
    migration(
        project, "try:", f"    self.{client}", "except ValueError as error:", "    print(error)"
    )

    result = project.run("migrate", "--data", "--quiet")

    assert result.stdout.startswith(f"{variable} ")
    assert "is not set" in result.stdout


def test_all_missing_variables_are_named_at_once(project: Project) -> None:
    project.environment.clear()
    migration(
        project, "try:", "    self.mpt_client", "except ValueError as error:", "    print(error)"
    )

    result = project.run("migrate", "--data", "--quiet")

    assert result.stdout.startswith(
        "MPT_API_TOKEN and MPT_API_BASE_URL are not set: add them to the environment or .env\n"
    )


@pytest.mark.parametrize("address", ["api.example.com", "https://"])
@pytest.mark.parametrize(
    ("client", "variable"),
    [
        ("mpt_client", "MPT_API_BASE_URL"),
        ("airtable_client", "STORAGE_AIRTABLE_ENDPOINT_URL"),
    ],
)
def test_what_is_no_address_fails_the_migration_and_is_named(
    project: Project, client: str, variable: str, address: str
) -> None:
    project.environment[variable] = address
    migration(project, f"self.{client}")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    failure = result.stderr.splitlines()[-2]
    assert f"Migration uses_clients failed: {variable}" in failure
    assert repr(address) in failure


def test_a_slash_at_the_end_of_an_address_is_no_matter(
    project: Project, mpt: MPTServer, airtable: AirtableServer
) -> None:
    project.environment["MPT_API_BASE_URL"] += "/"
    project.environment["STORAGE_AIRTABLE_ENDPOINT_URL"] += "/"
    migration(
        project,
        f"self.mpt_client.commerce.agreements.get({AGREEMENT!r})",
        f"self.airtable_client.table({BASE!r}, {TABLE!r}).all()",
    )

    assert project.run("migrate", "--data").exit_code == 0

    assert [request.path for request in mpt.requests()] == [
        f"/public/v1/commerce/agreements/{AGREEMENT}"
    ]
    assert [request.path for request in airtable.requests()] == [f"/v0/{BASE}/{TABLE}"]


# Up to 5.2 a nested field is a dictionary.
needs_objects = pytest.mark.skipif(
    not hasattr(model, "BaseModel"), reason="has no objects for nested fields"
)


@pytest.mark.parametrize(
    ("statement", "is_told"),
    [
        pytest.param("agreement.product['id']", True, marks=needs_objects),
        pytest.param("agreement.product.get('id')", True, marks=needs_objects),
        pytest.param("import json; json.dumps(agreement.product)", True, marks=needs_objects),
        ("from mpt_api_client.resources.elsewhere import Gone", True),
        ("agreement.product.seller", False),
        ("{}.get('id').lower()", False),
        ("(1)['id']", False),
    ],
)
def test_a_script_that_was_written_for_another_client_is_told_to_pin_it(
    project: Project, mpt: MPTServer, statement: str, is_told: bool
) -> None:
    mpt.add_agreement(AGREEMENT, product={"id": "PRD-1"})
    migration(
        project, f"agreement = self.mpt_client.commerce.agreements.get({AGREEMENT!r})", statement
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert ("If the script was written for another mpt-api-client than" in result.stderr) is is_told


@needs_objects
@pytest.mark.parametrize(
    "attributes",
    ["on_error = 'collect'", "targets = ('PRD-1', 'PRD-2')"],
)
def test_so_it_is_where_items_are_collected_or_targets_have_their_turn(
    project: Project, mpt: MPTServer, attributes: str
) -> None:
    mpt.add_agreement(AGREEMENT, product={"id": "PRD-1"})
    project.file(
        "migrations/1_old.py",
        f"""\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin):
            {attributes}

            def source(self):
                return self.mpt_client.commerce.agreements

            def process(self, agreement):
                try:
                    agreement.product["id"]
                except TypeError as error:
                    raise ValueError(f"no product of {{agreement.id}}") from error
        """,
    )

    result = project.run("migrate", "--data")

    assert result.stderr.count("If the script was written for another mpt-api-client than") == 1
