"""What the author of a migration imports."""

from mpt_tool.migration.base import BASES, BaseMigration, DataBaseMigration, SchemaBaseMigration

__all__ = ["BASES", "BaseMigration", "DataBaseMigration", "SchemaBaseMigration"]
