"""What is kept: the record of a migration with its transitions, and of each attempt at it."""

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


class FailedItem(_Value):
    """An item of a batch migration that failed for good: its cursor, and why."""

    cursor: Any
    error: str


class Checkpoint(_Value):
    """How far a batch migration is: all items up to the cursor are done, or among the failures.

    `since` is when the first run began, `checksum` that of the script, `total` how many items there
    are in all if that is known. `done` tells that no item is left but failed ones.
    """

    cursor: Any
    processed: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)] = 0
    total: int | None = None
    since: Timestamp
    checksum: str | None = None
    done: bool = False
    failures: tuple[FailedItem, ...] = ()

    @property
    def handled(self) -> int:
        """How many items lie behind, done or failed."""
        return self.processed + self.failed

    def __str__(self) -> str:
        """Return how many items lie behind, of how many."""
        return of_total(self.handled, self.total)

    @property
    def in_items(self) -> str:
        """The same with its noun."""
        return in_items(self.handled, self.total)


class MigrationRecord(BaseModel):
    """The state of one migration, as the store keeps it.

    Timestamps are in UTC; one that comes without an offset is taken for UTC. Keys that are not
    known here are kept in `model_extra`.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    migration_id: Annotated[str, Field(strict=True, min_length=1)]
    order_id: Annotated[int, Field(strict=True, ge=0)]
    started_at: Timestamp
    applied_at: Timestamp
    type: MigrationTypeEnum
    version: str | None = None
    checkpoint: Checkpoint | None = None

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

    @property
    def status(self) -> MigrationStatusEnum:
        """The status that the two timestamps tell."""
        if self.applied_at:
            return MigrationStatusEnum.APPLIED if self.started_at else MigrationStatusEnum.FAKED
        return MigrationStatusEnum.RUNNING if self.started_at else MigrationStatusEnum.FAILED

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
        """Return the record of a migration marked as applied without a run."""
        update = {"started_at": None, "applied_at": now, "version": version, "checkpoint": None}
        return self.model_copy(update=update)

    def document(self) -> dict[str, Any]:
        """Return the record as JSON values: the five columns always, the rest where it is set."""
        unset = {key for key in ("version", "checkpoint") if getattr(self, key) is None}
        return self.model_dump(mode="json", exclude=unset)


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
    `counts` are those of a batch migration.
    """

    migration_id: str
    order_id: int
    type: MigrationTypeEnum
    outcome: OutcomeEnum
    started_at: Timestamp = None
    ended_at: Timestamp = None
    seconds: Annotated[float, Field(allow_inf_nan=False)] | None = None
    checksum: str | None = None
    counts: dict[str, int] | None = None
    error: ErrorReport | None = None

    def document(self) -> dict[str, Any]:
        """Return the attempt as JSON values, without what is not known."""
        return self.model_dump(mode="json", exclude_none=True)


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
