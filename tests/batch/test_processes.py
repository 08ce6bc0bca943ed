"""`executor = "process"`: the same promise, kept by one that drives and processes that compute."""

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
from support.batches import ASYNC, MIGRATION, SYNC, TOTAL, Numbers, numbers
from support.process import Process, is_there, wait_until
from support.project import Project
from support.terminal import Gate

from mpt_tool.batch.pools import local_pool
from mpt_tool.batch.portable import Elsewhere
from mpt_tool.batch.worker import Job
from mpt_tool.errors import ScriptError
from mpt_tool.migration import BatchMigration
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.load import load_elsewhere

pytestmark = pytest.mark.slow

ALL = list(range(1, TOTAL + 1))
PREPARE = """
def prepare(self):
    with open("prepared.txt", "a") as file:
        file.write(f"{os.getpid()}\\n")
"""


def in_processes(
    project: Project,
    body: str = "",
    *,
    workers: int = 2,
    process: str = SYNC,
    methods: str = "",
    **attributes: Any,
) -> Numbers:
    """Write the migration `numbers`, whose items go to worker processes."""
    return numbers(
        project,
        body,
        process=process,
        methods=methods,
        executor="'process'",
        workers=workers,
        **attributes,
    )


def prepared_in(project: Project) -> list[int]:
    """Return the processes that called `prepare`."""
    return [int(line) for line in (project.root / "prepared.txt").read_text().split()]


# --- all goes well


@pytest.mark.parametrize("process", [SYNC, ASYNC])
def test_every_item_is_processed_once_in_processes_that_prepare_once(
    project: Project, process: str
) -> None:
    told = "self.log.info('Here.') if number == 3 else None"
    migration = in_processes(project, told, process=process, methods=PREPARE)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0, result.stderr
    assert sorted(migration.processed) == ALL
    assert " - INFO - 3: Here.\n" in result.stderr
    processes = prepared_in(project)
    assert len(set(processes)) == len(processes) in (2, 3)


def test_bundles_outcomes_and_items_of_the_scripts_own_classes_travel(project: Project) -> None:
    project.file(
        "migrations/1_numbers.py",
        """\
        from dataclasses import dataclass
        from mpt_tool.migration import BatchDataMigration


        @dataclass
        class Item:
            id: int


        class Migration(BatchDataMigration):
            executor, many = "process", 4

            def items(self, cursor):
                return map(Item, range((cursor or 0) + 1, 11))

            def process_many(self, items):
                if len(items) > 1 and any(item.id == 6 for item in items):
                    raise ValueError("not together")
                return ["even" if item.id % 2 == 0 else "odd" for item in items]
        """,
    )

    result = project.run("migrate", "--data")

    assert "numbers: 5 odd, 5 even\n" in result.stdout, result.stderr


def test_what_fails_is_told_by_its_name_and_place_and_tried_again(project: Project) -> None:
    body = """
    class Awkward(Exception):
        def __init__(self, one, other):
            super().__init__(f"{one} and {other}")
    with open("tries.txt", "a") as file:
        file.write(f"{number} ")
    if number in (4, 6):
        raise RuntimeError(f"{number} is refused") if number == 4 else Awkward(number, "more")
    """
    migration = in_processes(
        project, body, on_error="'collect'", attempts=2, retry_seconds=0, retry_on="(RuntimeError,)"
    )

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert sorted(migration.processed) == [each for each in ALL if each not in (4, 6)]
    assert "(4: 4 is refused; 6: 6 and more)" in result.stderr
    assert 'migrations/1_numbers.py", line ' in result.stderr
    assert (project.root / "tries.txt").read_text().split().count("4") == 2
    assert (project.root / "tries.txt").read_text().split().count("6") == 1


def test_what_comes_after_a_failed_item_is_not_begun(project: Project) -> None:
    body = "if number == 8:\n    raise ValueError('refused')"
    migration = in_processes(project, body, workers=1, total=40)

    assert project.run("migrate", "--data").exit_code == 1

    assert migration.processed == list(range(1, 8))
    assert migration.cursor == 7


def test_what_a_worker_does_not_come_to_in_time_goes_again(project: Project) -> None:
    # By then many travel together.
    body = "time.sleep(0.2) if number > 190 else None"
    migration = in_processes(project, body, total=200, batch_size=400)

    assert project.run("migrate", "--data").exit_code == 0

    assert sorted(migration.processed) == list(range(1, 201))


def test_single_items_are_found_and_processed_there_too(project: Project) -> None:
    methods = "find = lambda self, cursor: cursor or None"
    migration = in_processes(project, "self.log.info('Here.')", methods=methods)

    result = project.run("batch", MIGRATION, "--only", "7", "--only", "0")

    assert migration.processed == [7]
    assert " - INFO - 7: Here.\n" in result.stderr
    assert "(0: find(cursor) found nothing)" in result.stderr


def test_a_rehearsal_stays_in_one_process_and_says_so(project: Project) -> None:
    in_processes(project, methods=PREPARE)

    result = project.run("batch", MIGRATION, "--rehearse", "--unguarded")

    assert "Its items are processed in this process alone" in result.stderr
    assert len(prepared_in(project)) == 1


