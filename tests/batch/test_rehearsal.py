"""`--dry-run` of a batch migration: a look at its items, and a rehearsal without writes."""

from collections.abc import Iterator

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import ASYNC, MIGRATION, SYNC, numbers
from support.mpt_server import MPTServer
from support.project import Project, record

pytestmark = pytest.mark.slow

DRY_RUN = ("batch", MIGRATION, "--dry-run")
UNGUARDED = (
    "Guarded were self.mpt_client and self.airtable_client alone:"
    " what the script wrote by any other means was written."
)
# `{process}` is its first statement; it reads and writes by both clients.
SCRIPT = """\
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin, AirtableAPIClientMixin):
    workers = 2
    attempts = 5

    def items(self, cursor):
        return self.each(self.mpt_client.commerce.agreements, after=cursor)

    def process(self, agreement):
        agreements = self.mpt_client.commerce.agreements
        table = self.airtable_client.table({base!r}, {table!r})
        agreements.get(agreement.id)
        table.all()
        {process}
"""


def shown(stdout: str) -> list[str]:
    """Return the lines of a dry run after those that tell what would run."""
    lines = stdout.splitlines()
    assert lines[:2] == [
        "Would run, in this order (1):",
        f"  1  {MIGRATION}",
    ]
    return lines[2:]


@pytest.fixture
def platform() -> Iterator[MPTServer]:
    """A platform with two agreements."""
    with MPTServer() as server:
        server.add_agreement("AGR-1")
        server.add_agreement("AGR-2")
        yield server


@pytest.fixture
def connected(project: Project, platform: MPTServer, server: AirtableServer) -> Project:
    """A project that uses both services, with the state in a file."""
    project.environment = {**platform.settings, **server.settings, "STORAGE_TYPE": "local"}
    return project


def write_script(project: Project, process: str) -> None:
    """Write the migration that uses both services."""
    text = SCRIPT.format(process=process, base=BASE, table=TABLE)
    project.file(f"migrations/1_{MIGRATION}.py", text)


# --- a look at the items


@pytest.mark.parametrize("items", [SYNC, ASYNC])
def test_items_are_counted_and_the_first_few_shown_without_processing_any(
    project: Project, items: str
) -> None:
    methods = "def describe(self, number): return f'agreement no. {number}'"
    migration = numbers(project, items=items, methods=methods)
    before = project.tree()

    result = project.run(*DRY_RUN)

    assert result.exit_code == 0
    assert shown(result.stdout) == [
        "10 items",
        *(f"  agreement no. {number}" for number in range(1, 6)),
        "  ...",
    ]
    assert migration.processed == []
    assert project.tree() == before


@pytest.mark.parametrize(
    ("options", "first_line"),
    [
        (["--limit", "3"], "More than 3 items"),
        (["--limit", "10"], "10 items"),
        (["--limit", "9", "--rehearse"], "More than 9 items"),
    ],
)
def test_no_more_items_are_looked_at_than_the_limit(
    project: Project, options: list[str], first_line: str
) -> None:
    numbers(project)

    assert shown(project.run(*DRY_RUN, *options).stdout)[0] == first_line


def test_without_a_limit_a_thousand_items_are_looked_at(project: Project) -> None:
    numbers(project, total=1_000_000_000)

    assert shown(project.run(*DRY_RUN).stdout)[0] == "More than 1,000 items"


def test_a_look_begins_where_a_run_would_resume(project: Project) -> None:
    numbers(project)
    checkpoint = {"cursor": 8, "processed": 8, "since": None}
    project.write_state(record(MIGRATION, order_id=1, checkpoint=checkpoint))

    assert shown(project.run(*DRY_RUN).stdout) == ["2 items", "  9", "  10"]


