"""Fixtures that all tests share."""

from pathlib import Path

import pytest
from support.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project, without a migrations folder."""
    root = tmp_path / "extension"
    root.mkdir()
    return Project(root)
