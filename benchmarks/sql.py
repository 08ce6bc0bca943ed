"""What a migration costs in a database: round trips to PostgreSQL, and SQLite beside the file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.postgresql import postgresql
from support.postgresql_proxy import counting_proxy

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

HEAD = ("Case", "Figure", "Target")
_SQLITE = {"STORAGE_TYPE": "sql", "STORAGE_DATABASE_URL": "sqlite:///state.db"}
_RUN = ("migrate", "--data", "--quiet")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Args:
        applied: how many migrations PostgreSQL has as applied.
        pending: how many are pending there.
        sizes: how many are pending on SQLite, and beside it in the local file.
    """

    applied: int
    pending: int
    sizes: Sequence[int]


LONG = Extent(10_000, 10, (1_250, 2_500, 5_000))
SHORT = Extent(100, 2, (20, 40))


def figures(ours: Contender, folder: Path, extent: Extent) -> Iterator[Sequence[str]]:
    """Yield the rows of the table; `folder` is where projects and the server are made."""
    folder.mkdir(parents=True)
    yield from _round_trips(ours, folder / "postgresql", extent)
    for size in extent.sizes:
        root = folder / str(size)
        projects.create(root, size)
        local, sqlite = _seconds(ours, root, {}), _seconds(ours, root, _SQLITE)
        yield (
            f"{size:,} pending that do nothing, SQLite beside the local file",
            f"{sqlite:.1f} s beside {local:.1f} s: {local / sqlite:.1f} times as fast",
            "≥ 5 times for 5,000",
        )


def _round_trips(ours: Contender, folder: Path, extent: Extent) -> Iterator[Sequence[str]]:
    projects.create(folder, extent.applied + extent.pending)
    with (
        postgresql(folder / "server") as server,
        counting_proxy(server.url) as (proxy, url),
    ):
        environment = {"STORAGE_TYPE": "sql", "STORAGE_DATABASE_URL": url}
        measure([ours.command, "migrate", "--init"], folder, None, environment)
        with server.connection() as connection:
            for record in projects.records(extent.applied):
                columns = ", ".join(record)
                values = ", ".join(f"%({name})s" for name in record)
                insert = f"INSERT INTO mpt_migrations_records ({columns}) VALUES ({values})"
                connection.execute(insert, record)
        trips = []
        for words in (("migrate", "--list", "--json"), _RUN, _RUN):
            proxy.trips = 0
            measure([ours.command, *words], folder, None, environment)
            trips.append(proxy.trips)
    learning, running, nothing = trips
    place = f"PostgreSQL, {extent.applied:,} applied, {extent.pending} pending"
    yield f"{place}: to learn what is pending", f"{learning} round trips", "≤ 3"
    each = (running - nothing) / extent.pending
    yield f"{place}: a migration, looks at the lock included", f"{each:.1f} round trips", "≤ 4"


def _seconds(ours: Contender, root: Path, environment: Mapping[str, str]) -> float:
    """Return how long a run of all migrations takes."""
    result = Measurements()
    with _kept(ours, root, environment):
        measure([ours.command, *_RUN], root, result, environment)
    return result.median


@contextmanager
def _kept(ours: Contender, root: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Make the state anew, and delete it afterwards."""
    measure([ours.command, "migrate", "--init"], root, None, environment)
    try:
        yield
    finally:
        for path in (*root.glob("state.db*"), *root.glob(".migrations-*")):
            path.unlink()
