"""The contract of state repositories, held by each of ours and open to those of others."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.airtable_server import BASE, AirtableServer
from support.project import Project

from mpt_tool.settings import Settings
from mpt_tool.storage.airtable.repository import open_airtable
from mpt_tool.storage.local import LocalRepository
from mpt_tool.testing import MemoryRepository, OpenRepository, StateRepositoryContract


class TestMemoryRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(self) -> OpenRepository:
        repository = MemoryRepository()
        return lambda: repository


class TestLocalRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(self, tmp_path: Path) -> OpenRepository:
        return lambda: LocalRepository(tmp_path)


class TestAirtableRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(self) -> Iterator[OpenRepository]:
        with AirtableServer() as server:
            server.add_base(BASE)
            settings = Settings.model_validate(server.settings)
            yield lambda: open_airtable(settings)


@pytest.fixture
def installed(project: Project) -> Project:
    """A project beside an installed package that brings the storage `shared`."""
    project.file(
        "installed/shared_storage.py",
        """\
        from mpt_tool.storage.local import LocalRepository


        def open_shared(settings, root):
            return LocalRepository(root / "shared")
        """,
    )
    information = "installed/shared_storage-1.0.dist-info"
    project.file(
        f"{information}/METADATA", "Metadata-Version: 2.1\nName: shared-storage\nVersion: 1.0\n"
    )
    project.file(
        f"{information}/entry_points.txt",
        "[mpt_tool.storage]\nshared = shared_storage:open_shared\n",
    )
    (project.root / "shared").mkdir()
    project.environment["PYTHONPATH"] = str(project.root / "installed")
    return project


def test_an_installed_package_brings_a_storage_of_its_own(installed: Project) -> None:
    installed.script("first")

    result = installed.run("migrate", "--data", env={"STORAGE_TYPE": "shared"})

    assert result.exit_code == 0
    assert LocalRepository(installed.root / "shared").load().records.keys() == {"first"}
    assert not installed.state_file.exists()


def test_an_unknown_storage_is_refused_with_all_there_are(installed: Project) -> None:
    result = installed.run("migrate", "--list", env={"STORAGE_TYPE": "airtabel"})

    assert result.exit_code == 2
    assert "STORAGE_TYPE" in result.stderr
    assert "'airtabel': use one of local, airtable, shared" in result.stderr
