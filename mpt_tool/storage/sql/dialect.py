"""SQLAlchemy's dialect of PostgreSQL, less the four questions with which it begins."""

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg


class BriefDialect(PGDialect_psycopg):
    """Takes from the driver what it would ask the server for.

    A command makes a handful of statements: of a server far away those questions would be most of
    what it waits for.
    """

    supports_statement_cache = True

    def initialize(self, connection: Connection) -> None:
        """Learn the version of the server, which it told when it was connected to."""
        version = connection.connection.driver_connection.info.server_version  # type: ignore[union-attr]
        self.server_version_info = divmod(version, 10_000)
