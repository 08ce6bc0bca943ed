"""What is kept: the record of a migration with its transitions, and of each attempt at it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum, OutcomeEnum
from mpt_tool.wording import in_items, of_total


def _in_utc(value: object) -> datetime | None:
    """Return a timestamp in UTC; text is read as ISO 8601, and without an offset it is UTC."""
    if value is None:
        return None
    if not isinstance(value, datetime | str):
        raise ValueError("a date-time in ISO 8601 or null is needed")  # noqa: TRY004 - for pydantic
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range once it is in UTC") from error


def _isoformat(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


Timestamp = Annotated[datetime | None, BeforeValidator(_in_utc), PlainSerializer(_isoformat)]


class _Value(BaseModel):
    """What is kept; most commands need few of them, so each is built on first use."""

    model_config = ConfigDict(frozen=True, defer_build=True)


class KeptStep(_Value):
    """A durable step that was begun: its key, the item that it is of if any, and what it made.

    As long as it is not made, nobody knows whether it was: the run may have died in it.
    """

    key: str
    cursor: Any = None
    value: Any = None
    is_made: bool = False


class FailedItem(_Value):
    """An item of a batch migration that failed for good: its cursor, why, and its durable steps."""

    cursor: Any
    error: str
    steps: tuple[KeptStep, ...] = ()


class Checkpoint(_Value):
    """How far a migration is: all items up to the cursor are done, or failed.

    `since` is when the first run began, `checksum` that of the script, `total` how many items there
    are in all if that is known, `outcomes` how many items came to each. `done` tells that no item
    is left but failed ones. The failed items are in the history, numbered: `retried` is the number
    of the first of them, `next_failure` that of the next one. `unpassed` are the
    first and the last numbers of those that failed before it was begun anew and were not passed
    since, so that their durable steps still hold. `rate` is how many items a second the run
    handled that reached it, and `reached_at` when that was. `tried` tells that it was never run,
    but for some items alone.
    """

    cursor: Any
    processed: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)] = 0
    total: int | None = None
    since: Timestamp
    checksum: str | None = None
    done: bool = False
    retried: Annotated[int, Field(ge=0)] = 0
    outcomes: dict[str, int] = {}
    steps: tuple[KeptStep, ...] = ()
    unpassed: tuple[tuple[int, int], ...] = ()
    rate: float | None = None
    reached_at: Timestamp = None
    tried: bool = False

    @property
    def handled(self) -> int:
        """How many items lie behind, done or failed."""
        return self.processed + self.failed

    def counts(self) -> dict[str, int]:
        """Return the counts by name, as an attempt has them."""
        return counted(self.processed, self.failed, self.total)

    @property
    def next_failure(self) -> int:
        """The number of the next item that fails."""
        return self.retried + self.failed

    @property
    def is_to_be_verified(self) -> bool:
        """Whether all is done, and only `verify` is left."""
        return self.done and not self.failed

    @property
    def is_of_failed_items(self) -> bool:
        """Whether all is done but what failed."""
        return self.done and self.failed > 0

    @property
    def not_passed(self) -> tuple[tuple[int, int], ...]:
        """The numbers, as in `unpassed`, of all failed items whose durable steps still hold."""
        last = (self.retried, self.next_failure - 1)
        return (*self.unpassed, last) if self.failed else self.unpassed

    def is_of_another(self, checksum: str | None) -> bool:
        """Whether it is the author who has to say how a script of this checksum goes on."""
        if self.is_to_be_verified or not self.handled:
            return False
        return self.checksum not in (None, checksum)

    def __str__(self) -> str:
        """Return how many items lie behind, of how many."""
        return of_total(self.handled, self.total)

    @property
    def in_items(self) -> str:
        """The same with its noun."""
        return in_items(self.handled, self.total)

    def document(self) -> dict[str, Any]:
        """Return the checkpoint as JSON values, without what few migrations have."""
        document = self.model_dump(mode="json")
        for optional in ("retried", "outcomes", "steps", "unpassed", "rate", "reached_at", "tried"):
            if not document[optional]:
                del document[optional]
        return document


class RunRecord(BaseModel):
    """When a run of a migration, or of one of its targets, began and ended, and how far it came.

    Timestamps are in UTC; one that comes without an offset is taken for UTC.
    """

    model_config = ConfigDict(frozen=True)

    started_at: Timestamp = None
    applied_at: Timestamp = None
    version: str | None = None
    checkpoint: Checkpoint | None = None

    @property
    def status(self) -> MigrationStatusEnum:
        """The status that the two timestamps tell, unless just some items were tried."""
        if self.applied_at:
            return MigrationStatusEnum.APPLIED if self.started_at else MigrationStatusEnum.FAKED
        if self.started_at:
            return MigrationStatusEnum.RUNNING
        is_tried = self.checkpoint is not None and self.checkpoint.tried
        return MigrationStatusEnum.NOT_APPLIED if is_tried else MigrationStatusEnum.FAILED

    @property
    def seconds(self) -> float | None:
        """How long the run took that applied it; None if none did."""
        return seconds_between(self.started_at, self.applied_at)

    def start(self, now: datetime, version: str | None) -> Self:
        """Return the record of a run that begins now, by this version of the service."""
        return self.model_copy(update={"started_at": now, "applied_at": None, "version": version})

    def reach(self, checkpoint: Checkpoint | None) -> Self:
        """Return the record of a run that came so far."""
        return self.model_copy(update={"checkpoint": checkpoint})

    def finish(self, now: datetime) -> Self:
        """Return the record of a run that ended well now."""
        return self.model_copy(update={"applied_at": now, "checkpoint": None})

    def fail(self) -> Self:
        """Return the record of a run that failed; its checkpoint stays."""
        return self.model_copy(update={"started_at": None, "applied_at": None})

    def fake(self, now: datetime, version: str | None) -> Self:
        """Return the record of what is marked as applied without a run."""
        update = {
            "started_at": None,
            "applied_at": now,
            "version": version,
            "checkpoint": None,
        }
        return self.model_copy(update=update)

    def document(self) -> dict[str, Any]:
        """Return the record as JSON values: timestamps always, the rest where it is set."""
        document = self.model_dump(mode="json", exclude={"checkpoint", "targets"})
        if self.version is None:
            del document["version"]
        if self.checkpoint:
            document["checkpoint"] = self.checkpoint.document()
        return document


class MigrationRecord(RunRecord):
    """The state of one migration, as the store keeps it; keys not known here are kept, too.

    One that has targets has a record of each that was begun, and is as a whole what those are that
    were wanted last: running if one runs, applied if all are.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    migration_id: Annotated[str, Field(strict=True, min_length=1)]
    order_id: Annotated[int, Field(strict=True, ge=0)]
    started_at: Timestamp
    applied_at: Timestamp
    type: MigrationTypeEnum
    targets: dict[str, RunRecord] | None = None

    @classmethod
    def new(cls, migration_id: str, order_id: int, migration_type: MigrationTypeEnum) -> Self:
        """Return the record of a migration that has not begun."""
        return cls(
            migration_id=migration_id,
            order_id=order_id,
            started_at=None,
            applied_at=None,
            type=migration_type,
        )

    def run_of(self, target: str) -> RunRecord | None:
        """Return the record of a target; None if it was not begun.

        A migration that is applied without a record of any target is so for all of them: it was
        when it had none, or is kept where there is no place for them.
        """
        if self.applied_at and not self.targets:
            return RunRecord(started_at=self.started_at, applied_at=self.applied_at)
        return (self.targets or {}).get(target)

    @property
    def failed(self) -> int:
        """How many items of a batch migration failed, of all of its targets."""
        return sum(checkpoint.failed for checkpoint in self.checkpoints)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """How far it is, and each of its targets."""
        runs = (self, *(self.targets or {}).values())
        return [run.checkpoint for run in runs if run.checkpoint]

    def narrowed(self, run: RunRecord) -> Self:
        """Return the record of the migration as if it were that of one of its targets."""
        return self.model_copy(update={**dict(run), "targets": None})

    def with_run(self, target: str, run: RunRecord, wanted: Sequence[str]) -> Self:
        """Return the record in which this is the run of a target.

        Args:
            target: the one that runs, or has run.
            run: its record.
            wanted: all targets that the migration has now.
        """
        targets = {**(self.targets or {}), target: run}
        # A checkpoint of its own is from before it had targets.
        update = {"targets": targets, "version": run.version, "checkpoint": None}
        return self.model_copy(update=update).over(wanted)

    def over(self, wanted: Sequence[str]) -> Self:
        """Return the record as it stands for these targets: running if one is, applied if all are.

        Without any, or if no target has a record of its own, it is as it was.
        """
        if not (self.targets and wanted):
            return self
        runs = [self.targets.get(each, RunRecord()) for each in wanted]
        started = [run.started_at for run in runs if run.started_at]
        applied = [run.applied_at for run in runs if run.applied_at]
        if len(applied) == len(runs):
            update = {"started_at": min(started, default=None), "applied_at": max(applied)}
        else:
            running = (run.started_at for run in runs if run.status is MigrationStatusEnum.RUNNING)
            update = {"started_at": next(running, None), "applied_at": None}
        return self.model_copy(update=update)

    def document(self) -> dict[str, Any]:
        """Return the record as JSON values: the five columns always, the rest where it is set."""
        document = super().document()
        if self.targets:
            document["targets"] = {name: run.document() for name, run in self.targets.items()}
        return {name: document.pop(name) for name in COLUMNS} | document


