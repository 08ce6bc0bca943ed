"""Counts the requests that a release makes to Airtable, on a loopback server."""

import re
from pathlib import Path

from support.airtable_server import STATE_COLUMNS, AirtableServer
from support.http_server import Reply, Request

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import CommandFailedError, measure

BASE, TABLE = "appBenchmark00001", "Migrations"
# 6.0.6 keeps a version with each record.
COLUMNS = [*STATE_COLUMNS, {"name": "version", "type": "singleLineText"}]
# The earlier releases have no setting for another address: what they send is diverted.
_DIVERT = """\
import os

from requests.adapters import HTTPAdapter

send = HTTPAdapter.send


def send_to_loopback(self, request, **options):
    address = os.environ["STORAGE_AIRTABLE_ENDPOINT_URL"]
    request.url = request.url.replace("https://api.airtable.com", address, 1)
    return send(self, request, **options)


HTTPAdapter.send = send_to_loopback
"""


class SearchableAirtable(AirtableServer):
    """Also finds rows by their id, which is the formula that the earlier releases use."""

    def handle(self, request: Request) -> Reply:
        """Reply to a request; one that searches for an id gets the rows that have it."""
        [formula] = request.query.get("filterByFormula", [""])
        searched = re.fullmatch(r"\{?migration_id\}? ?= ?'(\w+)'", formula)
        if not searched:
            return super().handle(request)
        rows = self.rows(BASE, TABLE)
        found = [row for row in rows if row["fields"]["migration_id"] == searched[1]]
        return Reply.of(200, {"records": found})


def count_requests(contender: Contender, folder: Path, applied: int, pending: int) -> int:
    """Return how many requests `migrate --data` makes in a new project with its state on Airtable.

    Args:
        contender: the release that runs.
        folder: where the project is made.
        applied: how many migrations are applied.
        pending: how many migrations are not.
    """
    projects.create(folder, applied + pending)
    (folder / "sitecustomize.py").write_text(_DIVERT, encoding="utf-8")
    with SearchableAirtable() as server:
        server.add_table(BASE, TABLE, COLUMNS)
        for record in projects.records(applied):
            server.add_row(BASE, TABLE, record)
        settings = {
            "STORAGE_TYPE": "airtable",
            "STORAGE_AIRTABLE_API_KEY": server.token,
            "STORAGE_AIRTABLE_BASE_ID": BASE,
            "STORAGE_AIRTABLE_TABLE_NAME": TABLE,
            "STORAGE_AIRTABLE_ENDPOINT_URL": server.url,
        }
        newer_names = {f"MPT_TOOL_{name}": value for name, value in settings.items()}
        others = {"AIRTABLE_API_KEY": server.token, "PYTHONPATH": str(folder)}
        command = [contender.command, "migrate", "--data"]
        output = measure(command, folder, environment=settings | newer_names | others)
        done = [row for row in server.rows(BASE, TABLE) if "applied_at" in row["fields"]]
        if len(done) != applied + pending:
            raise CommandFailedError(f"{contender.name} left migrations pending:\n{output}")
        return len(server.requests())
