"""That no failed item is lost, nor stands twice in the list: however many, whatever dies when."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.airtable_server import BASE, STATE_COLUMNS, TABLE, AirtableServer
from support.batches import MIGRATION, numbers
from support.project import HISTORY_FILE, Project, Result

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.migration import BatchDataMigration
from mpt_tool.process.signals import Stop
from mpt_tool.records import Attempt, FailedItem, FailedItems, MigrationRecord
from mpt_tool.redaction import make_redact
from mpt_tool.reporting import Silent
from mpt_tool.runner.context import Context
from mpt_tool.runner.prepare import Prepared, Step, begin_anew
from mpt_tool.runner.run import run
from mpt_tool.runner.work import BatchWork
from mpt_tool.storage.local import LocalRepository
from mpt_tool.storage.repository import Snapshot, failures_of
from mpt_tool.testing import MemoryRepository
from mpt_tool.testing.storage import ATTEMPT, FAILED, ORIGIN

MANY = 10_000
METHODS = """
def find(self, cursor):
    return cursor

def prepare(self):
    if Path('deadly').exists():
        import random, threading
        kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
        threading.Timer(random.uniform(0, 0.4), kill).start()
"""
# Fails until there is a file that says that it may not any more.
FAIL = "if not Path('mended').exists(): raise ValueError(f'no user of {number}')"
HISTORY_TABLE = "Migrations History"
CHECKPOINT_COLUMN = {"name": "checkpoint", "type": "multilineText"}
NEW_COLUMNS = ("target", "since", "outcomes", "first", "failed")


def failing(project: Project, total: int, body: str = FAIL, **attributes: object) -> None:
    """Write a batch migration whose items fail, which is collected."""
    most: dict[str, Any] = {"on_error": "'collect'", "max_failures": total, **attributes}
    numbers(project, body, total=total, methods=METHODS, **most)


def failures(project: Project) -> list[Any]:
    """Return the cursors of what the command lists; each has the error of its own."""
    listed = project.run("failures", MIGRATION, "--json").json()["failures"]
    for each in listed:
        assert each["error"] == f"no user of {each['cursor']}"
    return [each["cursor"] for each in listed]


def retry(project: Project, *options: str) -> Result:
    return project.run("batch", MIGRATION, "--retry-failed", *options)


# --- many


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 8])
def test_ten_thousand_failed_items_are_kept_in_files_and_retried(
    project: Project, workers: int
) -> None:
    failing(project, MANY, workers=workers, batch_size=1000)
    result = project.run("migrate", "--data")

    assert f"Migration numbers failed for {MANY:,} of {MANY:,} items" in result.stderr
    assert "--retry-failed" in result.stderr
    assert project.state_file.stat().st_size < 5_000
    assert failures(project) == list(range(1, MANY + 1))

    project.file("mended", "")
    assert retry(project, "--workers", "8").exit_code == 0
    assert "checkpoint" not in project.state()[MIGRATION]


@pytest.mark.slow
def test_ten_thousand_failed_items_are_kept_on_airtable_and_retried(project: Project) -> None:
    failing(project, MANY, workers=8, checkpoint_seconds=0.5)
    with AirtableServer() as server:
        server.add_base(BASE)
        project.environment |= server.settings
        assert project.run("migrate", "--init").exit_code == 0

        result = project.run("migrate", "--data")

        assert f"Migration numbers failed for {MANY:,} of {MANY:,} items" in result.stderr
        cells = [cell for record in server.records().values() for cell in record.values()]
        assert max(len(str(cell)) for cell in cells) < 5_000
        # A row for each part that fits into a cell, of each checkpoint.
        rows = server.rows(BASE, HISTORY_TABLE)
        assert len(rows) < 100
        assert max(len(str(cell)) for row in rows for cell in row["fields"].values()) <= 100_000
        assert failures(project) == list(range(1, MANY + 1))

        project.file("mended", "")
        assert retry(project).exit_code == 0


def test_the_history_is_read_past_ten_thousand_failed_items_in_flat_memory(
    tmp_path: Path,
) -> None:
    repository = LocalRepository(tmp_path)
    failed = tuple(FailedItem(cursor=number, error="x" * 1000) for number in range(100))
    repository.append(ATTEMPT)
    for number in range(0, MANY, 100):
        update = {"first": number, "failed": failed}
        repository.append(FAILED.model_copy(update=update))

    tracemalloc.start()
    try:
        attempts = list(repository.attempts())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert attempts == [ATTEMPT]
    assert (tmp_path / HISTORY_FILE).stat().st_size > 10_000_000
    assert most < 2_000_000


@pytest.mark.slow
def test_the_members_of_a_group_are_in_the_error_that_is_kept(project: Project) -> None:
    body = "raise ExceptionGroup('two', [ValueError('no user'), KeyError('name')])"
    failing(project, 1, body)
    project.run("migrate", "--data")

    [failure] = project.run("failures", MIGRATION, "--json").json()["failures"]

    assert failure["error"] == "two (2 sub-exceptions): no user; KeyError: 'name'"


# --- where there is no place for them


@pytest.mark.slow
def test_a_history_table_of_an_earlier_version_ends_the_run_before_one_is_lost(
    project: Project,
) -> None:
    failing(project, 3)
    with AirtableServer() as server:
        server.add_base(BASE)
        project.environment |= server.settings
        assert project.run("migrate", "--init").exit_code == 0
        for column in NEW_COLUMNS:
            server.remove_column(BASE, HISTORY_TABLE, column)

        ended = project.run("migrate", "--data")
        assert ended.exit_code == 1
        assert f"Airtable table {HISTORY_TABLE} has no column" in ended.stderr
        assert "run: mpt-tool migrate --init" in ended.stderr

        assert project.run("migrate", "--init").exit_code == 0
        assert "failed for 3 of 3 items" in project.run("migrate", "--data").stderr
        assert failures(project) == [1, 2, 3]


@pytest.mark.slow
def test_without_a_history_table_it_is_said_once_that_failed_items_are_not_kept(
    project: Project,
) -> None:
    failing(project, 30, checkpoint_seconds=0)
    with AirtableServer() as server:
        server.add_table(BASE, TABLE, [*STATE_COLUMNS, CHECKPOINT_COLUMN])
        project.environment |= server.settings

        result = project.run("migrate", "--data")
        retried = retry(project)

    assert result.stderr.count("Which items of numbers fail is not kept") == 1
    assert "batch numbers --restart, as not all of them were kept" in result.stderr
    assert retried.exit_code == 1
    assert "0 of 30 items that failed were kept: begin anew by mpt-tool batch" in retried.stderr


@pytest.mark.slow
@pytest.mark.parametrize("output", [[], ["--json"], ["--csv"]])
def test_failed_items_of_which_the_history_was_lost_are_missed_aloud(
    project: Project, output: list[str]
) -> None:
    failing(project, 3)
    project.run("migrate", "--data")
    (project.root / HISTORY_FILE).unlink()

    result = project.run("failures", MIGRATION, *output)

    assert "0 of 3 items of numbers were kept" in result.stderr
    assert "mpt-tool batch numbers --restart" in result.stderr


# --- killed


class KilledError(BaseException):
    """Stands for SIGKILL: nothing is done after it."""


class Doomed(MemoryRepository):
    """A store that is killed, with all who use it, in one of its writes.

    Args:
        store: what is written to until then.
        writes: how many writes it survives; None for all.
        is_written: whether the one in which it is killed has its effect.
    """

    def __init__(self, store: MemoryRepository, writes: int | None, *, is_written: bool) -> None:
        super().__init__()
        self._store = store
        self._left = writes
        self._is_written = is_written

    def load(self) -> Snapshot:
        return self._store.load()

    def attempts(self) -> Iterator[Attempt]:
        return self._store.attempts()

    def failed_items(self, migration_id: str) -> Iterator[FailedItems]:
        return self._store.failed_items(migration_id)

    def save(self, record: MigrationRecord) -> None:
        self._write(lambda: self._store.save(record))

    def append(self, entry: Attempt | FailedItems) -> None:
        self._write(lambda: self._store.append(entry))

    def _write(self, write: Callable[[], None]) -> None:
        if self._left == 0:
            if self._is_written:
                write()
            self._is_written = False
            raise KilledError
        write()
        if self._left is not None:
            self._left -= 1


@dataclass
class World:
    """What the author's code finds and changes, whatever becomes of the run.

    Args:
        total: how many items there are.
        failing: those that fail.
        made: what was made of each that has a durable step, as often as it was.
    """

    total: int
    failing: set[int]
    made: list[int] = field(default_factory=list)
    done: set[int] = field(default_factory=set)


def migration_in(world: World, workers: int, batch_size: int) -> BatchDataMigration[int]:
    size, many = batch_size, workers

    class Migration(BatchDataMigration[int]):
        workers = many
        batch_size = size
        checkpoint_seconds = 1000
        on_error = "collect"

        def items(self, cursor: int | None) -> Iterable[int]:
            return range((cursor or 0) + 1, world.total + 1)

        def find(self, cursor: int) -> int:
            return cursor

        def process(self, item: int) -> None:
            if item % 2:
                made = self.once("thing", lambda: self.make(item), lambda: self.made(item))
                assert made == item
            if item in world.failing:
                raise ValueError(f"no user of {item}")
            world.done.add(item)

        def make(self, item: int) -> int:
            world.made.append(item)
            return item

        def made(self, item: int) -> int | None:
            return item if item in world.made else None

    return Migration()


def drive(
    store: Doomed,
    migration: BatchDataMigration[int],
    run_id: str,
    *,
    retries: bool = False,
    restarts: bool = False,
) -> bool:
    """Run the migration once, unless it is applied; return whether it was killed."""
    record = store.load().records.get(MIGRATION)
    record = record or MigrationRecord.new(MIGRATION, 1, MigrationTypeEnum.DATA)
    if record.applied_at:
        return False
    checkpoint = record.checkpoint
    retries = retries and checkpoint is not None and checkpoint.failed > 0
    checkpoint = begin_anew(checkpoint) if restarts else checkpoint
    work = BatchWork(migration, checkpoint, None, Tally.since(checkpoint), retries_failed=retries)
    step = Step(record, (), (), {"": work}, Path("1_numbers.py"), None)
    context = Context(
        ORIGIN.model_copy(update={"run_id": run_id}),
        lambda: datetime.now(UTC),
        make_redact([]),
        Stop(lambda _: None),
        dict.fromkeys(MigrationTypeEnum, 0.0),
        Silent(),
    )
    try:
        run(Prepared([step], []), store, context)
    except KilledError:
        return True
    return False


def listed(store: MemoryRepository) -> list[Any]:
    """Return the failed items that the store has of the migration; it counts as many."""
    record = store.load().records.get(MIGRATION)
    if record is None or record.checkpoint is None:
        return []
    failed = failures_of(store, MIGRATION, "", record.checkpoint)
    assert len(failed) == record.checkpoint.failed
    return [each.cursor for each in failed]


KILLS = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=6)
ITEMS = st.sets(st.integers(1, 12))


@given(
    total=st.integers(1, 12),
    failing=ITEMS,
    failing_again=ITEMS,
    workers=st.sampled_from([1, 3]),
    batch_size=st.integers(1, 4),
    walk_kills=KILLS,
    retry_kills=KILLS,
    restart_kills=KILLS,
)
def test_wherever_runs_are_killed_no_failed_item_is_lost_or_stands_twice(
    total: int,
    failing: set[int],
    failing_again: set[int],
    workers: int,
    batch_size: int,
    walk_kills: Sequence[tuple[int, bool]],
    retry_kills: Sequence[tuple[int, bool]],
    restart_kills: Sequence[tuple[int, bool]],
) -> None:
    store = MemoryRepository()
    store.initialize()
    every = set(range(1, total + 1))
    world = World(total, failing & every)
    migration = migration_in(world, workers, batch_size)
    runs = count()

    def drive_through(kills: Sequence[tuple[int, bool]], **how: bool) -> Iterator[None]:
        for writes, is_written in (*kills, (None, False)):
            doomed = Doomed(store, writes, is_written=is_written)
            if not drive(doomed, migration, f"run-{next(runs)}", **how):
                return
            yield

    for _ in drive_through(walk_kills):
        assert set(listed(store)) <= world.failing
        assert len(set(listed(store))) == len(listed(store))
    assert listed(store) == sorted(world.failing)
    assert world.done == every - world.failing

    world.failing &= failing_again
    for _ in drive_through(retry_kills, retries=True):
        assert world.failing <= set(listed(store))
        assert len(set(listed(store))) == len(listed(store))
    assert sorted(listed(store)) == sorted(world.failing)
    assert world.done == every - world.failing
    assert sorted(world.made) == [item for item in every if item % 2]

    if world.failing:
        for _ in drive_through(restart_kills, restarts=True):
            assert len(set(listed(store))) == len(listed(store))
        assert sorted(listed(store)) == sorted(world.failing)
        # What was made of the others is made anew, too.
        of_failing = [item for item in world.made if item in world.failing]
        assert sorted(of_failing) == [item for item in sorted(world.failing) if item % 2]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 4])
def test_runs_that_are_killed_at_random_lose_no_failed_item(project: Project, workers: int) -> None:
    total = 400
    slow = "time.sleep(0.001)\nif number % 3 == 0 and not Path('mended').exists():"
    slow += "\n    raise ValueError(f'no user of {number}')"
    failing(project, total, slow, workers=workers, batch_size=20)

    def run_through(*command: str, end: int) -> None:
        deadly = project.file("deadly", "")
        killed = [project.run(*command).exit_code < 0 for _ in range(5)]
        assert any(killed)
        deadly.unlink()
        assert project.run(*command).exit_code == end

    run_through("migrate", "--data", end=1)
    expected = [number for number in range(1, total + 1) if number % 3 == 0]
    assert failures(project) == expected

    # All fail again, until they are mended.
    run_through("batch", MIGRATION, "--retry-failed", end=1)
    assert sorted(failures(project)) == expected
    project.file("mended", "")
    assert retry(project).exit_code == 0
