"""What `once` promises of items that failed: their steps are in the history with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from support.airtable_server import BASE, STATE_COLUMNS, TABLE, AirtableServer
from support.batches import numbers
from support.project import Project, Result

pytestmark = pytest.mark.slow

MIGRATION = "numbers"
# Makes a thing of each item, which then fails until there is a file that says it may not any more.
BODY = """
find = (lambda: self.made(number)) if self.seeks else None
thing = self.once('thing', lambda: self.make(number), find)
assert thing == self.thing(number)
if number in self.failing and not Path('mended').exists():
    raise ValueError(f'no user of {number}')
"""
METHODS = """
def find(self, cursor):
    return cursor

def make(self, number):
    with open('made.txt', 'a') as file:
        file.write(f"{self.target}{number}\\n")
    return self.thing(number)

def made(self, number):
    made = Path('made.txt')
    is_there = made.exists() and str(number) in made.read_text().split()
    return self.thing(number) if is_there else None

def thing(self, number):
    return {"of": number, "text": "x" * self.size}
"""
# The run is killed where the failed items are in the history, and the state does not count them
# yet; or just before that.
KILL = """
from mpt_tool.storage.local import LocalRepository
def append(self, entry, append=LocalRepository.append):
    if entry.document().get("failed") and Path('deadly').exists():
        Path('deadly').unlink()
        {before}
        os.kill(os.getpid(), signal.SIGKILL)
    append(self, entry)