COLUMNS = ("migration_id", "order_id", "started_at", "applied_at", "type")


class Origin(_Value):
    """The process that makes a change: which run it is, by whom, where and from which versions."""

    run_id: str
    user: str
    host: str
    process: int
    version: str | None = None
    tool_version: str


class ErrorReport(_Value):
    """What a script raised: the class, the message, the frames in the script itself, the cause."""

    kind: str
    message: str
    frames: tuple[str, ...] = ()
    cause: "ErrorReport | None" = None


class Attempt(Origin):
    """One attempt at a migration, as the history keeps it. Timestamps are in UTC.

    `ended_at` is empty if nobody knows when it ended. `checksum` is of the script's syntax tree.
    `counts` and `outcomes` are those of a batch migration.
    """

    migration_id: str
    order_id: int
    type: MigrationTypeEnum
    outcome: OutcomeEnum
    started_at: Timestamp = None
    ended_at: Timestamp = None
    seconds: Annotated[float, Field(allow_inf_nan=False)] | None = None
    checksum: str | None = None
    target: str | None = None
    counts: dict[str, int] | None = None
    outcomes: dict[str, int] | None = None
    error: ErrorReport | None = None

    def document(self) -> dict[str, Any]:
        """Return the attempt as JSON values, without what is not known."""
        # Of one that is still running, who makes it may not be: no history keeps that.
        is_kept = bool(self.tool_version)
        unknown = {name for name in Origin.model_fields if not (is_kept or getattr(self, name))}
        return self.model_dump(mode="json", exclude_none=True, exclude=unknown)


class FailedItems(_Value):
    """Failed items of one run of a batch migration, in the order in which they failed.

    `since` is that of the checkpoint they belong to; `first` is the number of the first one.
    """

    run_id: str
    migration_id: str
    target: str | None = None
    since: Timestamp
    first: int
    failed: tuple[FailedItem, ...]

    def document(self) -> dict[str, Any]:
        """Return the items as JSON values, without what few of them have."""
        return self.model_dump(mode="json", exclude_defaults=True)


def counted(processed: int, failed: int, total: int | None) -> dict[str, int]:
    """Return counts of items by name, the total if it is known."""
    return {"processed": processed, "failed": failed, **({} if total is None else {"total": total})}


def seconds_between(began: datetime | None, ended: datetime | None) -> float | None:
    """Return how long that took; None if one of the two is not known.

    A clock that was put back meanwhile makes it 0.
    """
    return max(0.0, (ended - began).total_seconds()) if began and ended else None


def describe(error: ValidationError) -> str:
    """Return in one line what a value that is no record has wrong, each key named."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'record'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )
