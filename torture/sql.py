"""The SQL store: connections that the server ends, and processes that are killed."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from support.postgresql import Postgresql, postgresql
from support.project import Project

from mpt_tool.storage.sql.repository import repository_of
from mpt_tool.storage.sql.settings import DatabaseSettings
from torture import contention, journal, random_kills
from torture.contention import WAITING, Records, Store
from torture.figures import Figure
from torture.journal import JournalledProject

_SEED = 20261125
_MODULE = "mpt_tool.storage.sql.repository"
# Between two connections that are ended, in seconds.
_LEAST_PAUSE, _MOST_PAUSE = 0.02, 0.5
# So that there is time to lose the connection in.
_BUSY = "import time\ntime.sleep(0.03)"
_END_ONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND state IS NOT NULL AND pid <> pg_backend_pid()
ORDER BY random() LIMIT 1
"""
_FILE = "state.db"


def crowds(folder: Path, rounds: int, processes: int, migrations: int) -> Iterator[Figure]:
    """Yield figures as `contention.figures` does, while the server ends connections at random."""
    with _server(folder) as server:
        ended: list[int] = []
        stores = (
            Store("PostgreSQL that ends connections", _MODULE, partial(_ending, server, ended)),
            Store("SQLite", _MODULE, _in_file),
        )
        for store in stores:
            for options in ((), WAITING):
                ended.clear()
                of_run = (store, options, folder, rounds, processes, migrations)
                figure = contention.figure(*of_run, between=_BUSY)
                besides = f", {sum(ended)} connections were ended" if ended else ""
                yield replace(figure, besides=figure.besides + besides)


def kills(folder: Path, kills: int, migrations: int) -> Iterator[Figure]:
    """Yield a figure as `random_kills.figures` does for each kind of database."""
    with _server(folder) as server:
        for name, create in (("PostgreSQL", partial(_create, server)), ("SQLite", _create_in_file)):
            yield from random_kills.figures(folder / name, kills, migrations, create, name)


@contextmanager
def _server(folder: Path) -> Iterator[Postgresql]:
    folder.mkdir(parents=True, exist_ok=True)
    with postgresql(folder / "server") as server:
        yield server


@contextmanager
def _ending(
    server: Postgresql, ended: list[int], project: Project
) -> Iterator[Callable[[], Records]]:
    """Keep the state of a project there, and end connections meanwhile."""
    with server.schema() as schema:
        open_state = _kept_in(
            project, STORAGE_DATABASE_URL=server.url, STORAGE_DATABASE_SCHEMA=schema
        )
        is_over, chance = threading.Event(), random.Random(_SEED)
        ending = threading.Thread(target=_end_connections, args=(server, ended, is_over, chance))
        ending.start()

        def records() -> Records:
            is_over.set()
            ending.join()
            return open_state()

        try:
            yield records
        finally:
            is_over.set()
            ending.join()


def _end_connections(
    server: Postgresql, ended: list[int], is_over: threading.Event, chance: random.Random
) -> None:
    with server.connection() as connection:
        while not is_over.wait(chance.uniform(_LEAST_PAUSE, _MOST_PAUSE)):
            ended.append(len(connection.execute(_END_ONE).fetchall()))


@contextmanager
def _in_file(project: Project) -> Iterator[Callable[[], Records]]:
    yield _kept_in(project, STORAGE_DATABASE_URL=f"sqlite:///{_FILE}")


def _kept_in(project: Project, **settings: str) -> Callable[[], Records]:
    """Let a project keep its state there, and return what reads it."""
    project.environment |= {"STORAGE_TYPE": "sql", **settings}
    repository = repository_of(DatabaseSettings.model_validate(settings), project.root)
    repository.initialize()
    return lambda: [record.document() for record in repository.load().records.values()]


def _create(server: Postgresql, folder: Path, migrations: int) -> JournalledProject:
    schema = f"kills_{folder.parent.name}_{folder.name}"
    return _created(
        folder, migrations, STORAGE_DATABASE_URL=server.url, STORAGE_DATABASE_SCHEMA=schema
    )


def _create_in_file(folder: Path, migrations: int) -> JournalledProject:
    return _created(folder, migrations, STORAGE_DATABASE_URL=f"sqlite:///{_FILE}")


def _created(folder: Path, migrations: int, **settings: str) -> JournalledProject:
    open_state = partial(repository_of, DatabaseSettings.model_validate(settings), folder)
    subject = journal.create(folder, migrations, open_state=open_state)
    subject.project.environment = {"STORAGE_TYPE": "sql", **settings}
    open_state().initialize()
    return subject
