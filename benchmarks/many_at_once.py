"""Many items at once: ten rows in a request to Airtable, and many items in one event loop."""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support.airtable_server import BASE, AirtableServer, RateLimit

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

_RUN = ("migrate", "--data")
_TABLE = "Items"
_MANY = 10
# Airtable's own limit is a tenth of this.
_REQUESTS_A_SECOND = 50
_ITEM_SECONDS = 0.05
_WORKERS = 64
_CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def figures(ours: Contender, folder: Path, rows: int, items: int) -> Iterator[Sequence[str]]:
    """Yield the rows of the table.

    Args:
        ours: the release that runs.
        folder: where the projects are made.
        rows: how many rows of Airtable are changed, one by one and ten by ten.
        items: how many items wait for a while each, one after the other and side by side.
    """
    yield _of_airtable(ours, folder / "airtable", rows)
    yield _asynchronous(ours, folder / "asynchronous", items)


def _of_airtable(ours: Contender, folder: Path, rows: int) -> Sequence[str]:
    one_by_one, together = (
        _seconds_to_change(ours, folder / name, rows, process)
        for name, process in (("one", _ONE_BY_ONE), ("many", _TOGETHER))
    )
    case = f"{rows:,} Airtable rows changed at {_REQUESTS_A_SECOND} requests a second"
    return (
        f"{case}, `many = {_MANY}` beside one by one",
        f"{one_by_one / together:.1f} times as fast ({together:.1f} s, {one_by_one:.1f} s)",
        "≥ 8 times",
    )


def _seconds_to_change(ours: Contender, folder: Path, rows: int, process: str) -> float:
    """Return how long it takes to read and change all rows of a table, as the server sees it."""
    projects.create(folder, 1, _AIRTABLE.format(limit=_REQUESTS_A_SECOND, process=process))
    with AirtableServer(rate_limit=RateLimit(_REQUESTS_A_SECOND), clock=time.monotonic) as server:
        columns: list[dict[str, Any]] = [
            {"name": "Name", "type": "singleLineText"},
            {"name": "Seats", "type": "number", "options": {"precision": 0}},
        ]
        server.add_table(BASE, _TABLE, columns)
        for number in range(rows):
            server.add_row(BASE, _TABLE, {"Name": f"row {number}", "Seats": 0}, _CREATED)
        settings = {**server.settings, "STORAGE_TYPE": "local"}
        measure([ours.command, *_RUN], folder, environment=settings)
        seats = {row["fields"]["Seats"] for row in server.rows(BASE, _TABLE)}
        moments = [request.time for request in server.requests()]
    if seats != {1}:
        raise AssertionError(f"not each row was changed once: {seats}")
    return moments[-1] - moments[0]


def _asynchronous(ours: Contender, folder: Path, items: int) -> Sequence[str]:
    took = Measurements(), Measurements()
    threads = set()
    for workers, into in zip((1, _WORKERS), took, strict=True):
        place = folder / str(workers)
        projects.create(
            place, 1, _ASYNCHRONOUS.format(workers=workers, items=items, seconds=_ITEM_SECONDS)
        )
        measure([ours.command, *_RUN], place, into)
        threads.add((place / "threads.txt").read_text())
    alone, together = (each.median for each in took)
    case = f"{items:,} items of {_ITEM_SECONDS * 1000:.0f} ms each, one asynchronous process"
    faster = f"{alone / together:.1f} times as fast ({together:.1f} s, {alone:.1f} s)"
    return (
        f"{case}: `workers = {_WORKERS}` beside one",
        f"{faster}, in {' or '.join(sorted(threads))} thread",
        "≥ 45 times, one thread",
    )


_AIRTABLE = f"""\
from mpt_tool.clients import airtable
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import AirtableAPIClientMixin

# Ten times as fast as Airtable itself allows, to be quick.
airtable.REQUESTS_A_SECOND = {{limit}}


class Migration(BatchDataMigration, AirtableAPIClientMixin):
    @property
    def table(self):
        return self.airtable_client.table({BASE!r}, {_TABLE!r})

    def items(self, cursor):
        return self.each(self.table, after=cursor)

    {{process}}
"""
_ONE_BY_ONE = """\
def process(self, row):
        self.table.update(row["id"], {"Seats": row["fields"]["Seats"] + 1})
"""
_TOGETHER = f"""\
many = {_MANY}

    def process_many(self, rows):
        seats = [{{"Seats": row["fields"]["Seats"] + 1}} for row in rows]
        ids = [row["id"] for row in rows]
        changed = [{{"id": id_, "fields": each}} for id_, each in zip(ids, seats)]
        self.table.batch_update(changed)
"""
_ASYNCHRONOUS = """\
import asyncio
import threading
from pathlib import Path

from mpt_tool.migration import BatchDataMigration


class Migration(BatchDataMigration):
    workers = {workers}
    threads = set()

    def items(self, cursor):
        return range(0 if cursor is None else cursor + 1, {items})

    async def process(self, item):
        self.threads.add(threading.get_ident())
        await asyncio.sleep({seconds})

    def verify(self):
        Path("threads.txt").write_text(str(len(self.threads)))
"""
