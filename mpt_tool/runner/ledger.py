"""The record of one migration while it runs, whole, whichever of its targets changes it."""

from collections.abc import Sequence

from mpt_tool.records import MigrationRecord, RunRecord


class Ledger:
    """Holds the record of one migration, and in it those of its targets.

    Args:
        record: what the store has of the migration, or is to have.
        targets: all that the migration has now; none if it is made for nothing in particular.
    """

    def __init__(self, record: MigrationRecord, targets: Sequence[str]) -> None:
        self.record = record
        self._targets = targets

    @property
    def column(self) -> str:
        """Where the store keeps how far it is."""
        return "targets" if self._targets else "checkpoint"

    def run_of(self, target: str) -> RunRecord:
        """Return the record of a target; without one, that of the migration."""
        return (self.record.run_of(target) or RunRecord()) if target else self.record

    def enter(self, target: str, run: RunRecord) -> MigrationRecord:
        """Enter the record of a target, or of the migration; return the whole, to be saved."""
        self.record = (
            run
            if isinstance(run, MigrationRecord)
            else self.record.with_run(target, run, self._targets)
        )
        return self.record
