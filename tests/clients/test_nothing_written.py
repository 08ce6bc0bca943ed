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


PLACES = [
    ("init", f"Helper().{UPDATE}"),
    ("items", f"self.{UPDATE}"),
    ("items", f"Helper().{CREATE}"),
    ("describe", f"self.{CREATE}"),
]


def test_a_dry_run_refuses_a_write_that_is_sent_as_the_script_is_loaded_and_names_it(
    project: Project, platform: MPTServer
) -> None:
    write_script(project, init=f"Helper().{UPDATE}")

    result = project.run(*DRY_RUN)

    assert written(platform) == []
    assert result.exit_code == 1
    assert f"PUT {platform.url}" in result.stderr
    assert "was refused: nothing may be written now" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "place", "write"),
    [
        *((DRY_RUN, *each) for each in PLACES[1:]),
        *((REHEARSAL, *each) for each in [*PLACES, ("process", f"Helper().{UPDATE}")]),
    ],
)
def test_a_write_is_answered_and_shown_wherever_it_is_sent(
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
    assert result.exit_code == 0
    method, path = (
        ("update: PUT", "/public/v1/commerce/agreements/AGR-1")
        if UPDATE in write
        else ("create: POST", f"/v0/{BASE}/{TABLE}")
    )
    assert f"{method} {path}\n" in result.stdout


def test_what_is_changed_beside_the_items_is_shown_apart(project: Project) -> None:
    write_script(project, items=f"self.{UPDATE}")

    lines = project.run(*REHEARSAL).stdout.splitlines()

    assert lines[lines.index("Beside the items:") :] == [
        "Beside the items:",
        "  update: PUT /public/v1/commerce/agreements/AGR-1",
        "    done: null → true",
        "Changes (1): 1 update",
        "Items that failed (0):",
    ]


@pytest.mark.parametrize("arguments", LOOKS)
def test_threads_of_the_script_write_nothing_either(
    project: Project, platform: MPTServer, arguments: tuple[str, ...]
) -> None:
    thread = "from concurrent.futures import ThreadPoolExecutor as Pool"
    write_script(
        project,
        items=f"{thread}\n        list(Pool(4).map(lambda _: self.{UPDATE}, range(20)))",
    )

    result = project.run(*arguments)

    assert written(platform) == []
    assert result.exit_code == 0


@pytest.mark.parametrize("arguments", LOOKS)
@pytest.mark.parametrize(
    "later",
    [
        "import atexit; atexit.register(write)",
        (
            "import threading; main = threading.main_thread();"
            " threading.Thread(target=lambda: (main.join(), write())).start()"
        ),
    ],
    ids=["at exit", "in a thread"],
)
def test_what_the_script_leaves_to_the_end_of_the_process_writes_nothing(
    project: Project, platform: MPTServer, arguments: tuple[str, ...], later: str
) -> None:
    write_script(
        project, items=f"write = lambda: (print('written'), self.{UPDATE})\n        {later}"
    )

    result = project.run(*arguments)

    assert "written" in result.stdout
    assert written(platform) == []


def test_a_refusal_that_the_script_swallows_is_listed(
    project: Project, platform: MPTServer
) -> None:
    swallowing = f"import contextlib\n        with contextlib.suppress(Exception): self.{UPDATE}"
    write_script(project, init=swallowing)

    result = project.run(*DRY_RUN)

    assert written(platform) == []
    assert "Writes that were refused (1):\n  PUT " in result.stdout


@pytest.mark.parametrize("arguments", LOOKS)
def test_nothing_is_written_when_the_scripts_of_a_plan_are_loaded(
    project: Project, platform: MPTServer, arguments: tuple[str, ...]
) -> None:
    write_script(project, init=f"self.{UPDATE}")

    project.run(*arguments)

    assert written(platform) == []


def test_a_read_that_airtable_takes_as_a_post_is_let_through(
    project: Project, server: AirtableServer
) -> None:
    # Too long for an address.
    formula = "LEFT({migration_id}, 16000) = " + f'"{"x" * 16000}"'
    table = f"self.airtable_client.table({BASE!r}, {TABLE!r})"
    write_script(project, process=f"{table}.all(formula={formula!r})")

    result = project.run(*REHEARSAL)

    assert "Changes (0): none\nItems that failed (0):" in result.stdout
    assert [request.path for request in server.requests("POST")] == [
        f"/v0/{BASE}/{TABLE}/listRecords"
    ] * 2


@pytest.mark.parametrize("arguments", LOOKS)
def test_a_post_that_the_class_says_is_a_read_is_let_through(
    project: Project, platform: MPTServer, arguments: tuple[str, ...]
) -> None:
    platform.answer(200, {"data": []}, method="POST", path="/agreements/search$", times=2)
    search = "self.mpt_client.http_client.request('post', '/public/v1/commerce/agreements/search')"
    write_script(project, items=f"self.log.warning({search}.content)")
    script = project.migrations / f"1_{MIGRATION}.py"
    script.write_text(
        script.read_text().replace("    def __init__", "    reads = ('/search',)\n    def __init__")
    )

    result = project.run(*arguments)

    assert result.exit_code == 0
    assert written(platform) == ["POST"]


def test_what_a_rehearsal_cannot_answer_is_refused_and_ends_no_other_item(
    project: Project, server: AirtableServer
) -> None:
    table = f"self.airtable_client.table({BASE!r}, {TABLE!r})"
    write_script(project, process=f"{table}.create_field('new', 'singleLineText')")

    result = project.run(*REHEARSAL)

    assert written(server) == []
    assert "Items that failed (0):\nWrites that were refused (2):\n  POST " in result.stdout
