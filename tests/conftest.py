"""Fixtures that tests share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

import pytest
from hypothesis import settings
from support.airtable_server import BASE, TABLE, AirtableServer
from support.postgresql import Postgresql, postgresql
from support.project import Project
from support.terminal import Gate

# Without a deadline: on a machine that has much else to do an example may take any time.
settings.register_profile("mpt-tool", max_examples=60, deadline=None, database=None)
settings.load_profile("mpt-tool")

if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # Whoever starts the tests with nohup: what they start begins without it. A handler is not
    # handed on as an ignored signal is.
    signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project, without a migrations folder."""
    root = tmp_path / "extension"
    root.mkdir()
    return Project(root)


@pytest.fixture
def server() -> Iterator[AirtableServer]:
    """An Airtable with an empty table that has the five columns."""
    with AirtableServer() as server:
        server.add_table(BASE, TABLE)
        yield server


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """What holds up a script until the test lets it pass."""
    with Gate(tmp_path / "gate") as gate:
        yield gate


@pytest.fixture(scope="session")
def database() -> Iterator[Postgresql]:
    """A PostgreSQL, the same for all workers."""
    # Not in pytest's own folder: its next session would shut out the user whom a server runs as.
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with postgresql(Path(gettempdir(), f"postgresql-{run[:12]}")) as running:
        yield running


@pytest.fixture
def schema(database: Postgresql) -> Iterator[str]:
    """The name of a schema in it that is not there yet."""
    with database.schema() as name:
        yield name
