"""Reads projects with something broken in them, and looks for tracebacks and changed files."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.airtable_server import BASE, TABLE, AirtableServer

import mpt_tool
from torture import in_process, inputs
from torture.figures import Fault, Figure
from torture.inputs import Content, Input

TRACEBACK = "tracebacks of the tool"
OTHER_EXIT = "other exit codes than 0, 1, 2 and 3"
CHANGED = "changed files"
_KINDS = (TRACEBACK, OTHER_EXIT, CHANGED)

_ACTIONS = (
    ("migrate", "--list"),
    ("migrate", "--list", "--json"),
    ("pending",),
    ("migrate", "--check", "--strict"),
    ("history",),
    ("history", "first"),
    ("failures", "first", "--csv"),
    ("migrate", "--data", "--dry-run"),
)
_EXIT_CODES = {0, 1, 2, 3}
_OURS = str(Path(mpt_tool.__file__).parent)


def figures(folder: Path, inputs: int) -> Iterator[Figure]:
    """Yield a figure for each thing that is broken, from this many inputs.

    Args:
        folder: where the projects are made.
        inputs: how many projects have the same thing broken.
    """
    with AirtableServer() as server:
        server.add_table(BASE, TABLE)
        for name, strategy in _strategies(server).items():
            yield _figure(f"Broken {name}", strategy, folder, inputs, server.url)


def _strategies(server: AirtableServer) -> Mapping[str, st.SearchStrategy[Input]]:
    airtable = {
        "STORAGE_TYPE": "airtable",
        "AIRTABLE_API_KEY": server.token,
        "STORAGE_AIRTABLE_BASE_ID": BASE,
    }
    return {
        "state files": inputs.STATE_FILES,
        "history files": inputs.HISTORY_FILES,
        "names of scripts": inputs.SCRIPTS,
        "environments": inputs.environments(airtable),
        "`.env` files": inputs.ENV_FILES,
        "`pyproject.toml` files": inputs.PROJECT_FILES,
    }


def _figure(
    case: str, strategy: st.SearchStrategy[Input], folder: Path, wanted: int, address: str
) -> Figure:
    tried = 0
    faults: list[Fault] = []

    @settings(
        max_examples=wanted,
        # The same inputs every time; all of them are counted, none is made smaller.
        derandomize=True,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def read(drawn: Input) -> None:
        nonlocal tried
        tried += 1
        _create(folder, {**inputs.SOUND, **drawn.files})
        environment = {inputs.ADDRESS: address, **drawn.environment}
        for action in _ACTIONS:
            for kind, detail in _found(action, folder, environment):
                faults.append(Fault(kind, f"{detail}: {' '.join(action)} with {drawn}"))

    read()
    actions = f"{len(_ACTIONS)} actions that only read"
    return Figure(case, f"{tried} inputs, {actions}", _KINDS, faults)


def _create(folder: Path, files: Mapping[str, Content]) -> None:
    """Make a folder that has just these files, at the same path each time."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "migrations").mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)


def _found(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Run the command and yield what must not happen but did: which kind, and what was seen."""
    before = _tree(folder)
    ending = in_process.run(arguments, folder, environment)
    if ending.error is not None:
        yield TRACEBACK, repr(ending.error)
    elif _OURS in ending.output:
        yield TRACEBACK, ending.output
    elif ending.exit_code not in _EXIT_CODES:
        yield OTHER_EXIT, str(ending.exit_code)
    if _tree(folder) != before:
        yield CHANGED, "the tree is another"


def _tree(folder: Path) -> Mapping[Path, Content]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
