"""A release: what is built, what it is held against, and the workflows that make it."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.project import Project, Result

REPOSITORY = Path(__file__).parents[1]
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE")
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with what was built of it in `dist`."""
    root = tmp_path_factory.mktemp("release")
    for name in FILES:
        shutil.copy(REPOSITORY / name, root)
    for name in ("mpt_tool", "release"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, root / name, ignore=ignored)
    # Whatever came out since is no fault of a change.
    versions = root / "mpt_tool" / "doctor" / "versions.py"
    versions.write_text(re.sub(r'": "[\d.]+"', '": "99.0"', versions.read_text(encoding="utf-8")))
    command = [sys.executable, "-m", "hatchling", "build", "-d", "dist"]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return root


@pytest.fixture
def release(built: Path, project: Project) -> Project:
    """A copy of it, which a test may break."""
    shutil.copytree(built, project.root, dirs_exist_ok=True)
    return project


def checked(release: Project, *options: str) -> Result:
    return release.execute([sys.executable, "-m", "release", "dist", *options])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(old, text)
    path.write_text(re.sub(old, new, text, count=1), encoding="utf-8")


def test_what_is_built_is_ready(release: Project) -> None:
    changelog = release.root / "CHANGELOG.md"
    edit(changelog, r"(## \[.+?\]) - .+", r"\1 - 2026-12-01")
    [version] = re.findall(
        r'^version = "(.+)"', (release.root / FILES[0]).read_text(), re.MULTILINE
    )

    result = checked(release, "--tag", f"v{version}")

    assert (result.exit_code, result.stderr) == (0, "")
    assert (
        result.stdout == f"Ready: mpt_tool-{version}-py3-none-any.whl mpt_tool-{version}.tar.gz\n"
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "options", "problem"),
    [
        ("CHANGELOG.md", r"## \[.+?\]", "## [0.1.0]", [], "CHANGELOG.md has no section `## ["),
        (
            "CHANGELOG.md",
            r"(## \[.+?\]) - .+",
            r"\1 - unreleased",
            ["--tag", "v0"],
            "is unreleased: write the date of the release there",
        ),
        ("README.md", "^", "", ["--tag", "v0.1"], "the tag is v0.1, and the version in pyproject"),
        ("pyproject.toml", 'version = ".+"', 'version = "0.1"', [], "dist holds mpt_tool-"),
        ("mpt_tool/errors.py", "^", "", [], "whl lacks mpt_tool/new.py"),
        ("mpt_tool/doctor/versions.py", '"typer": ".+"', '"typer": "0.1"', [], "newer than 0.1"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-4:] else None,
)
def test_what_stands_against_a_release_is_told(
    release: Project, name: str, old: str, new: str, options: list[str], problem: str
) -> None:
    edit(release.root / name, old, new)
    if "lacks" in problem:
        release.file("mpt_tool/new.py", "")

    result = checked(release, *options)

    assert result.exit_code == 1
    assert problem in result.stderr


def test_what_is_in_the_wheel_beside_the_package_is_told(release: Project) -> None:
    [wheel] = (release.root / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("tests/secret.txt", "")

    result = checked(release)

    assert (result.exit_code, "holds, too, tests/secret.txt" in result.stderr) == (1, True)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_call_what_is_there(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    noxfile = (REPOSITORY / "noxfile.py").read_text(encoding="utf-8")
    sessions = set(re.findall(r"^def (\w+)\(session", noxfile, re.MULTILINE))
    commands = [each.split() for each in re.findall(r"run: (.+)$", text, re.MULTILINE)]

    assert commands
    for program, *arguments in commands:
        assert (REPOSITORY / program).is_file()
        if "-s" in arguments:
            named = " ".join(arguments).partition(" -s ")[2].partition(" -- ")[0].split()
            assert named
            assert set(named) <= sessions