# --- what cannot travel


@pytest.mark.parametrize(
    ("body", "methods", "told"),
    [
        (
            "self.made(number)",
            "def made(self, n):\n    self.once('a', n)",
            "calls once()",
        ),
        (
            "print(self.found)",
            "def count(self):\n    self.found = 1",
            "set self.found in prepare()",
        ),
        (
            "",
            "def items(self, cursor):\n    yield lambda: 1\ncursor = lambda *_: 1",
            "an item of the type function cannot go to a worker process",
        ),
        (
            "",
            "def prepare(self):\n    self.once(str(os.getpid()), lambda: 1)",
            "give each step the same key everywhere",
        ),
    ],
    ids=["once", "an attribute", "an item", "a step of prepare"],
)
def test_what_cannot_travel_is_told_before_the_first_item(
    project: Project, body: str, methods: str, told: str
) -> None:
    migration = in_processes(project, body, methods=methods)

    result = project.run("migrate", "--data")

    assert (result.exit_code, migration.processed) == (1, [])
    assert told in result.stderr


def test_a_script_that_is_another_one_there_is_refused(tmp_path: Path) -> None:
    script = Script(1, "numbers", Path("1_numbers.py"))
    (tmp_path / script.path).write_text("changed = True\n")

    with pytest.raises(ScriptError, match="is not what it is where the run is driven"):
        load_elsewhere(script, tmp_path, "", {}, "the checksum of another")


def test_workers_share_the_requests_that_they_may_send(tmp_path: Path) -> None:
    job = Job(BatchMigration, (), finds=False, collects=False, log_level=0, requests_per_second=10)
    elsewhere = Elsewhere(BatchMigration, tmp_path, give_up=lambda _: None)

    with local_pool(job, elsewhere, 4) as pool:
        assert pickle.loads(pool.job).requests_per_second == 2.5


# --- processes that end


def test_items_of_a_process_that_was_killed_go_again(project: Project) -> None:
    body = """
    if number == 5 and not os.path.exists("killed"):
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    migration = in_processes(project, body)

    result = project.run("migrate", "--data")

    assert result.exit_code == 0
    assert "A worker process ended: what it had in hand is processed again" in result.stderr
    assert sorted(set(migration.processed)) == ALL
    assert migration.attempts[-1] == ("applied", {"processed": TOTAL, "failed": 0})


@pytest.mark.parametrize("on_error", ["stop", "collect"])
def test_an_item_that_ends_its_process_each_time_has_failed(
    project: Project, on_error: str
) -> None:
    body = "os._exit(3) if number == 5 else None"
    migration = in_processes(project, body, workers=1, on_error=repr(on_error), attempts=9)

    result = project.run("migrate", "--data")

    assert result.exit_code == 1
    assert "5: the process that handled it ended, 3 times" in result.stderr
    assert migration.attempts[-1][0] == "failed"
    if on_error == "collect":
        assert sorted(set(migration.processed)) == [each for each in ALL if each != 5]


def test_workers_that_end_before_any_item_end_the_run(project: Project) -> None:
    methods = """
    def prepare(self):
        os._exit(3) if Path("driven").exists() else Path("driven").touch()
    """
    migration = in_processes(project, workers=1, methods=methods)

    result = project.run("migrate", "--data")

    assert (result.exit_code, migration.processed) == (1, [])
    assert "10 worker processes ended before they came to an item" in result.stderr


def test_ctrl_c_on_the_terminal_stops_between_items_and_loses_none(
    project: Project, gate: Gate
) -> None:
    body = (
        f"if number == 4:\n    self.log.warning('At 4.')\n    Path('at').touch()\n    {gate.wait}"
    )
    migration = in_processes(project, body, methods=PREPARE, batch_size=40)

    with Process(project, "migrate", "--data") as run:
        wait_until((project.root / "at").exists)
        for process in prepared_in(project):
            # As a terminal does it: each of the group has it.
            os.kill(process, signal.SIGINT)
        run.wait_for("Stopping at SIGINT")
        gate.open()
        assert run.wait().exit_code == 75

    assert 4 in migration.processed
    assert not any(map(is_there, prepared_in(project)))
    assert project.run("migrate", "--data").exit_code == 0
    assert sorted(migration.processed) == ALL


def test_no_worker_outlives_one_that_drives_and_is_killed(project: Project, gate: Gate) -> None:
    body = f"if not os.path.exists('go'):\n    Path('at').touch()\n    {gate.wait}"
    migration = in_processes(project, body, methods=PREPARE)

    with Process(project, "migrate", "--data") as run:
        wait_until((project.root / "at").exists)
        wait_until(lambda: len(prepared_in(project)) == 3)
        run.kill()

    wait_until(lambda: not any(map(is_there, prepared_in(project))))
    project.file("go", "")
    assert project.run("migrate", "--data").exit_code == 0
    assert sorted(migration.processed) == ALL
