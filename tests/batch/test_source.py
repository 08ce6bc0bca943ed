"""Where the items come from: `prepare`, `source`, `each_of`."""

from collections.abc import Iterator

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.batches import MIGRATION, numbers
from support.mpt_server import MPTServer
from support.project import Project

pytestmark = pytest.mark.slow

SUBSCRIPTIONS = "commerce/subscriptions"
ACTIVE = ["AGR-1", "AGR-2", "AGR-4"]
SCRIPT = """\
from mpt_api_client import RQLQuery
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import AirtableAPIClientMixin, MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin, AirtableAPIClientMixin):
    {above}

    def source(self):
        return {source}

    {process} process(self, item):
        with open("processed.txt", "a") as file:
            file.write({note} + "\\n")
        {body}
"""
SELECTED = 'commerce.agreements.filter(RQLQuery(status="Active")).select("+audit")'


@pytest.fixture
def platform(project: Project) -> Iterator[MPTServer]:
    """A platform for the project with three active agreements and one that is not."""
    with MPTServer() as server:
        for number in (4, 3, 2, 1):
            status = "Draft" if number == 3 else "Active"
            server.add_agreement(f"AGR-{number}", status=status, audit=f"audit-{number}")
        project.environment = server.settings
        yield server


def script(
    project: Project,
    source: str,
    note: str = "f'{item.id} {item.audit}'",
    process: str = "def",
    body: str = "",
    above: str = "",
) -> None:
    text = SCRIPT.format(source=source, note=note, process=process, body=body, above=above)
    project.file(f"migrations/1_{MIGRATION}.py", text)


def processed(project: Project) -> list[str]:
    """Return what was processed, in that order."""
    path = project.root / "processed.txt"
    return path.read_text().splitlines() if path.exists() else []


CLIENTS = pytest.mark.parametrize(
    ("client", "process"), [("mpt_client", "def"), ("async_mpt_client", "async def")]
)

# --- prepare

NOTE_CALLS = """
def note(self, what):
    import threading
    place = "" if threading.current_thread() is threading.main_thread() else " elsewhere"
    with open("calls.txt", "a") as file:
        file.write(f"{what}{place}\\n")

def prepare(self):
    self.note("prepare")
    self.prepared = True

def count(self):
    self.note("count")
    return 2

def items(self, cursor):
    self.note("items")
    return [number for number in (1, 2) if number > (cursor or 0)]

def find(self, cursor):
    self.note("find")
    return cursor
"""
FAIL_ONCE = "assert self.prepared and (number != 2 or Path('mended').exists())"


def calls(project: Project, *arguments: str) -> list[str]:
    """Return which methods a command calls, in their order."""
    path = project.root / "calls.txt"
    path.unlink(missing_ok=True)
    project.run(*arguments)
    return path.read_text().splitlines()


@pytest.mark.parametrize("workers", [1, 2])
def test_prepare_comes_once_a_run_first_and_in_the_main_thread(
    project: Project, workers: int
) -> None:
    numbers(project, FAIL_ONCE, methods=NOTE_CALLS, workers=workers, on_error="'collect'")
    found = "find" if workers == 1 else "find elsewhere"

    assert calls(project, "batch", MIGRATION, "--dry-run") == ["prepare", "items"]
    assert calls(project, "batch", MIGRATION, "--rehearse", "--unguarded") == ["prepare", "items"]
    assert calls(project, "batch", MIGRATION, "--only", "1") == ["prepare", found]
    assert calls(project, "migrate", "--data") == ["prepare", "count", "items"]
    project.file("mended", "")
    assert calls(project, "batch", MIGRATION, "--retry-failed") == [
        *("prepare", "count", found, "items")
    ]
    assert project.state()[MIGRATION]["applied_at"]


def test_prepare_may_be_asynchronous(project: Project) -> None:
    methods = "async def prepare(self): self.ready = await asyncio.sleep(0, True)"
    migration = numbers(project, "assert self.ready", methods=methods, total=2)

    assert project.run("migrate", "--data").exit_code == 0
    assert migration.processed == [1, 2]


def test_a_preparation_that_fails_is_a_failure_before_the_first_item(project: Project) -> None:
    methods = "def prepare(self): raise LookupError('no such product')"
    migration = numbers(project, methods=methods)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f"Migration {MIGRATION} failed: no such product\n" in result.stderr
    assert migration.processed == []


@pytest.mark.parametrize(
    "options", [["migrate", "--data"], ["batch", MIGRATION, "--rehearse", "--unguarded"]]
)
def test_a_preparation_that_yields_fails_as_nothing_of_it_would_run(
    project: Project, options: list[str]
) -> None:
    migration = numbers(project, methods="def prepare(self): yield")

    result = project.run(*options)

    assert result.exit_code == 1
    assert "prepare() holds a yield, so nothing of it was run" in result.stderr
    assert migration.processed == []


# --- source


