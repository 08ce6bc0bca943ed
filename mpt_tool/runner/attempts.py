"""What the history keeps of an attempt, and what it tells of a run that died."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import StorageError, said_by
from mpt_tool.process.tracebacks import chain_of, frames_in
from mpt_tool.records import Attempt, ErrorReport, MigrationRecord, Origin, seconds_between
from mpt_tool.redaction import Redact
from mpt_tool.scripts.plan import Entry, running
from mpt_tool.storage.repository import Holder, StateRepository

# How many exceptions of a chain are kept: the last ones raised and as many of the first.
_LONGEST_CHAIN = 100


def attempt_at(
    record: MigrationRecord,
    target: str,
    started_at: datetime | None,
    origin: Origin,
    checksum: str | None,
    outcome: OutcomeEnum,
    ended_at: datetime | None,
    tally: Tally | None = None,
    error: ErrorReport | None = None,
) -> Attempt:
    """Return an attempt for the history.

    Args:
        record: of the migration that was attempted.
        target: the one of its targets that it was made for, if it has any.
        started_at: when it began; None if nobody knows.
        origin: who made the attempt.
        checksum: of the syntax tree of the script.
        outcome: how it ended.
        ended_at: when; None if nobody knows.
        tally: counts the items of a batch migration.
        error: what it ended with.
    """
    return Attempt(
        **dict(origin),
        migration_id=record.migration_id,
        order_id=record.order_id,
        type=record.type,
        outcome=outcome,
        target=target or None,
        started_at=started_at,
        ended_at=ended_at,
        seconds=seconds_between(started_at, ended_at),
        checksum=checksum,
        counts=tally.counts() if tally else None,
        outcomes=(dict(tally.outcomes) or None) if tally else None,
        error=error,
    )


def unended(entries: Iterable[Entry], holder: Holder | None) -> list[Attempt]:
    """Return the attempts that nobody has recorded the end of yet, the newest first.

    Args:
        entries: a plan.
        holder: who holds the lock; None if nobody does.
    """
    attempts = [_unended(entry, holder) for entry in running(entries)]
    return sorted(attempts, key=lambda each: str(each.started_at), reverse=True)


def _unended(entry: Entry, holder: Holder | None) -> Attempt:
    """Return the attempt that an entry is running in, with what is known of who makes it."""
    record = entry.record
    assert record
    assert entry.type
    checkpoint = record.checkpoint
    known = holder if holder and not entry.is_left else None
    return Attempt(
        run_id=known.run_id if known else "",
        user=known.user if known else "",
        host=known.host if known else "",
        process=int(known.process) if known and known.process.isdecimal() else 0,
        version=record.version,
        tool_version="",
        migration_id=entry.migration_id,
        order_id=entry.order_id,
        type=entry.type,
        outcome=OutcomeEnum.FOUND_DEAD if entry.is_left else OutcomeEnum.RUNNING,
        started_at=record.started_at,
        target=entry.target or None,
        counts=checkpoint.counts() if checkpoint and checkpoint.handled else None,
        outcomes=(checkpoint.outcomes or None) if checkpoint else None,
    )


def report_of(error: BaseException, path: Path, redact: Redact) -> ErrorReport:
    """Return what the history keeps of an error that came out of the script at this path."""
    report, chain = None, chain_of(error)
    half = _LONGEST_CHAIN // 2
    kept = chain if len(chain) <= _LONGEST_CHAIN else chain[:half] + chain[-half:]
    for each in reversed(kept):
        report = ErrorReport(
            kind=redact(type(each).__qualname__),
            message=redact(said_by(each)),
            frames=tuple(redact(frame) for frame in frames_in(each, path)),
            cause=report,
        )
    assert report
    return report


def known_end(
    migration_id: str, target: str, started_at: datetime, repository: StateRepository
) -> datetime | None:
    """Return when the run ended well that began then, if the history tells."""
    try:
        attempts = repository.attempts()
    except StorageError:
        return None
    for attempt in attempts:
        is_of_it = (attempt.migration_id, attempt.target or "") == (migration_id, target)
        if is_of_it and attempt.outcome is OutcomeEnum.APPLIED:
            is_that = _is_same_moment(attempt.started_at, started_at)
            return attempt.ended_at if is_that else None
    return None


def _is_same_moment(one: datetime | None, other: datetime | None) -> bool:
    """Whether two timestamps are one, although a store may keep only milliseconds."""
    if one is None or other is None:
        return False
    return abs(one - other) < timedelta(milliseconds=1)
