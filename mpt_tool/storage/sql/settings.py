"""Where the database is, and what its tables are called."""

from typing import Annotated, ClassVar

from pydantic import SecretStr

from mpt_tool.settings import Section, variable

# PostgreSQL keeps 63 characters of a name: less the longest that follows.
_LONGEST_PREFIX = 40
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


class DatabaseSettings(Section):
    """The database, what its tables are called, and the lease of a lock behind a pooler.

    Without a `schema_name` the tables are in the schema that the database looks into first.
    """

    table: ClassVar[str] = "sql"

    database_url: Annotated[SecretStr, variable("STORAGE_DATABASE_URL")]
    schema_name: Annotated[str, variable("STORAGE_DATABASE_SCHEMA", pattern=f"^({_NAME})?$")] = ""
    table_prefix: Annotated[
        str,
        variable("STORAGE_DATABASE_TABLE_PREFIX", pattern=f"^{_NAME}$", max_length=_LONGEST_PREFIX),
    ] = "mpt_migrations_"
    uses_entra: Annotated[bool, variable("STORAGE_DATABASE_ENTRA")] = False
    lease_seconds: Annotated[
        float, variable("STORAGE_DATABASE_LEASE_SECONDS", ge=5, allow_inf_nan=False)
    ] = 30
