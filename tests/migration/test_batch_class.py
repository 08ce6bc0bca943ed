"""What a class that derives from `BatchDataMigration` may look like, and a scaffolded one."""

import pytest
from support.batches import ASYNC, MIGRATION, SYNC, TOTAL, numbers
from support.mpt_server import MPTServer
from support.project import Project

pytestmark = pytest.mark.slow

ALL = list(range(1, TOTAL + 1))
BOTH = """\
from mpt_tool.migration import BatchDataMigration, DataBaseMigration

class Base(DataBaseMigration):
    def run(self):
        print("it ran")

class Migration({bases}):
    {run}

    def items(self, cursor):
        return []

    def process(self, item):
        pass
"""


@pytest.mark.parametrize(
    ("bases", "run"),
    [
        ("BatchDataMigration", "def run(self): print('it ran')"),
        ("Base, BatchDataMigration", ""),
        ("BatchDataMigration, Base", ""),
    ],
    ids=["defined", "inherited", "inherited but hidden"],
)
def test_a_class_with_run_and_items_is_an_error_that_says_so(
    project: Project, bases: str, run: str
) -> None:
    path = project.file("migrations/1_both.py", BOTH.format(bases=bases, run=run))

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert result.stderr.endswith(
        f"Error running data command: {path.relative_to(project.root)} cannot be loaded:"
        " Migration defines run() and is driven by items() and process(): remove run(), or derive"
        " from another base\nAborted.\n"
    )
    assert "it ran" not in result.stdout
    assert not project.state_file.exists()


@pytest.mark.parametrize("method", ["cursor(self, item)", "describe(self, item)"])
def test_a_method_that_cannot_be_asynchronous_is_an_error_that_says_so(
    project: Project, method: str
) -> None:
    numbers(project, methods=f"async def {method}: return 1")

    result = project.run("migrate", "--data")

    name = method.partition("(")[0]
    assert result.exit_code == 1
    assert f"{name} of Migration is asynchronous: leave out async" in result.stderr


def test_a_coroutine_of_items_is_awaited(project: Project) -> None:
    methods = "async def items(self, cursor): return [1, 2]"
    migration = numbers(project, methods=methods)

    assert project.run("migrate", "--data").exit_code == 0
    assert migration.processed == [1, 2]


def test_items_may_be_any_sequence(project: Project) -> None:
    items = "def items(self, cursor): return type('Two', (), {'__getitem__': [1, 2].__getitem__})()"
    migration = numbers(project, methods=items)

    assert project.run("migrate", "--data").exit_code == 0
    assert migration.processed == [1, 2]


def test_items_that_are_none_are_an_error_that_says_so(project: Project) -> None:
    numbers(project, methods="def items(self, cursor): pass")

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "items(cursor) returned None: return the items, or yield them" in result.stderr


def test_items_mean_nothing_to_a_migration_that_runs(project: Project) -> None:
    project.file("migrations/1_plain.py", BOTH.format(bases="Base", run=""))

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "it ran" in result.stdout


@pytest.mark.parametrize(
    ("method", "mistake"),
    [
        ("items", "Migration has no items: define source() or items()"),
        ("process", "Migration handles no item: define process() or process_many()"),
    ],
)
def test_both_methods_are_needed(project: Project, method: str, mistake: str) -> None:
    script = BOTH.format(bases="BatchDataMigration", run="").replace(f"def {method}", "def other")
    project.file("migrations/1_half.py", script)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert mistake in result.stderr


def test_two_methods_that_handle_items_are_an_error_that_says_which_is_to_go(
    project: Project,
) -> None:
    text = BOTH.format(bases="BatchDataMigration", run="def process_many(self, items): pass")
    project.file("migrations/1_twice.py", text)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "Migration defines process() and process_many(), and only one is called" in result.stderr
    assert "remove process()" in result.stderr


def test_many_without_a_method_that_takes_many_is_an_error_that_says_so(project: Project) -> None:
    migration = numbers(project, many=10)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "Migration sets many, which is for process_many(): define that" in result.stderr
    assert migration.processed == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("on_error", ["stop", "collect"])
@pytest.mark.parametrize("process", [SYNC, ASYNC])
def test_a_process_that_yields_fails_as_nothing_of_it_would_run(
    project: Project, process: str, on_error: str, workers: int
) -> None:
    migration = numbers(project, "yield", process=process, workers=workers, on_error=repr(on_error))

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    message = f"{MIGRATION} failed: 1: process() holds a yield, so nothing of it was run"
    assert message in result.stderr
    assert "TypeError" not in result.stderr
    assert migration.processed == []


