"""`BATCH_EXECUTOR=dask:...`: the same promise, kept with the workers of a Dask cluster."""

from collections.abc import Iterator

import pytest
from support.batches import MIGRATION, TOTAL, numbers
from support.dask_cluster import DaskCluster, dask_cluster
from support.process import Process, wait_until
from support.project import Project

from mpt_tool.settings import DASK

ALL = list(range(1, TOTAL + 1))


@pytest.fixture
def cluster() -> Iterator[DaskCluster]:
    with dask_cluster() as cluster:
        yield cluster


def test_items_go_to_the_cluster_and_those_of_a_killed_worker_again(
    project: Project, cluster: DaskCluster
) -> None:
    # The workers are somewhere else than in the project.
    body = """
    os.chdir(self.project_root)
    self.log.info("Here.") if number == 3 else None
    if number == 5 and not os.path.exists("killed"):
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    migration = numbers(project, body, executor="'process'", workers=2)

    result = project.run("migrate", "--data", env={"BATCH_EXECUTOR": DASK + cluster.address})

    assert result.exit_code == 0, result.stderr
    assert sorted(set(migration.processed)) == ALL
    assert " - INFO - 3: Here.\n" in result.stderr
    assert migration.attempts[-1] == ("applied", {"processed": TOTAL, "failed": 0})


def test_a_run_whose_scheduler_is_gone_ends_with_75_and_is_resumed(
    project: Project, cluster: DaskCluster
) -> None:
    body = """
    os.chdir(self.project_root)
    if number == 4 and not os.path.exists("go"):
        Path("at").touch()
        time.sleep(60)
    """
    migration = numbers(project, body, executor="'process'", batch_size=2)
    env = {"BATCH_EXECUTOR": DASK + cluster.address}

    with Process(project, "migrate", "--data", env=env) as run:
        wait_until((project.root / "at").exists)
        cluster.kill()
        ended = run.wait()

    assert ended.exit_code == 75, ended.stderr
    assert "was stopped because no worker can be reached" in ended.stderr
    assert "3 items" in ended.stderr
    project.file("go", "")
    assert project.run("migrate", "--data").exit_code == 0
    assert migration.processed == ALL


def test_a_scheduler_that_does_not_answer_is_told_before_the_first_item(project: Project) -> None:
    migration = numbers(project, executor="'process'")

    result = project.run("migrate", "--data", env={"BATCH_EXECUTOR": "dask:tcp://127.0.0.1:9"})

    assert (result.exit_code, migration.processed) == (75, [])
    assert "The Dask scheduler tcp://127.0.0.1:9 does not answer" in result.stderr
    assert migration.attempts[-1][0] == "stopped"


def test_a_setting_that_names_no_scheduler_is_refused(project: Project) -> None:
    numbers(project)

    result = project.run("batch", MIGRATION, env={"BATCH_EXECUTOR": "dask"})

    assert result.exit_code == 2
    assert "use a Dask scheduler like dask:tcp://scheduler:8786" in result.stderr


def test_what_processes_in_threads_stays_where_it_is(project: Project) -> None:
    migration = numbers(project, workers=2)

    result = project.run("migrate", "--data", env={"BATCH_EXECUTOR": "dask:tcp://127.0.0.1:9"})

    assert result.exit_code == 0
    assert sorted(migration.processed) == ALL
