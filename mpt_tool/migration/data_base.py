"""The base class of data migrations."""

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.migration.base import BaseMigration


class DataBaseMigration(BaseMigration):
    """A change of data: runs after a release, while the platform is live, for as long as needed."""

    type = MigrationTypeEnum.DATA
