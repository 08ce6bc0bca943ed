"""A rehearsal beside the run that follows it: what the one shows, and what the other changes."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.mpt_server import MPTServer

from benchmarks import projects
from benchmarks.contenders import Contender
from benchmarks.measuring import Measurements, measure

_MIGRATION = "step_00000"
# The second write is of what the first one was answered with.
_SCRIPT = """\
from mpt_tool.migration import BatchDataMigration
from mpt_tool.migration.mixins import MPTAPIClientMixin


class Migration(BatchDataMigration, MPTAPIClientMixin):
    def items(self, cursor):
        return self.each(self.mpt_client.commerce.agreements, after=cursor)

    def process(self, agreement):
        agreements = self.mpt_client.commerce.agreements
        moved = agreements.update(agreement.id, {"seats": agreement.seats + 1})
        terms = {"level": moved.seats * 2, "unit": moved.terms.unit}
        agreements.update(agreement.id, {"terms": terms})
        return "odd" if moved.seats % 2 else "even"
"""

type Fields = dict[tuple[str, str], Any]


def figure(ours: Contender, folder: Path, agreements: int) -> Sequence[str]:
    """Return the row of the table.

    Args:
        ours: the release that runs.
        folder: where the project is made.
        agreements: how many are changed, by two writes each.
    """
    projects.create(folder, 1, _SCRIPT)
    rehearsed, run = Measurements(), Measurements()
    batch = [ours.command, "batch", _MIGRATION]
    with MPTServer() as server:
        for number in range(agreements):
            terms = {"level": number, "unit": "year"}
            server.add_agreement(f"AGR-{number:04}", seats=number, terms=terms)
        expected = _fields(server)
        look = [*batch, "--rehearse", "--limit", str(agreements), "--json"]
        shown = json.loads(measure(look, folder, rehearsed, server.settings))["items"]
        writes = _writes(server)
        for item in shown["rehearsed"]["items"]:
            for change in item["changes"]:
                for field in change["fields"]:
                    expected[item["name"], field["field"]] = field["after"]
        before = _fields(server)
        measure(batch, folder, run, server.settings)
        after = _fields(server)
        made = _writes(server)
    differing = sum(expected[name] != after[name] for name in after.keys() | expected.keys())
    changed = sum(before[name] != after[name] for name in after)
    count = shown["kinds"]["update"]
    shows = f"{writes} writes at the server in {rehearsed.median:.1f} s, {count:,} changes shown"
    then = f"{made:,} writes in {run.median:.1f} s, {changed:,} fields changed"
    return (
        f"a rehearsal of {agreements:,} agreements with two writes each, then the run",
        f"{shows}; then {then}, {differing} otherwise than shown",
        "0 writes, 0 otherwise",
    )


def _writes(server: MPTServer) -> int:
    methods = Counter(request.method for request in server.requests())
    return methods.total() - methods["GET"]


def _fields(server: MPTServer) -> Fields:
    """Return the fields of all agreements."""
    return {
        (each["id"], name): value
        for each in server.agreements()
        for name, value in {
            "seats": each["seats"],
            "terms.level": each["terms"]["level"],
            "terms.unit": each["terms"]["unit"],
        }.items()
    }
