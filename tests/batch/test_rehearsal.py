"""`--dry-run` of a batch migration: a look at its items, and a rehearsal without writes."""

from collections.abc import Iterator

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import ASYNC, MIGRATION, SYNC, numbers
from support.mpt_server import MPTServer
from support.project import Project, record

pytestmark = pytest.mark.slow

DRY_RUN = ("batch", MIGRATION, "--dry-run")
REHEARSAL = ("batch", MIGRATION, "--rehearse")
UNGUARDED = (*REHEARSAL, "--unguarded")
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
        (["--limit", "9", "--rehearse", "--unguarded"], "More than 9 items"),
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
            "refused": [],
            "beside": [],
            "kinds": {},
            "rehearsed": None,
        },
    }


# --- a rehearsal


@pytest.mark.parametrize("process", [SYNC, ASYNC])
def test_a_rehearsal_processes_the_items_and_saves_nothing(project: Project, process: str) -> None:
    migration = numbers(project, total=3, process=process)

    result = project.run(*UNGUARDED)

    assert result.exit_code == 0
    assert shown(result.stdout) == [
        *("3 items", "  1", "  2", "  3"),
        "Changes (0): none",
        "Items that failed (0):",
    ]
    assert migration.processed == [1, 2, 3]
    assert not project.state_file.exists()
    assert project.attempts() == []


WRITES = """
        changed = agreements.update(agreement.id, {{'seats': 2, 'terms': {{'level': 3}}}})
        assert agreements.get(agreement.id).to_dict() == changed.to_dict()
        row = table.create({{'migration_id': agreement.id}})
        assert row in table.all()
        return 'changed'
"""


def test_each_item_is_rehearsed_to_its_end_and_its_changes_are_shown(
    connected: Project, platform: MPTServer, server: AirtableServer
) -> None:
    platform.add_agreement("AGR-3", seats=1, terms={"level": 1, "unit": "year"})
    write_script(connected, WRITES.format())

    result = connected.run(*REHEARSAL)

    lines = shown(result.stdout)
    assert lines[lines.index("  AGR-3: changed") :] == [
        "  AGR-3: changed",
        "    update: PUT /public/v1/commerce/agreements/AGR-3",
        "      seats: 1 → 2",
        "      terms.level: 1 → 3",
        f"    create: POST /v0/{BASE}/{TABLE}",
        '      id: null → "rehearsed-3"',
        '      fields.migration_id: null → "AGR-3"',
        "Changes (6): 3 update, 3 create",
        "Outcomes: 3 changed",
        "Items that failed (0):",
    ]
    requests = [*platform.requests(), *server.requests()]
    assert {request.method for request in requests} == {"GET"}


def test_a_rehearsal_shows_the_changes_that_the_run_then_makes(
    connected: Project, platform: MPTServer
) -> None:
    for number in range(3, 30):
        platform.add_agreement(f"AGR-{number:02}", seats=number % 4, terms={"unit": "year"})
    write_script(
        connected,
        """
        if agreement.to_dict().get('seats') != 3:
            agreements.update(agreement.id, {'seats': 3})
        seats = agreements.get(agreement.id).seats
        agreements.update(agreement.id, {'name': f'{agreement.id} of {seats}', 'seats': seats + 1})
""",
    )
    before = {each["id"]: each for each in platform.agreements()}

    document = connected.run(*REHEARSAL, "--json").json()
    assert platform.agreements() == list(before.values())
    connected.run("batch", MIGRATION)

    for item in document["items"]["rehearsed"]["items"]:
        for change in item["changes"]:
            for field in change["fields"]:
                assert before[item["name"]].get(field["field"]) == field["before"]
                before[item["name"]][field["field"]] = field["after"]
    assert platform.agreements() == list(before.values())
    assert len(before) == 29


def test_after_failures_what_is_left_is_rehearsed_and_what_failed(project: Project) -> None:
    body = "assert number not in (2, 3) or os.path.exists('mended'), 'broken'"
    methods = "def find(self, cursor): return cursor if cursor != 3 else None"
    numbers(project, body, methods=methods, on_error="'collect'", total=5)
    project.run("batch", MIGRATION, "--limit", "4")
    project.file("mended", "")
    before = project.state_file.read_bytes()

    result = project.run(*UNGUARDED)

    assert result.exit_code == 0, result.stderr
    assert shown(result.stdout)[:4] == [
        "3 items",
        "  5",
        "  2: done, failed before",
        "  3: failed, failed before",
    ]
    assert "Items that failed (1):\n  3: find(cursor) found nothing\n" in result.stdout
    assert project.state_file.read_bytes() == before


def test_what_failed_and_cannot_be_found_again_is_left_out_of_a_rehearsal_aloud(
    project: Project,
) -> None:
    numbers(project, "assert number != 2", on_error="'collect'", total=5)
    project.run("batch", MIGRATION, "--limit", "4")

    result = project.run(*UNGUARDED)

    assert shown(result.stdout)[:2] == ["1 item", "  5"]
    assert "1 item that failed cannot be rehearsed without find()" in result.stderr


