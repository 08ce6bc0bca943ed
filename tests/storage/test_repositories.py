"""The contract of state repositories, held by each of ours and open to those of others."""

import sys
import tomllib
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from support.airtable_server import BASE, AirtableServer
from support.pages import blocks, section, text_of
from support.postgresql import Postgresql
from support.project import HISTORY_FILE, Project
from support.simulation import Clock

from mpt_tool.clients.airtable import open_api
from mpt_tool.storage import open_repository
from mpt_tool.storage.airtable.repository import AirtableRepository, open_airtable
from mpt_tool.storage.airtable.settings import StoreSettings
from mpt_tool.storage.lease import Pace
from mpt_tool.storage.local import LocalRepository, open_local
from mpt_tool.storage.repository import StateRepository
from mpt_tool.storage.sql.repository import open_sql
from mpt_tool.testing import OpenRepository, StateRepositoryContract, open_memory
from mpt_tool.testing.storage import ATTEMPT


class TestMemoryRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(self, tmp_path: Path) -> OpenRepository:
        return lambda: open_memory(tmp_path)


class TestLocalRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(self, tmp_path: Path) -> OpenRepository:
        return lambda: open_local(tmp_path)


@pytest.mark.parametrize("size", [1, 70_000])
def test_a_local_history_is_read_from_its_end_whatever_the_lines_are(
    tmp_path: Path, size: int
) -> None:
    repository = LocalRepository(tmp_path)
    attempts = [
        ATTEMPT.model_copy(update={"user": "ü" * size * (number % 3), "process": number})
        for number in range(9)
    ]
    for attempt in attempts:
        repository.append(attempt)

    assert list(repository.attempts()) == attempts[::-1]


def test_who_needs_the_last_attempt_alone_reads_no_more_of_a_long_history(tmp_path: Path) -> None:
    line = ATTEMPT.model_dump_json() + "\n"
    (tmp_path / HISTORY_FILE).write_text(line * 50_000)

    tracemalloc.start()
    try:
        last = next(LocalRepository(tmp_path).attempts())
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert last == ATTEMPT
    assert most < 1_000_000


class TestAirtableRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(self) -> Iterator[OpenRepository]:
        clock = Clock()
        with AirtableServer(clock=lambda: clock.now) as server:
            server.add_base(BASE)
            of_lease = {"STORAGE_AIRTABLE_LEASE_SECONDS": "5"}
            settings = StoreSettings.model_validate(server.settings | of_lease)
            connect = partial(open_api, settings)
            pace = Pace(settings.lease_seconds, lambda: clock.now, clock.sleep, lambda: 0.5)
            yield lambda: AirtableRepository(settings, connect, pace)


class TestPostgresqlRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(
        self, project: Project, database: Postgresql, schema: str, monkeypatch: pytest.MonkeyPatch
    ) -> OpenRepository:
        monkeypatch.setenv("STORAGE_DATABASE_URL", database.url)
        monkeypatch.setenv("STORAGE_DATABASE_SCHEMA", schema)
        return lambda: open_repository("sql", project.root)


class TestSqliteRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(self, project: Project, monkeypatch: pytest.MonkeyPatch) -> OpenRepository:
        monkeypatch.setenv("STORAGE_DATABASE_URL", "sqlite:///state.db")
        return lambda: open_repository("sql", project.root)


# What opens each of ours, as what opens that of an installed package.
OPENED_BY: Mapping[str, Callable[[Path], StateRepository]] = {
    "memory": open_memory,
    "local": open_local,
    "airtable": open_airtable,
    "sql": open_sql,
}


