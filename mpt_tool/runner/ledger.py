"""The record of one migration while it runs, whole, whichever of its targets changes it."""

from collections.abc import Sequence

from mpt_tool.records import MigrationRecord, RunRecord
from mpt_tool.storage.repository import StateRepository


class Ledger:
    """Keeps the record of one migration, and in it those of its targets.

    Args:
        record: what the store has of the migration, or is to have.
        targets: all that the migration has now; none if it is made for nothing in particular.
        repository: where it is kept.
    """

    def __init__(
        self, record: MigrationRecord, targets: Sequence[str], repository: StateRepository
    ) -> None:
        self.record = record
        self._targets = targets
        self.repository = repository

    def run_of(self, target: str) -> RunRecord:
        """Return the record of a target; without one, that of the migration."""
        return (self.record.run_of(target) or RunRecord()) if target else self.record

    def save(self, target: str, run: RunRecord) -> None:
        """Keep the record of a target, or of the migration, durably on return.

        Raises:
            StorageError: it could not be kept.
        """
        whole = (
            run
            if isinstance(run, MigrationRecord)
            else self.record.with_run(target, run, self._targets)
        )
        self.repository.save(whole)
        self.record = whole
