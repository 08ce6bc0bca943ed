"""Adds each attempt at a migration to the history, which changes no outcome if it cannot be."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.errors import (
    NoHistoryError,
    StorageError,
    message_of,
)
from mpt_tool.process.tracebacks import chain_of, frames_in
from mpt_tool.records import Attempt, ErrorReport, MigrationRecord, Origin
from mpt_tool.redaction import Redact
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import timestamp

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
        report = None
        for each in reversed(chain_of(error)):
            report = ErrorReport(
                kind=self.redact(type(each).__qualname__),
                message=self.redact(message_of(each)),
                frames=tuple(self.redact(frame) for frame in frames_in(each, path)),
                cause=report,
            )
        assert report
        return report


def was_applied_by_a_dead_run(
    record: MigrationRecord, repository: StateRepository, append: Callable[..., None]
) -> bool:
    """Say what became of a run that died in this migration, if one did, and record that.

    Raises:
        StorageError: it had applied the migration, which could not be recorded now either.
    """
    if record.status is not MigrationStatusEnum.RUNNING or record.started_at is None:
        return False
    if ended_at := _known_end(record, repository):
        log.warning(
            "Migration %s was applied by a run that could not record it: recorded now,"
            " not run again",
            record.migration_id,
        )
        repository.save(record.finish(ended_at))
        return True
    log.warning(
        "Migration %s began at %s in a run that died: it runs again",
        record.migration_id,
        timestamp(record.started_at),
    )
    append(OutcomeEnum.FOUND_DEAD, started_at=record.started_at)
    return False


def _known_end(record: MigrationRecord, repository: StateRepository) -> datetime | None:
    """Return when the run that began as the record says ended well, if the history tells."""
    try:
        attempts = repository.attempts()
    except StorageError:
        return None
    for attempt in attempts:
        if attempt.migration_id == record.migration_id and attempt.outcome is OutcomeEnum.APPLIED:
            is_that = _is_same_moment(attempt.started_at, record.started_at)
            return attempt.ended_at if is_that else None
    return None


def _is_same_moment(one: datetime | None, other: datetime | None) -> bool:
    """Whether two timestamps are one, although a store may keep only milliseconds."""
    if one is None or other is None:
        return False
    return abs(one - other) < timedelta(milliseconds=1)
