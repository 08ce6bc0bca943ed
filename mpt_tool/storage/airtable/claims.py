"""Keeps the claims of the lock as rows of the state table, in its five columns."""

from collections.abc import Sequence
from datetime import datetime

from pyairtable import Table
from pyairtable.api.types import RecordDict
from requests import HTTPError

from mpt_tool.storage.airtable.errors import explaining_errors, is_gone
from mpt_tool.storage.lease import Claim

PREFIX = "lock:"
_ONLY_CLAIMS = f'LEFT({{migration_id}}, {len(PREFIX)}) = "{PREFIX}"'


class AirtableClaims:
    """A `ClaimStore`: a row is a claim if its `migration_id` begins with `lock:`.

    `order_id` is 0, and `applied_at` says when the claim was last renewed.

    Args:
        table: the state table.
        urgent: the same, by a client whose requests wait for no other: what keeps the lock.
    """

    def __init__(self, table: Table, urgent: Table) -> None:
        self._table = table
        self._urgent = urgent

    def insert(self, name: str) -> Claim:
        """Insert a claim, in a way that may be repeated when the reply was lost."""
        fields = {"migration_id": f"{PREFIX}{name}", "order_id": 0}
        with explaining_errors(self._table):
            result = self._table.batch_upsert([{"fields": fields}], key_fields=["migration_id"])
            return _claim(result["records"][0])

    def read(self) -> Sequence[Claim]:
        """Return all claims, in one request for a hundred of them."""
        with explaining_errors(self._table):
            pages = self._table.api.iterate_requests(
                "get", self._table.urls.records, params={"filterByFormula": _ONLY_CLAIMS}
            )
            return [_claim(row) for page in pages for row in page["records"]]

    def renew(self, claim: Claim, now: datetime) -> bool:
        """Write when the claim was renewed; return whether its row still exists."""
        with explaining_errors(self._table):
            try:
                self._urgent.update(claim.row, {"applied_at": now.isoformat()})
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


def _claim(row: RecordDict) -> Claim:
    fields = row["fields"]
    renewed = fields.get("applied_at")
    return Claim(
        row["id"],
        str(fields["migration_id"]).removeprefix(PREFIX),
        datetime.fromisoformat(row["createdTime"]),
        datetime.fromisoformat(renewed) if renewed else None,
    )
