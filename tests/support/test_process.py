"""A command that hangs is ended, and tells what it was about."""

import pytest

from . import process
from .process import Process
from .project import Project

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("anew", [False, True])
def test_a_command_that_hangs_tells_its_stacks(
    project: Project, monkeypatch: pytest.MonkeyPatch, *, anew: bool
) -> None:
    project.script("first", above="import time", body="time.sleep(50)")

    with Process(project, "migrate", "--data", anew=anew) as command:
        command.wait_for("Running migration: first")
        monkeypatch.setattr(process, "HANGS_SECONDS", 0.1)
        with pytest.raises(AssertionError, match=r"first\.py\", line \d+ in run"):
            command.wait()