def test_all_changes_of_all_items_can_be_had_as_json(
    connected: Project, platform: MPTServer
) -> None:
    for number in range(3, 9):
        platform.add_agreement(f"AGR-{number}")
    write_script(connected, "agreements.update(agreement.id, {'seats': 2}); return 'changed'")

    document = connected.run(*REHEARSAL, "--json").json()

    assert document["items"] == {
        "items": 8,
        "is_all": True,
        "shown": [f"AGR-{number}" for number in range(1, 6)],
        "refused": [],
        "beside": [],
        "kinds": {"update": 8},
        "rehearsed": {
            "unguarded": [],
            "items": [
                {
                    "name": f"AGR-{number}",
                    "changes": [
                        {
                            "kind": "update",
                            "request": f"PUT /public/v1/commerce/agreements/AGR-{number}",
                            "fields": [{"field": "seats", "before": None, "after": 2}],
                        }
                    ],
                    "outcome": "changed",
                    "failure": None,
                    "failed_before": False,
                }
                for number in range(1, 9)
            ],
            "outcomes": {"changed": 8},
        },
    }


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

    result = connected.run(*REHEARSAL)

    assert "Changes (2): 2 update" in result.stdout
    assert platform.requests("PUT") == []


def test_items_that_fail_are_listed_and_the_others_go_on(connected: Project) -> None:
    write_script(
        connected, "if agreement.id == 'AGR-1': raise ValueError('odd')\n" + WRITES.format()
    )

    lines = shown(connected.run(*REHEARSAL).stdout)

    assert lines[1] == "  AGR-1: failed"
    assert lines[2] == "  AGR-2: changed"
    assert lines[-2:] == ["Items that failed (1):", "  AGR-1: odd"]


def test_a_rehearsal_goes_on_after_a_script_that_exits(project: Project) -> None:
    numbers(project, "raise SystemExit(f'{number} is enough')", total=2)

    lines = shown(project.run(*UNGUARDED).stdout)

    assert "Items that failed (2):" in lines
    assert "  1: it exited with 1 is enough" in lines


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_secret_is_shown(connected: Project, options: list[str]) -> None:
    token = connected.environment["MPT_API_TOKEN"] = "token-of-the-platform"
    write_script(
        connected,
        "import os; token = os.environ['MPT_API_TOKEN'];"
        " table.create({'type': token, token: 1}); raise ValueError(token)",
    )
    platform = MPTServer(token)
    platform.add_agreement(token)
    with platform:
        connected.environment |= platform.settings

        result = connected.run(*REHEARSAL, *options)

    assert result.exit_code == 0
    assert "create" in result.stdout
    assert token not in result.stdout + result.stderr


def test_what_services_hold_passes_for_no_line_of_ours(
    connected: Project, platform: MPTServer
) -> None:
    platform.add_agreement("AGR-3", name="\x1b[2J\nItems that failed (7):")
    write_script(connected, "agreements.update(agreement.id, {'name': 'fine\\x9b31m'})")

    stdout = connected.run(*REHEARSAL).stdout

    assert "Items that failed (7):" not in stdout.splitlines()
    assert not any(mark in stdout for mark in ("\x1b", "\x9b"))


# --- what is not guarded


def test_what_the_script_imports_that_could_write_is_named_before_the_first_item(
    connected: Project,
) -> None:
    write_script(connected, "self.log.warning('processed')")
    script = connected.migrations / f"1_{MIGRATION}.py"
    above = "import smtplib\nfrom requests import Session\nfrom mpt_api_client import RQLQuery\n"
    script.write_text(above + script.read_text())

    result = connected.run(*REHEARSAL)

    first, second, *_ = result.stderr.splitlines()
    assert first.endswith(
        "WARNING - Not guarded: requests, smtplib: what the script writes by that is real"
    )
    assert second.endswith("processed")


def test_a_migration_without_a_guarded_client_is_not_rehearsed(project: Project) -> None:
    migration = numbers(project)

    result = project.run(*REHEARSAL)

    assert result.exit_code == 1
    assert "Nothing would keep this migration from writing" in result.stderr
    assert "--unguarded" in result.stderr
    assert migration.processed == []


@pytest.mark.parametrize(
    ("arguments", "is_rehearsal"),
    [(DRY_RUN, True), (UNGUARDED, True), (("batch", MIGRATION), False)],
)
def test_a_migration_knows_whether_nothing_is_to_be_written(
    project: Project, arguments: tuple[str, ...], is_rehearsal: bool
) -> None:
    says = "def count(self):\n    self.log.warning('says %s', self.is_rehearsal)"
    numbers(
        project,
        total=1,
        methods=f"{says}\ndef describe(self, number):\n    self.count()\n    return '1'",
    )

    result = project.run(*arguments)

    assert f"says {is_rehearsal}" in result.stderr


def test_the_look_of_migrate_is_that_of_batch(project: Project) -> None:
    numbers(project)

    look = project.run("migrate", "--data", MIGRATION, "--dry-run")

    assert look == project.run(*DRY_RUN)


# --- usage


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        (["--only", "3", "--limit", "3"], "--only and --limit exclude each other"),
        (["--json"], "--json goes with --dry-run or --rehearse"),
        (
            ["--restart", "--retry-failed"],
            "--restart, --resume-anyway and --retry-failed exclude each other",
        ),
        (["--dry-run", "--retry-failed"], "--retry-failed and --dry-run exclude each other"),
        (["--rehearse", "--retry-failed"], "--retry-failed and --rehearse exclude each other"),
        (["--dry-run", "--unguarded"], "--unguarded goes with --rehearse"),
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