@CLIENTS
def test_what_a_source_selects_and_filters_holds_for_items_count_and_find(
    project: Project, platform: MPTServer, client: str, process: str
) -> None:
    script(project, f"self.{client}.{SELECTED}", process=process)

    found = project.run("batch", MIGRATION, "--only", "AGR-4")
    left_out = project.run("batch", MIGRATION, "--only", "AGR-3")
    ran = project.run("migrate", "--data")

    assert (found.exit_code, ran.exit_code) == (0, 0), ran.stderr
    assert f"{MIGRATION} failed for 1 of 1 items (AGR-3: find(cursor) found" in left_out.stderr
    all_of_them = [f"{each} audit-{each[-1]}" for each in ACTIVE]
    assert processed(project) == [all_of_them[-1], *all_of_them]
    assert project.attempts()[-1]["counts"] == {"processed": 3, "failed": 0, "total": 3}


def test_a_table_is_a_source(project: Project, server: AirtableServer) -> None:
    ids = sorted(server.add_row(BASE, TABLE, {"migration_id": each}) for each in "ab")
    project.environment = {**server.settings, "STORAGE_TYPE": "local"}
    script(project, f"self.airtable_client.table({BASE!r}, {TABLE!r})", "item['id']")

    found = project.run("batch", MIGRATION, "--only", ids[1])
    ran = project.run("migrate", "--data")

    assert (found.exit_code, ran.exit_code) == (0, 0), ran.stderr
    assert processed(project) == [ids[1], *ids]
    assert project.attempts()[-1]["counts"]["total"] == 2


@CLIENTS
def test_a_failed_item_of_a_source_is_found_and_retried(
    project: Project, platform: MPTServer, client: str, process: str
) -> None:
    body = "assert item.id != 'AGR-2' or __import__('os').environ.get('READY')"
    attributes = "workers, on_error = 3, 'collect'"
    script(project, f"self.{client}.{SELECTED}", process=process, body=body, above=attributes)

    failed = project.run("migrate", "--data")
    retried = project.run("batch", MIGRATION, "--retry-failed", env={"READY": "1"})

    assert (failed.exit_code, retried.exit_code) == (1, 0), retried.stderr
    assert processed(project)[-1] == "AGR-2 audit-2"


def test_an_order_of_a_source_is_refused_with_what_to_take_out(
    project: Project, platform: MPTServer
) -> None:
    script(project, "self.mpt_client.commerce.agreements.order_by('-audit.created.at')")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "take .order_by('-audit.created.at') out" in result.stderr
    assert processed(project) == []


def test_another_count_at_the_end_is_warned_of(project: Project, platform: MPTServer) -> None:
    update = "self.mpt_client.commerce.agreements.update(item.id, {'status': 'Terminated'})"
    script(project, f"self.mpt_client.{SELECTED}", body=f"if item.id == 'AGR-2': {update}")

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert f"WARNING - {MIGRATION} handled 3 items, and its source has 2 items now" in result.stderr


def test_a_count_that_is_refused_is_a_warning_alone(project: Project, platform: MPTServer) -> None:
    script(project, f"self.mpt_client.{SELECTED}")
    platform.answer(400, {"title": "Bad Request"}, method="GET", path="agreements", times=1)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert "WARNING - How many items there are is not known: count() failed: " in result.stderr
    assert len(processed(project)) == 3


# --- each_of


@pytest.mark.parametrize("client", ["mpt_client", "async_mpt_client"])
def test_each_of_goes_on_in_the_middle_of_any_parent(
    project: Project, platform: MPTServer, client: str
) -> None:
    pairs = [("AGR-1", "SUB-5"), ("AGR-1", "SUB-7"), ("AGR-4", "SUB-1"), ("AGR-4", "SUB-9")]
    for agreement, subscription in pairs:
        platform.add(SUBSCRIPTIONS, subscription, agreement={"id": agreement})
    methods = f"""
    @property
    def commerce(self):
        return self.{client}.commerce

    def items(self, cursor):
        return self.each_of(self.commerce.agreements, self.subscriptions, after=cursor)

    def find(self, cursor):
        return self.find_of(self.commerce.agreements, self.subscriptions, cursor)

    def subscriptions(self, agreement):
        from mpt_api_client import RQLQuery
        return self.commerce.subscriptions.filter(RQLQuery(agreement__id=agreement.id))

    def process(self, pair):
        with open("processed.txt", "a") as file:
            file.write(f"{{pair.parent.id}} {{pair.item.id}}\\n")
    """
    migration = numbers(project, methods=methods)
    text = migration.path.read_text().replace("(BatchDataMigration)", "(BatchDataMigration, Mixin)")
    mixin = "from mpt_tool.migration.mixins import MPTAPIClientMixin as Mixin\n"
    migration.path.write_text(mixin + text)

    only = project.run("batch", MIGRATION, "--only", '["AGR-4", "SUB-1"]')
    codes, cursors = [only.exit_code], []
    for _ in pairs:
        codes.append(project.run("batch", MIGRATION, "--limit", "1").exit_code)
        cursors.append(project.state()[MIGRATION].get("checkpoint", {}).get("cursor"))

    assert codes == [0, 75, 75, 75, 0]
    assert cursors == [*map(list, pairs[:3]), None]
    assert processed(project) == ["AGR-4 SUB-1", *(" ".join(pair) for pair in pairs)]