LocalRepository.append = append
"""
CHECKPOINT_COLUMN = {"name": "checkpoint", "type": "multilineText"}


def failing(
    project: Project, *failing: int, total: int = 5, size: int = 1, **attributes: object
) -> None:
    """Write a batch migration with a step an item, of which these fail."""
    usual: dict[str, Any] = {"on_error": "'collect'", "seeks": False}
    values = usual | {"failing": failing, "size": size, **attributes}
    numbers(project, BODY, total=total, methods=METHODS, **values)


def run(project: Project) -> Result:
    return project.run("migrate", "--data")


def batch(project: Project, *options: str) -> Result:
    return project.run("batch", MIGRATION, *options)


def made(project: Project) -> list[str]:
    return (project.root / "made.txt").read_text().split()


@contextmanager
def airtable(project: Project) -> Iterator[AirtableServer]:
    """Let the project keep its state on Airtable."""
    with AirtableServer() as server:
        server.add_base(BASE)
        project.environment |= server.settings
        assert project.run("migrate", "--init").exit_code == 0
        yield server


def test_steps_of_failed_items_do_not_fill_the_one_cell_of_the_state_on_airtable(
    project: Project,
) -> None:
    failing(project, 1, 2, 3, 4, total=4, size=30_000)
    with airtable(project) as server:
        assert "failed for 4 of 4 items" in run(project).stderr
        [record] = server.records().values()
        assert len(record["checkpoint"]) < 1_000

        assert "failed for 4 of 4 items" in batch(project, "--restart").stderr
        project.file("mended", "")
        assert batch(project, "--retry-failed").exit_code == 0

    assert made(project) == list("1234")


@pytest.mark.parametrize("workers", [1, 4])
def test_what_begins_anew_makes_nothing_again_of_items_that_failed(
    project: Project, workers: int
) -> None:
    failing(project, 2, 4, workers=workers)
    assert run(project).exit_code == 1

    for _ in range(2):
        assert "failed for 2 of 5 items" in batch(project, "--restart").stderr
    project.file("mended", "")
    assert batch(project, "--restart").exit_code == 0

    # Several workers make them in any order.
    assert sorted(item for item in made(project) if item in "24") == ["2", "4"]


def test_a_failed_item_that_is_handled_out_of_its_turn_makes_nothing_again(
    project: Project,
) -> None:
    failing(project, 2, 4)
    assert run(project).exit_code == 1
    project.file("mended", "")

    assert batch(project, "--only", "2").exit_code == 0
    assert batch(project, "--retry-failed").exit_code == 0

    assert made(project) == list("12345")


def test_each_target_has_the_steps_of_its_own_failed_items(project: Project) -> None:
    failing(project, 2, targets=("A", "B"))
    assert run(project).exit_code == 1
    project.file("mended", "")

    assert batch(project, "--retry-failed").exit_code == 0

    assert made(project) == [f"{target}{number}" for target in "AB" for number in range(1, 6)]


@pytest.mark.parametrize("before", ["pass", "append(self, entry)"], ids=["before", "after"])
@pytest.mark.parametrize("workers", [1, 4])
def test_killed_where_failed_items_are_kept_no_run_makes_again_what_was_made(
    project: Project, before: str, workers: int
) -> None:
    failing(project, 1, 3, workers=workers, batch_size=2, seeks=workers > 1)
    script = project.migrations / f"1_{MIGRATION}.py"
    script.write_text(script.read_text() + KILL.format(before=before))

    for command in (["migrate", "--data"], ["batch", MIGRATION, "--retry-failed"]):
        project.file("deadly", "")
        assert project.run(*command).exit_code < 0
        assert "failed for 2 of 5 items" in project.run(*command).stderr
    project.file("mended", "")
    assert batch(project, "--retry-failed").exit_code == 0

    assert sorted(made(project)) == list("12345")


def test_where_failed_items_have_no_place_a_run_ends_before_it_forgets_what_was_made(
    project: Project,
) -> None:
    failing(project, 2, total=3)
    with AirtableServer() as server:
        server.add_table(BASE, TABLE, [*STATE_COLUMNS, CHECKPOINT_COLUMN])
        project.environment |= server.settings

        ended = run(project)
        assert ended.exit_code == 1
        assert "What once() made for failed items of numbers cannot be kept" in ended.stderr
        assert "mpt-tool migrate --init" in ended.stderr

        assert project.run("migrate", "--init").exit_code == 0
        assert run(project).exit_code == 1
        project.file("mended", "")
        assert batch(project, "--retry-failed").exit_code == 0

    assert made(project) == list("123")


def test_steps_of_failed_items_are_no_part_of_what_is_listed(project: Project) -> None:
    failing(project, 2)
    assert run(project).exit_code == 1

    [failure] = project.run("failures", MIGRATION, "--json").json()["failures"]

    assert failure == {"cursor": 2, "error": "no user of 2"}


TWO_STEPS = """
self.once('first', lambda: self.note(f'first{number}'))
if number in (2, 4) and not Path('mended').exists():
    raise ValueError('not yet')
self.once('second', lambda: self.note(f'second{number}'))
if number == 4 and not Path('all_mended').exists():
    raise ValueError('not yet')
"""
NOTE = """
def find(self, cursor):
    return cursor

def note(self, what):
    with open('made.txt', 'a') as file:
        file.write(f"{what}\\n")
    return what
"""


@pytest.mark.parametrize(
    "before",
    [
        ["--retry-failed"],
        # It passes the second item, and comes to no other that failed.
        ["--restart", "--limit", "3"],
    ],
    ids=["retried", "passed after a restart"],
)
def test_what_begins_anew_keeps_all_steps_of_an_item_or_none(
    project: Project, before: list[str]
) -> None:
    numbers(project, TWO_STEPS, total=4, methods=NOTE, on_error="'collect'")
    assert "failed for 2 of 4 items" in run(project).stderr
    project.file("mended", "")
    batch(project, *before)
    project.file("all_mended", "")

    anew = batch(project, "--restart")

    assert anew.exit_code == 0, anew.stderr
    times = {step: made(project).count(step) for step in ("first2", "second2", "first4", "second4")}
    # The second was passed in between; the fourth never was.
    assert times == {"first2": 2, "second2": 2, "first4": 1, "second4": 1}