@pytest.mark.parametrize("name", OPENED_BY)
def test_each_store_is_opened_by_the_root_of_the_project_alone(
    tmp_path: Path, server: AirtableServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable, value in server.settings.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("STORAGE_DATABASE_URL", "sqlite:///state.db")

    OPENED_BY[name](tmp_path).initialize()

    assert OPENED_BY[name](tmp_path).load().records == {}


_DOCUMENTED = [
    block.text
    for block in blocks(section(text_of("stores"), "A backend of your own"))
    if block.language in ("toml", "python")
]


@pytest.fixture
def installed(project: Project) -> Project:
    """A project beside an installed package that brings the documented storage `shared`."""
    entry_point, module, contract = _DOCUMENTED
    [(group, entries)] = tomllib.loads(entry_point)["project"]["entry-points"].items()
    lines = [f"{name} = {value}" for name, value in entries.items()]
    information = "installed/my_package-1.0.dist-info"
    project.file(
        f"{information}/METADATA", "Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n"
    )
    project.file(f"{information}/entry_points.txt", "\n".join([f"[{group}]", *lines]))
    project.file("installed/my_package/storage.py", module)
    project.file("test_contract.py", contract)
    project.environment["PYTHONPATH"] = str(project.root / "installed")
    return project


@pytest.mark.parametrize("source", ["environment", "pyproject.toml"])
def test_an_installed_package_brings_a_storage_with_settings_of_its_own(
    installed: Project, source: str
) -> None:
    (installed.root / "together").mkdir()
    installed.script("first")
    environment = {"STORAGE_TYPE": "shared"}
    if source == "environment":
        environment["STORAGE_SHARED_FOLDER"] = "together"
    else:
        installed.file("pyproject.toml", "[tool.mpt-tool.shared]\nfolder = 'together'")

    result = installed.run("migrate", "--data", env=environment)

    assert result.exit_code == 0, result.stderr
    assert LocalRepository(installed.root / "together").load().records.keys() == {"first"}
    assert not installed.state_file.exists()


def test_a_setting_that_an_installed_storage_lacks_is_named(installed: Project) -> None:
    result = installed.run("migrate", "--list", env={"STORAGE_TYPE": "shared"})

    assert result.exit_code == 2
    assert "STORAGE_SHARED_FOLDER (or MPT_TOOL_STORAGE_SHARED_FOLDER) is not set" in result.stderr


@pytest.mark.parametrize("folder", ["", "together"])
def test_the_settings_of_an_installed_storage_are_looked_at(
    installed: Project, folder: str
) -> None:
    (installed.root / "together").mkdir()
    environment = {"STORAGE_TYPE": "shared", "STORAGE_SHARED_FOLDER": folder}

    result = installed.run("doctor", "--json", env=environment)

    found = {each["name"]: each["verdict"] for each in result.json()["checks"]}
    assert found["STORAGE_SHARED_FOLDER"] == ("right" if folder else "wrong")
    assert found.get("state") == ("right" if folder else None)


def test_the_documented_backend_passes_the_contract(installed: Project) -> None:
    result = installed.execute([sys.executable, "-m", "pytest", "-q", "test_contract.py"])

    assert result.exit_code == 0, result.stdout
    assert " passed" in result.stdout


def test_a_storage_that_tells_nothing_of_its_lock_runs_and_says_so(installed: Project) -> None:
    """What `Stoppable` asks for is no part of what a run needs."""
    installed.file(
        "installed/my_package/storage.py",
        """
        from mpt_tool.storage.local import LocalRepository
        from mpt_tool.storage.repository import Snapshot

        class Plain:
            is_remote = False

            def __init__(self, root):
                self._local = LocalRepository(root)
                for name in (
                    *("looks", "save", "initialize", "lock", "require_lock", "unlock"),
                    *("append", "attempts", "failed_items"),
                ):
                    setattr(self, name, getattr(self._local, name))

            def load(self):
                return Snapshot(self._local.load().records)

        open_shared = Plain
        """,
    )
    installed.environment["STORAGE_TYPE"] = "shared"
    installed.script("first", body="raise ValueError('no')")

    ran, shown, stop = (
        installed.run(*words) for words in (["migrate", "--data"], ["status"], ["stop"])
    )

    assert ran.exit_code == 1
    assert "Migration first failed: no" in ran.stderr
    assert "Lock          the store does not tell who holds it\n" in shown.stdout
    assert "ValueError: no\n" in shown.stdout
    assert stop.exit_code == 1
    assert "This store hands on no word to stop: send SIGTERM to the run instead" in stop.stderr


def test_an_unknown_storage_is_refused_with_all_there_are(installed: Project) -> None:
    result = installed.run("migrate", "--list", env={"STORAGE_TYPE": "airtabel"})

    assert result.exit_code == 2
    assert "STORAGE_TYPE" in result.stderr
    assert "'airtabel': use one of local, airtable, sql, shared" in result.stderr
