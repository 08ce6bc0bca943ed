"""The versions of what matters, and whether they are within what was tested."""

import platform
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires, version

from mpt_tool.checks import Check, doubtful, right, wrong

# The newest that all tests ran with. `nox -s build` holds it against what can be had.
NEWEST_TESTED: Mapping[str, str] = {
    "typer": "0.29",
    "pydantic": "2.14",
    "pyairtable": "3.5",
    "mpt-api-client": "7.0",
}
NEWEST_PYTHON = "3.13"
# The first release whose dependencies allow this tool's newest.
_SDK, _OLDEST_SDK = "mpt-extension-sdk", "6.8"
_BOUND = re.compile(r"(?P<name>[\w.-]+)[^;]*>=(?P<oldest>[\d.]+)")


def checks_of_versions() -> Iterator[Check]:
    """Yield the tool, Python, and the libraries that a run depends on."""
    yield right("mpt-tool", version("mpt-tool"))
    found = platform.python_version()
    yield _held("python", f"{found} ({sys.executable})", found, "", NEWEST_PYTHON)
    oldest = _oldest()
    for name, newest in NEWEST_TESTED.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            yield wrong(name, "not installed", "Install mpt-tool anew, with its dependencies")
            continue
        yield _held(name, found, found, oldest[name], newest)
    try:
        sdk = version(_SDK)
    except PackageNotFoundError:
        return
    if numbers(sdk) < numbers(_OLDEST_SDK):
        advice = f"Require {_SDK}>={_OLDEST_SDK}: an older one holds other libraries back"
        yield doubtful(_SDK, sdk, advice)
    else:
        yield right(_SDK, sdk)


def numbers(release: str) -> tuple[int, ...]:
    """Return a version as numbers that can be compared, without what is after a release."""
    return tuple(int(part) for part in re.match(r"[\d.]*", release)[0].split(".") if part)  # type: ignore[index] # it always matches


def is_newer(release: str, tested: str) -> bool:
    """Whether a version is newer than any of what was tested, `7.0` for all of 7.0."""
    return numbers(release)[: len(numbers(tested))] > numbers(tested)


def _held(name: str, value: str, found: str, oldest: str, newest: str) -> Check:
    """Return a version, held against the oldest and the newest that were tested."""
    if numbers(found) < numbers(oldest):
        return wrong(name, f"{value}, older than {oldest}", f"Install {name}>={oldest}")
    if is_newer(found, newest):
        advice = f"Nothing, unless something fails: then try {name} {newest}"
        return doubtful(name, f"{value}, newer than what was tested ({newest})", advice)
    return right(name, value)


def _oldest() -> dict[str, str]:
    """Return the lower bounds that the package declares, by the name of the library."""
    bounds = (_BOUND.match(each) for each in requires("mpt-tool") or ())
    return {bound["name"]: bound["oldest"] for bound in bounds if bound}
