"""The store keeps all that `mpt-tool` promises of any."""

from collections.abc import Callable
from pathlib import Path

import pytest
from mpt_tool_directory.repository import open_directory

from mpt_tool.storage.repository import StateRepository
from mpt_tool.testing import StateRepositoryContract


class TestDirectoryRepository(StateRepositoryContract):
    @pytest.fixture
    def open_repository(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[], StateRepository]:
        monkeypatch.setenv("STORAGE_DIRECTORY_PATH", "state")
        return lambda: open_directory(tmp_path)
