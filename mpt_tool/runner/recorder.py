"""Records one run of a migration, in the store and in the history: start, checkpoints and end."""

from datetime import datetime
from pathlib import Path

from mpt_tool.batch.drive import ItemError
from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.errors import (
    ItemsFailedError,
    MptToolError,
    NoHistoryError,
    ScriptError,
    ScriptFailedError,
    StoppedError,
    StorageError,
    UnbegunError,
)
from mpt_tool.process.log import get_log
from mpt_tool.records import Checkpoint, ErrorReport, MigrationRecord
from mpt_tool.runner.attempts import attempt_at, known_end, report_of
from mpt_tool.runner.context import Context
from mpt_tool.storage.repository import StateRepository
from mpt_tool.wording import timestamp

type Counts = dict[str, int] | None

log = get_log(__name__)


class Recorder:
    """Records one run of one migration.

    Args:
        record: what the store has of the migration, or is to have.
        path: its script.
        checksum: of the syntax tree of the script.
        repository: where it is recorded.
        context: who runs it, and when.
    """

    def __init__(
        self,
        record: MigrationRecord,
        path: Path,
        checksum: str | None,
        repository: StateRepository,
        context: Context,
    ) -> None:
        # As it was saved last, and with what is known since.
        self._saved = self._reached = record
        self._path = path
        self._checksum = checksum
        self._repository = repository
        self._context = context

    @property
    def migration_id(self) -> str:
        """The id of the migration."""
        return self._saved.migration_id

    @property
    def saves_by_request(self) -> bool:
        """Whether a save is a request over a network, so that few are better."""
        return self._repository.is_remote

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the store has a place for them."""
        return "checkpoint" not in self._context.missing

    def recover(self) -> float | None:
        """Say what became of a run that died in this migration, if one did.

        Returns:
            How many seconds it took, if it had applied the migration: that is recorded now.

        Raises:
            StorageError: it could not be recorded now either.
        """
        record = self._saved
        if record.status is not MigrationStatusEnum.RUNNING or record.started_at is None:
            return None
        if ended_at := known_end(record, self._repository):
            log.warning(
                "Migration %s was applied by a run that could not record it: recorded now,"
                " not run again",
                record.migration_id,
            )
            self._save(record.finish(ended_at))
            return self._saved.seconds
        log.warning(
            "Migration %s began at %s in a run that died: it runs again",
            record.migration_id,
            timestamp(record.started_at),
        )
        self._append(OutcomeEnum.FOUND_DEAD, record, ended_at=None)
        return None

    def start(self) -> None:
        """Save that the migration runs.

        Raises:
            UnbegunError: that could not be saved.
        """
        try:
            record = self._saved.start(self._context.clock(), self._context.origin.version)
            self._repository.save(record)
            # The process may have been frozen in the save, until another took the lock.
            self._repository.require_lock()
        except StorageError as error:
            unbegun = UnbegunError(f"Migration {self.migration_id} was not begun: {error}")
            if stopped_by := self._context.stop.cause:
                unbegun.exit_code = stopped_by.exit_code
            raise unbegun from error
        self._saved = self._reached = record

    def reach(self, checkpoint: Checkpoint) -> None:
        """Save how far the migration is.

        Raises:
            StorageError: it could not be saved.
        """
        self._save(self._saved.reach(checkpoint))

    def note(self, checkpoint: Checkpoint) -> None:
        """Note how far the migration came, to be saved with its end."""
        if checkpoint.handled:
            self._reached = self._saved.reach(checkpoint)

    def finish(self, counts: Counts) -> float:
        """Record that the migration is applied; return how many seconds it took.

        Raises:
            StorageError: it could not be recorded.
        """
        running, now = self._saved, self._context.clock()
        applied = running.finish(now)
        try:
            self._repository.save(applied)
        except StorageError as error:
            raise StorageError(
                f"Migration {self.migration_id} was applied, but that could not be recorded:"
                f" {error}. Do not run it again; once it can be recorded:"
                f" mpt-tool migrate --fake {self.migration_id}"
            ) from error
        finally:
            self._append(OutcomeEnum.APPLIED, running, ended_at=now, counts=counts)
        return applied.seconds or 0.0

    def fail(self, error: BaseException, counts: Counts) -> MptToolError:
        """Record that the migration failed, or was interrupted; return the error to end the run."""
        running, stop = self._saved, self._context.stop
        try:
            self._save_failure()
        except StorageError as unsaved:
            log.error("The failure of %s could not be recorded: %s", self.migration_id, unsaved)
        failure = self._failure(error)
        report = report_of(failure.__cause__ or failure, self._path, self._context.redact)
        outcome = OutcomeEnum.INTERRUPTED if stop.cause else OutcomeEnum.FAILED
        self._append(outcome, running, ended_at=self._context.clock(), counts=counts, error=report)
        return failure

    def fake(self) -> None:
        """Record that the migration is applied without having run.

        Raises:
            StorageError: it could not be recorded.
        """
        now = self._context.clock()
        self._save(self._saved.fake(now, self._context.origin.version))
        self._append(OutcomeEnum.FAKED, self._saved, ended_at=now)

    def _save(self, record: MigrationRecord) -> None:
        self._repository.save(record)
        self._saved = self._reached = record

    def _save_failure(self) -> None:
        """Save the failure; if how far it came cannot be kept, with what was saved last.

        Raises:
            StorageError: that cannot be saved either.
        """
        try:
            self._save(self._reached.fail())
        except StorageError as error:
            if self._reached is self._saved:
                raise
            log.error("What was done since the last checkpoint could not be saved: %s", error)
            self._save(self._saved.fail())

    def _failure(self, error: BaseException) -> MptToolError:
        """Return the error to end the run with, for whatever ended the migration."""
        failed = f"Migration {self.migration_id} failed"
        match error:
            case ItemsFailedError() | StoppedError() | StorageError():
                return error
            case ScriptError():
                return ScriptError(f"{failed}: {error}")
            case ItemError(__cause__=ScriptError() as cause):
                return ScriptError(f"{failed}: {error}: {cause}")
            case ItemError(__cause__=BaseException() as cause):
                return ScriptFailedError(f"{failed}: {error}", cause)
        failure = ScriptFailedError(failed, error)
        if stopped_by := self._context.stop.cause:
            failure.exit_code = stopped_by.exit_code
        return failure

    def _append(
        self,
        outcome: OutcomeEnum,
        record: MigrationRecord,
        *,
        ended_at: datetime | None,
        counts: Counts = None,
        error: ErrorReport | None = None,
    ) -> None:
        """Add an attempt to the history; if that fails, it only warns."""
        attempt = attempt_at(
            record, self._context.origin, self._checksum, outcome, ended_at, counts, error
        )
        try:
            self._repository.append(attempt)
        except NoHistoryError as missing:
            log.debug("%s", missing)
        except StorageError as unwritten:
            log.warning("The history lacks this attempt at %s: %s", self.migration_id, unwritten)
