"""The two commands of the README, on a machine that has Python and nothing else."""

import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from support.project import Project

REPOSITORY = Path(__file__).parents[1]
TWO_COMMANDS = re.compile(
    r"^## Two commands\n.*?\n```bash\n(.+?)\n```.*?\n```bash\n(.+?)\n```", re.DOTALL | re.MULTILINE
)
# In place of uv, which is downloaded: what it is called with, and the variables that it goes by.
STAND_IN = """\
import os, sys

def main():
    print(*sys.argv[1:], sep="\\n")
    print(*(f"{name}={os.environ[name]}" for name in os.environ if name[:3] == "UV_"), sep="\\n")
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder that pip finds uv in."""
    folder = tmp_path / "packages"
    folder.mkdir()
    with zipfile.ZipFile(folder / "uv-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("uv_stand_in.py", STAND_IN)
        wheel.writestr(
            "uv-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1.0\n"
        )
        wheel.writestr("uv-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(
            "uv-1.0.dist-info/entry_points.txt", "[console_scripts]\nuv = uv_stand_in:main\n"
        )
        wheel.writestr("uv-1.0.dist-info/RECORD", "")
    return folder


@pytest.fixture
def bare(packages: Path, project: Project, tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has Python and nothing else; a checkout is there."""
    home, path = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    path.mkdir()
    (path / "python3").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    shutil.copytree(REPOSITORY / ".ci", project.root / ".ci")
    return {
        "HOME": str(home),
        "PATH": f"{path}:/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(packages),
    }


def two_commands() -> tuple[str, str]:
    found = TWO_COMMANDS.search((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert found
    return found[1], found[2]


@pytest.mark.slow
def test_both_commands_leave_everything_outside_the_checkout_as_it_is(
    bare: dict[str, str], project: Project
) -> None:
    installed = {
        path: path.stat().st_mtime_ns for path in Path(os.__file__).parent.glob("site-packages/*")
    }
    example, test = (project.execute(["sh", "-c", command], env=bare) for command in two_commands())

    assert (example.exit_code, test.exit_code) == (0, 0)
    assert example.stdout.startswith("run\n")
    assert test.stdout.startswith("tool\nrun\n--from\nnox[uv]\nnox\n")
    settings = dict(line.split("=", 1) for line in test.stdout.splitlines() if line[:3] == "UV_")
    inside = str(project.root / ".uv")
    assert settings["UV_CACHE_DIR"].startswith(inside)
    assert settings["UV_PYTHON_INSTALL_DIR"].startswith(inside)
    assert list(Path(bare["HOME"]).iterdir()) == []
    assert installed == {path: path.stat().st_mtime_ns for path in installed}
    assert sorted(path.name for path in project.root.iterdir()) == [".ci", ".uv"]


def test_that_no_python_can_be_had_is_said(bare: dict[str, str], project: Project) -> None:
    command, _ = two_commands()
    uv = project.file(
        ".uv/venv/bin/uv",
        """\
        #!/bin/sh
        [ "$1" != python ]
        """,
    )
    uv.chmod(0o755)

    result = project.execute(["sh", "-c", command], env=bare)

    message = "Python 3.12 or newer is neither here nor to be had: install it\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", message)
