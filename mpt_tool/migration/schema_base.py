"""The base class of schema migrations."""

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.migration.base import BaseMigration


class SchemaBaseMigration(BaseMigration):
    """A change of structure: runs before a release, in 15 minutes at most."""

    type = MigrationTypeEnum.SCHEMA
