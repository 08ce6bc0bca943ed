"""Records one run of a migration, in the store and in the history: start, checkpoints and end."""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.batch.drive import ItemError
from mpt_tool.clients.limiter import is_stop
from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.errors import (
    ExitCode,
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
from mpt_tool.records import (
    Attempt,
    Checkpoint,
    ErrorReport,
    FailedItem,
    FailedItems,
    RunRecord,
)
from mpt_tool.reporting import FoundDead, Saving
from mpt_tool.runner.attempts import attempt_at, known_end, report_of
from mpt_tool.runner.context import Context
from mpt_tool.runner.ledger import Ledger
from mpt_tool.storage.repository import StateRepository, failures_of, not_passed
from mpt_tool.wording import name_of, timestamp

log = get_log(__name__)


class Recorder:
    """Records one run of one migration, or of one of its targets.

    Args:
        ledger: holds the record of the migration.
        target: what it runs for; empty if it has no targets.
        repository: keeps the record and the history.
        path: its script.
        checksum: of the syntax tree of the script.
        context: who runs it, and when.
    """

    def __init__(
        self,
        ledger: Ledger,
        target: str,
        repository: StateRepository,
        path: Path,
        checksum: str | None,
        context: Context,
    ) -> None:
        self._ledger = ledger
        self._target = target
        # As it was saved last, and with what is known since.
        self._saved = self._reached = ledger.run_of(target)
        self._path = path
        self._checksum = checksum
        self._repository = repository
        self._context = context
        # Whether it is still to be said that the store has no place for failed items.
        self._warns_of_no_history = True

    @property
    def migration_id(self) -> str:
        """The id of the migration."""
        return self._ledger.record.migration_id

    @property
    def name(self) -> str:
        """What messages call the migration, or what it is made for."""
        return name_of(self.migration_id, self._target)

    @property
    def saves_by_request(self) -> bool:
        """Whether a save is a request over a network, so that few are better."""
        return self._repository.is_remote

    @property
    def column(self) -> str:
        """Where a checkpoint is kept."""
        return self._ledger.column

    @property
    def keeps_checkpoints(self) -> bool:
        """Whether the store has a place for them."""
        return self.column not in self._context.missing

    def recover(self) -> float | None:
        """Say what became of a run that died in this migration, if one did.

        Returns:
            How many seconds it took, if it had applied the migration: that is recorded now.

        Raises:
            StorageError: it could not be recorded now either.
        """
        run = self._saved
        if run.status is not MigrationStatusEnum.RUNNING or run.started_at is None:
            return None
        if ended_at := known_end(self.migration_id, self._target, run.started_at, self._repository):
            log.warning(
                "Migration %s was applied by a run that could not record it: recorded now,"
                " not run again",
                self.name,
            )
            self._save(run.finish(ended_at))
            return self._saved.seconds
        log.warning(
            "Migration %s began at %s in a run that died: it runs again",
            self.name,
            timestamp(run.started_at),
        )
        self._append(OutcomeEnum.FOUND_DEAD, run, ended_at=None)
        self._context.reporter.note(FoundDead(self.name))
        return None

    def start(self, checkpoint: Checkpoint | None, *, tried: bool = False) -> None:
        """Save that the migration runs, from this checkpoint on; None from its beginning.

        Args:
            checkpoint: where it begins.
            tried: whether some items alone are handled of one that was never run.

        Raises:
            UnbegunError: that could not be saved.
        """
        try:
            if self._context.redact(self._target) != self._target:
                raise StorageError("the name of a target holds a secret, which the state is not to")
            began = self._saved.start(self._context.clock(), self._context.origin.version)
            run = began.reach(checkpoint and checkpoint.model_copy(update={"tried": tried}))
            self._repository.save(self._ledger.enter(self._target, run))
            # The process may have been frozen in the save, until another took the lock.
            self._repository.require_lock()
        except StorageError as error:
            reason = f"Migration {self.name} was not begun: {error}"
            unbegun = UnbegunError(reason, topic=error.topic)
            if stopped_by := self._context.stop.cause:
                unbegun.exit_code = stopped_by.exit_code
            raise unbegun from error
        self._saved = self._reached = run

    def reach(self, checkpoint: Checkpoint, failed: Sequence[FailedItem] = ()) -> None:
        """Save how far the migration is.

        Args:
            checkpoint: how far.
            failed: the last items that failed, which are kept in the history.

        Raises:
            StorageError: it could not be saved; or it has durable steps, and the store no place.
        """
        if checkpoint.steps and not self.keeps_checkpoints:
            raise StorageError(
                f"once() cannot keep what {self.name} makes, as the store has no column"
                f" {self.column}; mpt-tool migrate --init adds the column"
            )
        now = self._context.clock()
        run = self._saved.reach(checkpoint.model_copy(update={"reached_at": now}))
        self._require_no_secret(run, failed)
        with self._context.reporter.during(Saving(checkpoint.handled)):
            if failed:
                self._keep(checkpoint, failed)
            self._save(run)

    def _keep(self, checkpoint: Checkpoint, failed: Sequence[FailedItem]) -> None:
        """Keep failed items in the history; without one, say that they are not kept.

        Raises:
            StorageError: they could not be kept; or they have durable steps, and there is none.
        """
        try:
            self._repository.append(
                FailedItems(
                    run_id=self._context.origin.run_id,
                    migration_id=self.migration_id,
                    target=self._target or None,
                    since=checkpoint.since,
                    first=checkpoint.next_failure - len(failed),
                    failed=tuple(failed),
                )
            )
        except NoHistoryError as missing:
            if any(item.steps for item in failed):
                raise StorageError(
                    f"What once() made for failed items of {self.name} cannot be kept: {missing}"
                ) from missing
            if self._warns_of_no_history:
                log.warning("Which items of %s fail is not kept: %s", self.name, missing)
                self._warns_of_no_history = False

    def failures(self, checkpoint: Checkpoint) -> list[FailedItem]:
        """Return the failed items of a checkpoint, as far as they were kept, in their order.

        Raises:
            StorageError: they cannot be read.
        """
        try:
            return failures_of(self._repository, self.migration_id, self._target, checkpoint)
        except NoHistoryError:
            return []

    def not_passed(self, checkpoint: Checkpoint) -> dict[int, FailedItem]:
        """Return the failed items with durable steps that still hold, by their numbers.

        Raises:
            StorageError: they cannot be read.
        """
        try:
            return not_passed(self._repository, self.migration_id, self._target, checkpoint)
        except NoHistoryError:
            # Where there is no place for any, none was lost: the run ended instead.
            return {}

    def note(self, checkpoint: Checkpoint) -> None:
        """Note how far the migration came, to be saved with its end."""
        if checkpoint.handled or checkpoint.steps:
            self._reached = self._saved.reach(checkpoint)

    def finish(self, tally: Tally | None) -> float:
        """Record that the migration is applied; return how many seconds it took.

        Raises:
            StorageError: it could not be recorded.
        """
        now = self._context.clock()
        applied = self._saved.finish(now)
        of_target = f" --target {shlex.quote(self._target)}" if self._target else ""
        try:
            self._repository.save(self._ledger.enter(self._target, applied))
        except StorageError as error:
            raise StorageError(
                f"Migration {self.name} was applied, but that could not be recorded:"
                f" {error}. Do not run it again; once it can be recorded:"
                f" mpt-tool migrate --fake {self.migration_id}{of_target}",
                topic="not-recorded",
            ) from error
        finally:
            self._append(OutcomeEnum.APPLIED, applied, ended_at=now, tally=tally)
        return applied.seconds or 0.0

    @contextmanager
    def failing(self, tally: Tally | None) -> Iterator[None]:
        """Record what is raised meanwhile, and raise the error to end the run with instead.

        Raises:
            MptToolError: something was raised.
        """
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised as ours, once it is recorded
            failure = self._fail(error, tally)
            raise failure from failure.__cause__

    def _fail(self, error: BaseException, tally: Tally | None) -> MptToolError:
        """Record that the migration failed, or was stopped; return the error to end the run."""
        running, stop = self._saved, self._context.stop
        try:
            self._save_failure()
        except StorageError as unsaved:
            log.error("The failure of %s could not be recorded: %s", self.name, unsaved)
        failure = self._failure_of(error)
        is_stopped = stop.cause or isinstance(failure, StoppedError)
        outcome = OutcomeEnum.STOPPED if is_stopped else OutcomeEnum.FAILED
        self._append(outcome, running, ended_at=self._context.clock(), tally=tally, error=failure)
        return failure

    @contextmanager
    def trying(self, tally: Tally, checkpoint: Checkpoint, *, is_begun: bool) -> Iterator[None]:
        """Record that some items are handled out of their turn, and what fails.

        Meanwhile the migration is running. Then it is as it was before, but for durable steps.

        Args:
            tally: counts the items.
            checkpoint: how far the migration is.
            is_begun: whether it was ever run.

        Raises:
            MptToolError: something was raised, or could not be recorded.
        """
        before, failure = self._saved, None
        run = RunRecord(started_at=self._context.clock())
        # Without a place for that, it could not be told afterwards from one that has failed.
        is_recorded = is_begun or self.keeps_checkpoints
        if is_recorded:
            self.start(checkpoint, tried=not is_begun)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised as ours, once it is on record
            failure = self._failure_of(error)
        try:
            if is_recorded:
                # One that had no checkpoint gets none, unless something is to be kept.
                is_kept = before.checkpoint or not is_begun or self._has_steps
                self._save(before.reach(self._saved.checkpoint if is_kept else None))
        except StorageError as error:
            log.error("That some items of %s were handled could not be recorded", self.name)
            failure = failure or error
        ended_at = self._context.clock()
        # However that ended: the migration itself was neither stopped nor has it failed.
        self._append(OutcomeEnum.TRIED, run, ended_at=ended_at, tally=tally, error=failure)
        if failure:
            raise failure from failure.__cause__

    @property
    def _has_steps(self) -> bool:
        checkpoint = self._saved.checkpoint
        return checkpoint is not None and bool(checkpoint.steps)

    def _require_no_secret(self, run: RunRecord, failed: Sequence[FailedItem] = ()) -> None:
        """Refuse to keep how far a run came, or which items failed, if that tells a secret.

        Raises:
            StorageError: it does.
        """
        checkpoint, redact = run.checkpoint, self._context.redact
        # A number tells none.
        if checkpoint and (checkpoint.steps or not isinstance(checkpoint.cursor, int | None)):
            # The steps of failed items were in a checkpoint before.
            cursors = [item.cursor for item in failed]
            told = json.dumps([checkpoint.document(), cursors], ensure_ascii=False)
            if redact(told) != told:
                raise StorageError(
                    f"The progress of {self.name} holds a secret, in a cursor or in what once()"
                    " keeps, and the state is to hold none: use an id"
                )

    def _save(self, run: RunRecord) -> None:
        self._repository.save(self._ledger.enter(self._target, run))
        self._saved = self._reached = run

    def _save_failure(self) -> None:
        """Save the failure; if how far it came cannot be kept, with what was saved last.

        Raises:
            StorageError: that cannot be saved either.
        """
        try:
            self._require_no_secret(self._reached)
            self._save(self._reached.fail())
        except StorageError as error:
            if self._reached is self._saved:
                raise
            log.error("What was done since the last checkpoint could not be saved: %s", error)
            self._save(self._saved.fail())

    def _failure_of(self, error: BaseException) -> MptToolError:
        """Return the error to end the run with, for whatever ended the migration."""
        failed = f"Migration {self.name} failed"
        match error:
            case ItemsFailedError() | StoppedError() | StorageError():
                return error
            case ItemError(__cause__=StorageError() as cause):
                return cause
            case ScriptError():
                return ScriptError(f"{failed}: {error}")
            case ItemError(__cause__=ScriptError() as cause):
                return ScriptError(f"{failed}: {error}: {cause}")
            case ItemError(__cause__=BaseException() as cause):
                return ScriptFailedError(f"{failed}: {error}", cause)
        stopped_by = self._context.stop.cause
        if stopped_by and stopped_by.exit_code != ExitCode.FAILED and is_stop(error):
            anew = f"Migration {self.name} was {stopped_by}: the next run begins it anew"
            return StoppedError(anew, stopped_by.exit_code, error)
        failure = ScriptFailedError(failed, error)
        if stopped_by:
            failure.exit_code = stopped_by.exit_code
        return failure

    def _append(
        self,
        outcome: OutcomeEnum,
        run: RunRecord,
        *,
        ended_at: datetime | None,
        tally: Tally | None = None,
        error: MptToolError | None = None,
    ) -> None:
        """Add an attempt to the history; if that fails, it only warns."""
        cause = error and (error.__cause__ or error)
        attempt = attempt_at(
            self._ledger.record,
            self._target,
            run.started_at,
            self._context.origin,
            self._checksum,
            outcome,
            ended_at,
            tally,
            self._report_of(cause, tally) if cause else None,
        )
        append(attempt, self._repository)

    def _report_of(self, error: BaseException, tally: Tally | None) -> ErrorReport:
        """Return what the history keeps of an error; of failed items, of the last one of them."""
        path, redact = self._path, self._context.redact
        if not isinstance(error, ItemsFailedError):
            return report_of(error, path, redact)
        # Which ones, and the errors of all, `failures` tells.
        last = tally.last_error if tally else None
        return ErrorReport(
            kind=type(error).__qualname__,
            message=redact(error.failed),
            cause=report_of(last, path, redact) if last else None,
        )


def append(attempt: Attempt, repository: StateRepository) -> None:
    """Add an attempt to the history; if that fails, it only warns."""
    try:
        repository.append(attempt)
    except NoHistoryError as missing:
        log.debug("%s", missing)
    except StorageError as unwritten:
        name = name_of(attempt.migration_id, attempt.target or "")
        log.warning("The history lacks this attempt at %s: %s", name, unwritten)
