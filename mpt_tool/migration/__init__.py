"""What the author of a migration imports."""

from mpt_tool.migration.base import BaseMigration, DataBaseMigration, SchemaBaseMigration
from mpt_tool.migration.batch import BatchDataMigration

BASES = {
    base.__name__: base.type
    for base in (DataBaseMigration, SchemaBaseMigration, BatchDataMigration)
}

__all__ = [
    "BASES",
    "BaseMigration",
    "BatchDataMigration",
    "DataBaseMigration",
    "SchemaBaseMigration",
]
