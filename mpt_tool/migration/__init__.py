"""What the author of a migration imports."""

from mpt_tool.migration.base import BaseMigration
from mpt_tool.migration.batch import BatchDataMigration, BatchMigration, BatchSchemaMigration
from mpt_tool.migration.data_base import DataBaseMigration
from mpt_tool.migration.schema_base import SchemaBaseMigration

BASES = {
    base.__name__: base.type
    for base in (
        DataBaseMigration,
        SchemaBaseMigration,
        BatchDataMigration,
        BatchSchemaMigration,
    )
}
"""The type of migration that each base is for, by the name of the base."""

__all__ = [
    "BASES",
    "BaseMigration",
    "BatchDataMigration",
    "BatchMigration",
    "BatchSchemaMigration",
    "DataBaseMigration",
    "SchemaBaseMigration",
]
