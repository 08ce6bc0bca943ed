"""The extension's own database, a SQLite file beside this module."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import Connection, connect

DATABASE = Path(__file__).parent / "catalogue.db"


@contextmanager
def transaction() -> Iterator[Connection]:
    """Open the database; what is changed within is kept as a whole, or not at all."""
    with closing(connect(DATABASE)) as connection, connection:
        yield connection
