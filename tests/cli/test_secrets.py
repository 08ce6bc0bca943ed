"""Secrets of the torture are looked for where its short form does not look."""

from pathlib import Path

import pytest
from support.airtable_server import BASE, HISTORY_TABLE, TABLE, AirtableServer
from support.process import Process
from support.project import COMMAND, Project, Result
from support.terminal import Gate, Terminal

from torture.leaks import FILES, HELPERS, IN_ENVIRONMENT, RAISED, shown_in

pytestmark = pytest.mark.slow


@pytest.fixture
def careless(project: Project, server: AirtableServer) -> Project:
    """A project with secrets in its environment and its `.env`, and a service that refuses them."""
    for name, text in FILES.items():
        project.file(name, text)
    project.environment = {**IN_ENVIRONMENT, "SHOP_URL": server.url}
    return project


def written(*results: Result) -> list[str]:
    """Return all that the commands wrote."""
    return [text for result in results for text in (result.stdout, result.stderr)]


def test_a_terminal_shows_no_secret(careless: Project) -> None:
    careless.script("first", above=HELPERS, body=RAISED["logs"])

    with Terminal(
        [COMMAND, "migrate", "--data", "--verbose"],
        careless.root,
        careless.environment_of_run(),
        columns=1000,
    ) as terminal:
        assert terminal.wait() == 1

    assert "***" in terminal.text
    assert shown_in([terminal.text, terminal.written.decode()]) == []


def test_airtable_keeps_no_secret(careless: Project, server: AirtableServer) -> None:
    careless.environment |= {**server.settings, "STORAGE_AIRTABLE_LEASE_SECONDS": "30"}
    careless.script("first", above=HELPERS, body=RAISED["a group with notes"])
    careless.run("migrate", "--init")

    result = careless.run("migrate", "--data", "--verbose")

    assert result.exit_code == 1
    rows = [*server.rows(BASE, TABLE), *server.rows(BASE, HISTORY_TABLE)]
    assert len(rows) == 2
    assert shown_in([str(rows), *written(result)]) == []
    assert server.token not in str(rows)


def test_the_process_list_holds_no_secret(careless: Project, gate: Gate) -> None:
    processes = Path("/proc")
    if not (processes / "self/cmdline").exists():
        pytest.skip("this system has no /proc")
    careless.script("first", body=f"self.log.info('script runs')\n{gate.wait}")

    with Process(careless, "migrate", "--data", anew=True) as process:
        process.wait_for("script runs")
        command_lines = {}
        for path in processes.glob("[0-9]*/cmdline"):
            try:
                # Other tests at the same time may have secrets in theirs.
                if (path.parent / "cwd").readlink() == careless.root:
                    command_lines[path.parent.name] = path.read_bytes().decode(errors="replace")
            except OSError:  # it has ended
                continue
        gate.open()
        assert process.wait().exit_code == 0

    assert "migrate" in command_lines[str(process.pid)]
    assert shown_in(command_lines.values()) == []
