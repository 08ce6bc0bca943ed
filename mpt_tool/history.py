"""Adds each attempt at a migration to the history, which changes no outcome if it cannot be."""

import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import NoHistoryError, StorageError, message_of
from mpt_tool.records import Attempt, ErrorReport, MigrationRecord, Origin
from mpt_tool.redaction import Redact
from mpt_tool.storage import StateRepository
from mpt_tool.tracebacks import frames_in

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class History:
    """Where attempts go, who makes them, and what keeps secrets out of them."""

    repository: StateRepository
    origin: Origin
    redact: Redact

    def append(
        self,
        record: MigrationRecord,
        checksum: str | None,
        outcome: OutcomeEnum,
        *,
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        counts: dict[str, int] | None = None,
        error: ErrorReport | None = None,
    ) -> None:
        """Add an attempt at the migration of this record and script; warn if that fails."""
        seconds = (ended_at - started_at).total_seconds() if started_at and ended_at else None
        attempt = Attempt(
            **dict(self.origin),
            migration_id=record.migration_id,
            order_id=record.order_id,
            type=record.type,
            outcome=outcome,
            started_at=started_at,
            ended_at=ended_at,
            seconds=seconds,
            checksum=checksum,
            counts=counts,
            error=error,
        )
        try:
            self.repository.append(attempt)
        except NoHistoryError as missing:
            log.debug("%s", missing)
        except StorageError as unwritten:
            log.warning("The history lacks this attempt at %s: %s", attempt.migration_id, unwritten)

    def report(self, error: BaseException, path: Path) -> ErrorReport:
        """Return what the history keeps of an error that came out of the script at this path."""
        return ErrorReport(
            kind=self.redact(type(error).__qualname__),
            message=self.redact(message_of(error)),
            frames=tuple(self.redact(frame) for frame in frames_in(error, path)),
        )
