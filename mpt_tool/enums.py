"""The closed sets of the domain: what a migration can be, and where it can stand."""

from enum import StrEnum


class MigrationTypeEnum(StrEnum):
    """When a migration runs: `data` after a release, `schema` before it."""

    DATA = "data"
    SCHEMA = "schema"


class MigrationStatusEnum(StrEnum):
    """Where a migration stands, as it is shown."""

    RUNNING = "running"
    FAILED = "failed"
    FAKED = "faked"
    APPLIED = "applied"
    NOT_APPLIED = "not applied"


class ResumeEnum(StrEnum):
    """What a run does with the checkpoint of a batch migration."""

    IF_UNCHANGED = "if unchanged"
    ANYWAY = "resume anyway"
    RESTART = "restart"
    RETRY_FAILED = "retry failed"


class OutcomeEnum(StrEnum):
    """How an attempt at a migration ended.

    `found dead` if nobody lived to see its end, `tried` if it was to handle only some items,
    `running` if it has not.
    """

    APPLIED = "applied"
    FAILED = "failed"
    STOPPED = "stopped"
    FAKED = "faked"
    FOUND_DEAD = "found dead"
    TRIED = "tried"
    RUNNING = "running"


class LogFormatEnum(StrEnum):
    """How an event is logged: as a line of text, or as one JSON object a line."""

    TEXT = "text"
    JSON = "json"


class ChangeEnum(StrEnum):
    """What a request changes: it creates, updates or deletes an object, or does something to it."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    ACTION = "action"


class VerdictEnum(StrEnum):
    """What `mpt-tool doctor` says of one thing."""

    RIGHT = "right"
    DOUBTFUL = "doubtful"
    WRONG = "wrong"


class OccasionEnum(StrEnum):
    """What of a run others are notified of."""

    STARTED = "started"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    STALLED = "stalled"
