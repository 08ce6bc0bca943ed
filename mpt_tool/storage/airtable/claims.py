"""Keeps the claims of the lock as rows of the state table, in its five columns."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pyairtable import Table
from pyairtable.api.types import RecordDict
from requests import HTTPError

from mpt_tool.storage.airtable.errors import explaining_errors, is_gone
from mpt_tool.storage.lease import Claim

PREFIX = "lock:"
_ONLY_CLAIMS = f'LEFT({{migration_id}}, {len(PREFIX)}) = "{PREFIX}"'


class AirtableClaims:
    """A `ClaimStore`: a row is a claim if its `migration_id` begins with `lock:`.

    `order_id` is 0, or 1 once the holder is asked to stop. `started_at` says since when the claim
    holds the lock, and `applied_at` when it was last renewed.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def insert(self, name: str) -> Claim:
        """Insert a claim, in a way that may be repeated when the reply was lost."""
        fields = {"migration_id": f"{PREFIX}{name}", "order_id": 0}
        with explaining_errors(self._table):
            result = self._table.batch_upsert([{"fields": fields}], key_fields=["migration_id"])
            return claim_of(result["records"][0])

    def read(self) -> Sequence[Claim]:
        """Return all claims, in one request for a hundred of them."""
        with explaining_errors(self._table):
            pages = self._table.api.iterate_requests(
                "get", self._table.urls.records, params={"filterByFormula": _ONLY_CLAIMS}
            )
            return [claim_of(row) for page in pages for row in page["records"]]

    def renew(self, claim: Claim, now: datetime) -> bool:
        """Write when the claim was renewed; return whether its row still exists."""
        return self._update(claim, {"applied_at": now.isoformat()})

    def hold(self, claim: Claim, now: datetime) -> bool:
        """Write that the claim is held from now on; return whether its row still exists."""
        return self._update(claim, dict.fromkeys(("started_at", "applied_at"), now.isoformat()))

    def ask_to_stop(self, claim: Claim) -> None:
        """Write that whoever holds the claim is to stop, if its row still exists."""
        self._update(claim, {"order_id": 1})

    def _update(self, claim: Claim, fields: dict[str, Any]) -> bool:
        with explaining_errors(self._table):
            try:
                self._table.update(claim.row, fields)
            except HTTPError as error:
                if not is_gone(error):
                    raise
                return False
            return True

    def delete(self, claim: Claim) -> None:
        """Delete the row, if it still exists."""
        with explaining_errors(self._table):
            try:
                self._table.delete(claim.row)
            except HTTPError as error:
                if not is_gone(error):
                    raise


def is_claim(row: RecordDict) -> bool:
    """Whether a row of the table is a claim, and no record."""
    return str(row["fields"].get("migration_id", "")).startswith(PREFIX)


def claim_of(row: RecordDict) -> Claim:
    """Return the claim that a row is."""
    fields = row["fields"]
    created, renewed, held = (
        datetime.fromisoformat(moment) if moment else None
        for moment in (row["createdTime"], fields.get("applied_at"), fields.get("started_at"))
    )
    assert created
    name = str(fields["migration_id"]).removeprefix(PREFIX)
    return Claim(row["id"], name, created, renewed, held, bool(fields.get("order_id")))
