"""What extensions that were written for release 6 ask for settings; each is the value or None."""

from pathlib import Path

from mpt_tool.clients.settings import PlatformSettings
from mpt_tool.settings import Section, Settings, read_settings
from mpt_tool.storage.airtable.settings import StoreSettings


def get_airtable_config(config_key: str) -> str | None:
    """Return the setting `api_key`, `base_id` or `table_name` of the Airtable store."""
    return _value(StoreSettings, config_key)


def get_mpt_config(config_key: str) -> str | None:
    """Return the setting `api_token` or `base_url` of the platform."""
    return _value(PlatformSettings, config_key)


def get_service_version() -> str | None:
    """Return the version of the extension."""
    return _value(Settings, "service_version")


def get_storage_type() -> str | None:
    """Return which store keeps the state."""
    return _value(Settings, "storage_type")


def _value(section: type[Section], name: str) -> str | None:
    """Return a setting of the project in the working folder."""
    field = section.model_fields.get(name)
    default = field.default if field and not field.is_required() else None
    value = read_settings(section, Path()).get(name, default)
    return None if value is None else str(value)
