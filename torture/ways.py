"""A way by which what others wrote comes to the tool, and everything that it writes then."""

import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from support.airtable_server import BASE, HISTORY_TABLE, TABLE, AirtableServer
from support.batches import MIGRATION, numbers
from support.project import COMMAND, HISTORY_FILE, LOCK_FILE, STATE_FILE, Project
from support.terminal import Terminal

from torture.figures import Fault

RUN = ("migrate", "--data", "--verbose")
LIST = ("migrate", "--list")
FAILURES = ("failures", MIGRATION)
READING = (
    LIST,
    ("migrate", "--list", "--json"),
    ("migrate", "--check"),
    ("migrate", "--data", "--dry-run"),
    ("pending",),
    ("history",),
    ("history", "--json"),
)
# What follows each way.
AFTERWARDS = (LIST, ("history",))
OUTPUTS = PIPE, TERMINAL, STORE = "a pipe", "a terminal", "a pipe, state in Airtable"
_SIDE_BY_SIDE = 4
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# So wide that no line is broken.
_COLUMNS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A project into which something was put, and the commands by which it may come out.

    Args:
        commands: what is run, in this order.
        script: the statements of the `run` of its one migration.
        batch: how its one batch migration differs from the usual, as `support.batches` takes it.
        files: further files, by path.
        environment: further variables.
        rows: what another has put into the table of Airtable.
        refusal: what Airtable answers to each request, if it refuses all.
        reaches: what is written once it has come as far as the tool.
    """

    commands: Sequence[Sequence[str]] = (RUN,)
    script: str = ""
    batch: Mapping[str, object] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Mapping[str, object]] = ()
    refusal: object = None
    reaches: str

    @property
    def is_of_store(self) -> bool:
        """Whether it is one of Airtable, which its state has to be in."""
        return bool(self.rows or self.refusal)

    @property
    def runs(self) -> bool:
        """Whether a migration of it may run, wherever its state is."""
        is_of_files = self.files.keys() & {STATE_FILE, HISTORY_FILE}
        return bool(self.script or self.batch) and not (self.is_of_store or is_of_files)


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a way: all that the commands wrote for people and programs, and what they kept.

    Args:
        shown: by the command, what went to stdout and what to stderr.
        kept: by the name of a file or a table, what is in it, if the commands may have changed it.
    """

    shown: Mapping[str, Sequence[str]]
    kept: Mapping[str, Sequence[str]]

    @property
    def texts(self) -> Iterator[str]:
        """Yield all of them, without colours."""
        for texts in (*self.shown.values(), *self.kept.values()):
            yield from (_COLOUR.sub("", text) for text in texts)


def in_short(scripts: Mapping[str, str], others: Mapping[str, Way], every: int) -> dict[str, Way]:
    """Return fewer ways: what scripts do as items of one migration, and some of the others.

    Args:
        scripts: statements, by the name of the way; what ends a process is not to be among them.
        others: ways that need a project of their own.
        every: of how many of them one is taken.
    """
    methods = "".join(
        f"\ndef way_{number}(self):\n{textwrap.indent(textwrap.dedent(script), '    ')}\n"
        for number, script in enumerate(scripts.values(), start=1)
    )
    body = "getattr(self, f'way_{number}')()"
    together = Way(
        batch={"body": body, "methods": methods, "total": len(scripts), "on_error": "'collect'"},
        reaches=f"of {len(scripts)} items",
    )
    return {"items of one migration": together, **dict([*others.items()][::every])}


def faults(
    folder: Path,
    ways: Mapping[str, Way],
    output: str,
    above: str,
    environment: Mapping[str, str],
    files: Mapping[str, str],
    judge: Callable[[str, Way, Written], Iterator[Fault]],
    afterwards: Sequence[Sequence[str]] = (),
) -> list[Fault]:
    """Go each way, and return what is wrong with what was written.

    Args:
        folder: where the projects are made.
        ways: by name.
        output: where the commands write, one of the above.
        above: what stands above each script.
        environment: variables that all of them have.
        files: the same of files.
        judge: yields what is wrong, given the name of the way, itself and what was written.
        afterwards: commands that follow those of each way.
    """

    def faults_of(number: int, name: str) -> list[Fault]:
        way, root = ways[name], folder / output / str(number)
        root.mkdir(parents=True)
        with AirtableServer() as server:
            server.add_table(BASE, TABLE)
            project = _create(root, way, output, above, files, server)
            project.environment |= {**environment, "SHOP_URL": server.url, **way.environment}
            written = _written(project, way, output, afterwards, server)
        return [*judge(f"{name}, {output}", way, written)]

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return [fault for found in pool.map(faults_of, range(len(ways)), ways) for fault in found]


def _create(
    root: Path, way: Way, output: str, above: str, files: Mapping[str, str], server: AirtableServer
) -> Project:
    """Return a project as the way has it; its state is in the server if it is to be there."""
    project = Project(root)
    for name, text in {**files, **way.files}.items():
        project.file(name, text)
    if way.script:
        project.script("first", above=above, body=way.script)
    if way.batch:
        written = numbers(project, **{"total": 3, **way.batch})  # type: ignore[arg-type] # by name
        written.path.write_text(f"{above}\n{written.path.read_text()}")
    if way.is_of_store or output == STORE:
        project.environment |= server.settings
        if output == STORE:
            project.run("migrate", "--init")
        for row in way.rows:
            server.add_row(BASE, TABLE, row)
        if way.refusal:
            server.answer(400, way.refusal, times=1000)
    return project


def _written(
    project: Project,
    way: Way,
    output: str,
    afterwards: Sequence[Sequence[str]],
    server: AirtableServer,
) -> Written:
    before = project.tree()
    shown = {
        " ".join(command): _shown(project, command, output)
        for command in (*way.commands, *afterwards)
    }
    kept = {
        name: [content.decode(errors="replace")]
        for name, content in project.tree().items()
        if content and before.get(name) != content and not name.endswith((".pyc", LOCK_FILE))
    }
    if output == STORE:
        kept |= {name: [str(server.rows(BASE, name))] for name in (TABLE, HISTORY_TABLE)}
    return Written(shown, kept)


def _shown(project: Project, command: Sequence[str], output: str) -> Sequence[str]:
    if output != TERMINAL:
        result = project.run(*command)
        return result.stdout, result.stderr
    environment = project.environment_of_run()
    with Terminal([COMMAND, *command], project.root, environment, columns=_COLUMNS) as terminal:
        terminal.wait()
    return (terminal.written.decode(errors="replace"),)
