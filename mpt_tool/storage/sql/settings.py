"""Where the database is, and what its tables are called."""

from typing import Annotated, ClassVar

from pydantic import SecretStr

from mpt_tool.settings import Section, variable

# PostgreSQL keeps 63 characters of a name: less the longest that follows.
_LONGEST_PREFIX = 40
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


class DatabaseSettings(Section):
    """The database, and what its tables are called.

    Without a `schema_name` they are in the schema that the database looks into first.
    """

    table: ClassVar[str] = "sql"

    database_url: Annotated[SecretStr, variable("STORAGE_DATABASE_URL")]
    schema_name: Annotated[str, variable("STORAGE_DATABASE_SCHEMA", pattern=f"^({_NAME})?$")] = ""
    table_prefix: Annotated[
        str,
        variable("STORAGE_DATABASE_TABLE_PREFIX", pattern=f"^{_NAME}$", max_length=_LONGEST_PREFIX),
    ] = "mpt_migrations_"
    uses_entra: Annotated[bool, variable("STORAGE_DATABASE_ENTRA")] = False
