"""What the clients of Airtable and of the platform are made from; imports neither library."""

from typing import Annotated

from pydantic import SecretStr

from mpt_tool.settings import HttpAddress, Section, variable


class AirtableSettings(Section):
    """Which Airtable, with which key, and for how long a request may be sent again."""

    table = "airtable"
    # With those of the store.
    shares_table = True

    api_key: Annotated[SecretStr, variable("AIRTABLE_API_KEY", "MPT_TOOL_STORAGE_AIRTABLE_API_KEY")]
    endpoint_url: Annotated[HttpAddress, variable("STORAGE_AIRTABLE_ENDPOINT_URL")] = (
        "https://api.airtable.com"
    )
    retry_seconds: Annotated[
        float, variable("STORAGE_AIRTABLE_RETRY_SECONDS", ge=0, allow_inf_nan=False)
    ] = 180
    requests_per_second: Annotated[
        float, variable("STORAGE_AIRTABLE_REQUESTS_PER_SECOND", ge=0.5, le=50)
    ] = 5


class PlatformSettings(Section):
    """Where the Marketplace Platform is, and with which token it is asked."""

    table = "mpt"

    api_token: Annotated[SecretStr, variable("MPT_API_TOKEN", None)]
    base_url: Annotated[HttpAddress, variable("MPT_API_BASE_URL", None)]
