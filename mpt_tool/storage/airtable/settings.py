"""Where in Airtable the state is, beside how Airtable is reached."""

from typing import Annotated

from mpt_tool.clients.settings import AirtableSettings
from mpt_tool.settings import variable


class StoreSettings(AirtableSettings):
    """The base and its two tables, and how long the lock of a process outlives it."""

    shares_table = False

    base_id: Annotated[str, variable("STORAGE_AIRTABLE_BASE_ID")]
    table_name: Annotated[str, variable("STORAGE_AIRTABLE_TABLE_NAME")] = "Migrations"
    history_table_name: Annotated[str, variable("STORAGE_AIRTABLE_HISTORY_TABLE_NAME")] = (
        "Migrations History"
    )
    lease_seconds: Annotated[
        float, variable("STORAGE_AIRTABLE_LEASE_SECONDS", ge=5, allow_inf_nan=False)
    ] = 90
