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