@pytest.mark.parametrize("workers", [1, 3])
def test_what_a_plain_process_returns_is_awaited(project: Project, workers: int) -> None:
    methods = """
    process_later = process

    def process(self, number):
        return self.process_later(number)
    """
    migration = numbers(project, process=ASYNC, methods=methods, workers=workers)

    result = project.run("migrate", "--data")

    assert (result.exit_code, sorted(migration.processed)) == (0, ALL)
    assert "never awaited" not in result.stderr


def test_asynchronous_items_and_process_share_one_event_loop(project: Project) -> None:
    methods = """
    async def items(self, cursor):
        self.queue = asyncio.Queue()
        for number in range(1, 4):
            await self.queue.put(number)
            yield number
    """
    body = "assert await asyncio.wait_for(self.queue.get(), 10) == number"
    migration = numbers(project, body, process=ASYNC, methods=methods)

    assert project.run("migrate", "--data").exit_code == 0

    assert migration.processed == [1, 2, 3]


@pytest.mark.parametrize(
    ("item", "cursor"),
    [("{'id': 'AGR-1'}", "AGR-1"), ("types.SimpleNamespace(id='AGR-1')", "AGR-1"), ("7", 7)],
)
def test_the_cursor_is_the_id_of_an_item_or_what_has_none_itself(
    project: Project, item: str, cursor: object
) -> None:
    methods = f"""
    def items(self, cursor):
        import types
        yield {item}
        raise ValueError("no more")
    """
    migration = numbers(project, "number = 0", methods=methods)

    project.run("migrate", "--data")

    assert migration.record["checkpoint"]["cursor"] == cursor


def test_a_batch_migration_is_known_for_a_data_migration_without_an_import(
    project: Project,
) -> None:
    numbers(project, methods="Path('imported').touch()")

    [listed] = project.run("migrate", "--list", "--json").json()["migrations"]

    assert (listed["migration_id"], listed["type"]) == (MIGRATION, "data")
    assert not (project.root / "imported").exists()


def test_a_batch_schema_migration_is_one_of_the_schema_that_has_items(project: Project) -> None:
    migration = numbers(project, "assert number < 3 or Path('ok').exists()")
    script = migration.path.read_text()
    migration.path.write_text(script.replace("BatchDataMigration", "BatchSchemaMigration"))

    [listed] = project.run("migrate", "--list", "--json").json()["migrations"]
    data = project.run("migrate", "--data")
    failed = project.run("migrate", "--schema")
    cursor = migration.cursor
    project.file("ok", "")
    resumed = project.run("migrate", "--schema")

    assert (listed["type"], migration.record["type"]) == ("schema", "schema")
    assert (data.exit_code, failed.exit_code, cursor) == (0, 1, 2)
    assert (resumed.exit_code, migration.processed) == (0, ALL)


def test_a_scaffolded_batch_migration_runs_as_it_stands(project: Project) -> None:
    created = project.run("migrate", "--new-data", "sync", "--batch")

    assert created.exit_code == 0
    assert project.run("migrate", "--check").exit_code == 0
    with MPTServer() as server:
        for number in range(3):
            server.add_agreement(f"AGR-{number}")
        project.environment = server.settings
        ran = project.run("migrate", "--data")
    assert ran.exit_code == 0, ran.stderr
    assert [attempt["counts"]["processed"] for attempt in project.attempts()] == [3]


@pytest.mark.parametrize(
    ("source", "told"),
    [("[1, 2]", "[1, 2]"), ("None", "None"), ("iter('')", "<str_ascii_iterator")],
)
def test_what_is_no_source_is_an_error_that_says_what_is(
    project: Project, source: str, told: str
) -> None:
    project.file(
        "migrations/1_numbers.py",
        f"""\
        from mpt_tool.migration import BatchDataMigration

        class Migration(BatchDataMigration):
            def source(self):
                return {source}

            def process(self, item):
                pass
        """,
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert f"Migration numbers failed: source() returned {told}" in result.stderr
    assert "define items(cursor)" in result.stderr


@pytest.mark.parametrize(
    ("members", "mistake"),
    [
        ("many = 10", "Migration sets many, which is for process_many(): define that"),
        ("async def source(self): ...", "source of Migration is asynchronous: leave out async"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_says_so(
    project: Project, members: str, mistake: str
) -> None:
    numbers(project, methods=members)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert mistake in result.stderr
    assert not project.state_file.exists()
