"""What extensions that were written for release 6 ask for settings; each is the value or None."""

from pathlib import Path
from typing import Annotated

from pydantic import SecretStr

from mpt_tool.settings import Section, Settings, load_settings, variable


class _Platform(Section):
    table = "mpt"

    api_token: Annotated[SecretStr | None, variable("MPT_API_TOKEN", None)] = None
    base_url: Annotated[str | None, variable("MPT_API_BASE_URL", None)] = None


class _Airtable(Section):
    table = "airtable"
    shares_table = True

    api_key: Annotated[
        SecretStr | None, variable("AIRTABLE_API_KEY", "MPT_TOOL_STORAGE_AIRTABLE_API_KEY")
    ] = None
    base_id: Annotated[str | None, variable("STORAGE_AIRTABLE_BASE_ID")] = None
    table_name: Annotated[str, variable("STORAGE_AIRTABLE_TABLE_NAME")] = "Migrations"


def get_airtable_config(config_key: str) -> str | None:
    """Return the setting `api_key`, `base_id` or `table_name` of the Airtable store."""
    return _value(_Airtable, config_key)


def get_mpt_config(config_key: str) -> str | None:
    """Return the setting `api_token` or `base_url` of the platform."""
    return _value(_Platform, config_key)


def get_service_version() -> str | None:
    """Return the version of the extension."""
    return _value(Settings, "service_version")


def get_storage_type() -> str | None:
    """Return which store keeps the state."""
    return _value(Settings, "storage_type")


def _value(section: type[Section], field: str) -> str | None:
    """Return a setting of the project in the working folder."""
    value = getattr(load_settings(section, Path()), field, None)
    if value is None:
        return None
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