@pytest.mark.parametrize("error", ["raise ValueError('no items')", "raise SystemExit('no items')"])
def test_items_that_cannot_be_had_are_an_error(project: Project, error: str) -> None:
    numbers(project, methods=f"def items(self, cursor):\n    {error}\n    yield")

    result = project.run(*DRY_RUN)

    assert result.exit_code == 1
    assert "Error running batch command: The items cannot be read: " in result.stderr
    assert "no items" in result.stderr


def test_without_an_id_no_items_are_looked_at(project: Project) -> None:
    numbers(project, methods="def items(self, cursor): raise AssertionError")

    result = project.run("migrate", "--data", "--dry-run")

    assert (result.exit_code, shown(result.stdout)) == (0, [])


def test_a_look_can_be_had_as_json(project: Project) -> None:
    numbers(project)

    document = project.run(*DRY_RUN, "--limit", "2", "--json").json()

    assert document == {
        "version": 1,
        "command": "batch",
        "would_run": [{"order_id": 1, "migration_id": MIGRATION, "type": "data"}],
        "items": {
            "items": 2,
            "is_all": False,
            "shown": ["1", "2"],
            "writes": None,
            "failures": [],
        },
    }


# --- a rehearsal


@pytest.mark.parametrize("process", [SYNC, ASYNC])
def test_a_rehearsal_processes_the_items_and_saves_nothing(project: Project, process: str) -> None:
    migration = numbers(project, total=3, process=process)

    result = project.run(*DRY_RUN, "--rehearse")

    assert result.exit_code == 0
    assert shown(result.stdout) == [
        *("3 items", "  1", "  2", "  3"),
        "Writes that were refused (0):",
        "Items that failed (0):",
        UNGUARDED,
    ]
    assert migration.processed == [1, 2, 3]
    assert not project.state_file.exists()
    assert project.attempts() == []


@pytest.mark.parametrize(
    ("write", "refused"),
    [
        ("agreements.update(agreement.id, {'a': 1})", "PUT {mpt}/{agreement}"),
        ("agreements.create({'id': agreement.id})", "POST {mpt}"),
        ("agreements.delete(agreement.id)", "DELETE {mpt}/{agreement}"),
        ("table.create({'migration_id': agreement.id})", "POST {airtable}"),
        (
            "table.update('recOf' + agreement.id, {'order_id': 1})",
            "PATCH {airtable}/recOf{agreement}",
        ),
        ("table.delete('recOf' + agreement.id)", "DELETE {airtable}/recOf{agreement}"),
    ],
)
def test_reads_pass_and_every_write_is_refused_once_and_listed(
    connected: Project, platform: MPTServer, server: AirtableServer, write: str, refused: str
) -> None:
    write_script(connected, write)

    result = connected.run(*DRY_RUN, "--rehearse")

    assert result.exit_code == 0, result.stderr
    addresses = {
        "mpt": f"{platform.url}/public/v1/commerce/agreements",
        "airtable": f"{server.url}/v0/{BASE}/{TABLE}",
    }
    assert shown(result.stdout) == [
        *("2 items", "  AGR-1", "  AGR-2"),
        "Writes that were refused (2):",
        *(f"  {refused.format(agreement=each, **addresses)}" for each in ("AGR-1", "AGR-2")),
        "Items that failed (0):",
        UNGUARDED,
    ]
    requests = [*platform.requests(), *server.requests()]
    assert {request.method for request in requests} == {"GET"}
    assert len(server.requests()) == 2


@pytest.mark.parametrize("client", ["self.mpt_client", "type(self)().mpt_client"])
def test_a_client_that_was_made_before_the_rehearsal_is_guarded_too(
    connected: Project, platform: MPTServer, client: str
) -> None:
    connected.file(
        f"migrations/1_{MIGRATION}.py",
        f"""\
        from mpt_tool.migration import BatchDataMigration
        from mpt_tool.migration.mixins import MPTAPIClientMixin

        class Migration(BatchDataMigration, MPTAPIClientMixin):
            def __init__(self):
                self.agreements = self.mpt_client.commerce.agreements

            def items(self, cursor):
                return self.each(self.agreements, after=cursor)

            def process(self, agreement):
                {client}.commerce.agreements.update(agreement.id, {{"done": True}})
        """,
    )

    result = connected.run(*DRY_RUN, "--rehearse")

    assert "Writes that were refused (2):" in result.stdout
    assert platform.requests("PUT") == []


