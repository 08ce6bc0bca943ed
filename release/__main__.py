"""Holds what was built against the project: `python -m release dist [--tag v7.0.0]`."""

import argparse
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.metadata import version as installed
from pathlib import Path, PurePosixPath

from mpt_tool.doctor.versions import NEWEST_TESTED, is_newer

ROOT = Path.cwd()
PACKAGE = "mpt_tool"
COMMANDS = {"mpt-tool", "mpt-service-cli"}
BESIDE_THE_PACKAGE = ("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml")


def problems(folder: Path, tag: str | None) -> Iterator[str]:
    """Yield what stands against a release of what is in the folder.

    Args:
        folder: where the wheel and the sdist are, and nothing else.
        tag: that of the release, if it is about to be made.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    wheel, sdist = f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.tar.gz"
    if (found := sorted(path.name for path in folder.iterdir())) != [wheel, sdist]:
        yield f"{folder} holds {', '.join(found) or 'nothing'}, not {wheel} and {sdist}"
        return
    yield from _of_changelog(version, is_tagged=tag is not None)
    if tag not in (None, f"v{version}"):
        yield f"the tag is {tag}, and the version in pyproject.toml {version}"
    yield from _of_wheel(folder / wheel, version)
    yield from _of_sdist(folder / sdist, version)
    for library, tested in NEWEST_TESTED.items():
        if is_newer(installed(library), tested):
            yield (
                f"{library} {installed(library)} is newer than {tested}: once all tests passed with"
                " it, raise NEWEST_TESTED in mpt_tool/doctor/versions.py"
            )


def _of_changelog(version: str, *, is_tagged: bool) -> Iterator[str]:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = re.search(rf"^## \[{re.escape(version)}\] - (.+)$", text, re.MULTILINE)
    if not heading:
        yield f"CHANGELOG.md has no section `## [{version}] - DATE`"
    elif is_tagged and not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1]):
        yield f"CHANGELOG.md: {version} is {heading[1]}: write the date of the release there"


def _of_wheel(path: Path, version: str) -> Iterator[str]:
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        information = f"{PACKAGE}-{version}.dist-info"
        metadata = _metadata(wheel.read(f"{information}/METADATA").decode())
        commands = wheel.read(f"{information}/entry_points.txt").decode()
    yield from _of_metadata(path, metadata, version)
    yield from _of_files(path, {each for each in names if not each.startswith(information)})
    if f"{information}/licenses/LICENSE" not in names:
        yield f"{path.name} lacks the licence"
    if missing := COMMANDS - set(re.findall(r"^(\S+) = ", commands, re.MULTILINE)):
        yield f"{path.name} lacks the commands {', '.join(sorted(missing))}"


def _of_sdist(path: Path, version: str) -> Iterator[str]:
    with tarfile.open(path) as sdist:
        names = {str(PurePosixPath(*PurePosixPath(each).parts[1:])) for each in sdist.getnames()}
        information = sdist.extractfile(f"{PACKAGE}-{version}/PKG-INFO")
        assert information
        metadata = _metadata(information.read().decode())
    yield from _of_metadata(path, metadata, version)
    yield from _of_files(path, {each for each in names if each.startswith(f"{PACKAGE}/")})
    if missing := set(BESIDE_THE_PACKAGE) - names:
        yield f"{path.name} lacks {', '.join(sorted(missing))}"


def _of_metadata(path: Path, metadata: Message, version: str) -> Iterator[str]:
    if (found := metadata["Version"]) != version:
        yield f"{path.name} calls itself {found}"
    for key in ("Summary", "Requires-Python", "License-Expression", "Description-Content-Type"):
        if not metadata[key]:
            yield f"{path.name} has no {key}"


def _of_files(path: Path, found: set[str]) -> Iterator[str]:
    """Yield whether the files of the package are all there, and nothing beside them."""
    expected = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / PACKAGE).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    for what, names in (("lacks", expected - found), ("holds, too,", found - expected)):
        if names:
            yield f"{path.name} {what} {', '.join(sorted(names))}"


def _metadata(text: str) -> Message:
    return Parser().parsestr(text, headersonly=True)


def main() -> None:
    """Write each problem, and exit with 1 if there is any."""
    parser = argparse.ArgumentParser(prog="python -m release")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tag")
    asked = parser.parse_args()
    found = list(problems(asked.folder, asked.tag))
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if found:
        sys.exit(1)
    print("Ready:", *(path.name for path in sorted(asked.folder.iterdir())))


if __name__ == "__main__":
    main()
