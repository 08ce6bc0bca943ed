"""What is kept of a migration: the record, its status and its transitions."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
)

from mpt_tool.enums import MigrationStatusEnum, MigrationTypeEnum


def _in_utc(value: object) -> datetime | None:
    """Return a timestamp in UTC; text is read as ISO 8601, and without an offset it is UTC."""
    if value is None:
        return None
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(_text(value))
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range once it is in UTC") from error


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("a date-time in ISO 8601 or null is needed")


Timestamp = Annotated[datetime | None, BeforeValidator(_in_utc)]


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
        match self.started_at is not None, self.applied_at is not None:
            case True, True:
                return MigrationStatusEnum.APPLIED
            case True, False:
                return MigrationStatusEnum.RUNNING
            case False, True:
                return MigrationStatusEnum.FAKED
            case _:
                return MigrationStatusEnum.FAILED

    def start(self, now: datetime, version: str | None) -> Self:
        """Return the record of a run that begins now, by this version of the service."""
        update = {"started_at": now, "applied_at": None, "version": version}
        return self.model_copy(update=update)

    def finish(self, now: datetime) -> Self:
        """Return the record of a run that ended well now."""
        return self.model_copy(update={"applied_at": now})

    def fail(self) -> Self:
        """Return the record of a run that failed."""
        return self.model_copy(update={"started_at": None, "applied_at": None})

    def fake(self, now: datetime, version: str | None) -> Self:
        """Return the record of a migration marked as applied without a run."""
        update = {"started_at": None, "applied_at": now, "version": version}
        return self.model_copy(update=update)

    @field_serializer("started_at", "applied_at")
    def _isoformat(self, value: datetime | None) -> str | None:
        return value.isoformat() if value else None

    def document(self) -> dict[str, Any]:
        """Return the record as JSON values: the five columns always, the rest where it is set."""
        document = self.model_dump(mode="json")
        if self.version is None:
            del document["version"]
        return document


def describe(error: ValidationError) -> str:
    """Return in one line what a value that is no record has wrong, each key named."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'record'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)
    )