def test_items_that_fail_for_another_reason_are_listed_too(connected: Project) -> None:
    write_script(connected, "raise ValueError(f'{agreement.id} is odd')")

    document = connected.run(*DRY_RUN, "--rehearse", "--json").json()

    assert document["items"]["writes"] == []
    assert document["items"]["failures"] == ["AGR-1: AGR-1 is odd", "AGR-2: AGR-2 is odd"]


def test_a_rehearsal_goes_on_after_a_script_that_exits(project: Project) -> None:
    numbers(project, "raise SystemExit(f'{number} is enough')", total=2)

    lines = shown(project.run(*DRY_RUN, "--rehearse").stdout)

    assert "Items that failed (2):" in lines
    assert "  1: it exited with 1 is enough" in lines


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_secret_is_shown(project: Project, options: list[str]) -> None:
    project.environment["MPT_API_TOKEN"] = "token-of-the-platform"
    methods = "def describe(self, number): return os.environ['MPT_API_TOKEN']"
    numbers(project, "raise ValueError(os.environ['MPT_API_TOKEN'])", methods=methods)

    result = project.run(*DRY_RUN, "--rehearse", *options)

    assert result.exit_code == 0
    assert "token-of-the-platform" not in result.stdout + result.stderr


def test_a_rehearsal_is_a_dry_run_without_saying_so(project: Project) -> None:
    numbers(project, total=3)
    said, short = (project.run(*call, "--rehearse") for call in (DRY_RUN, DRY_RUN[:2]))

    assert said == short
    assert "Items that failed (0):" in short.stdout


def test_the_look_of_migrate_is_that_of_batch(project: Project) -> None:
    numbers(project)

    look = project.run("migrate", "--data", MIGRATION, "--dry-run")

    assert look == project.run(*DRY_RUN)


# --- usage


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        (["--json"], "--json goes with --dry-run or --rehearse"),
        (
            ["--restart", "--retry-failed"],
            "--restart, --resume-anyway and --retry-failed exclude each other",
        ),
        (["--dry-run", "--retry-failed"], "--retry-failed and --dry-run exclude each other"),
        (["--rehearse", "--retry-failed"], "--retry-failed and --rehearse exclude each other"),
        (["--dry-run", "--limit", "0"], "Invalid value for '--limit'"),
        (["--dry-run", "--limit", "all"], "Invalid value for '--limit'"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(
    project: Project, options: list[str], mistake: str
) -> None:
    numbers(project, methods="raise AssertionError('imported')")
    before = project.tree()

    result = project.run("--no-color", "batch", MIGRATION, *options)

    assert result.exit_code == 2
    assert mistake in " ".join(result.stderr.replace("│", " ").split())
    assert project.tree() == before


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--rehearse"]])
def test_other_migrations_are_refused(project: Project, options: list[str]) -> None:
    project.script("plain")

    result = project.run("batch", "plain", *options)

    assert result.exit_code == 1
    assert (
        "Error running batch command: Migration plain is no batch migration: it has no items\n"
    ) in result.stderr
    assert not project.state_file.exists()


def test_a_batch_migration_runs_by_its_own_command(project: Project) -> None:
    migration = numbers(project, total=3)

    result = project.run("batch", MIGRATION)

    assert result.exit_code == 0
    first, summary, last = result.stdout.splitlines()
    assert first == f"Running batch migration {MIGRATION}..."
    assert summary.startswith("1 applied, 0 skipped, 0 failed in ")
    assert last == f"Migration {MIGRATION} applied successfully."
    assert migration.processed == [1, 2, 3]
