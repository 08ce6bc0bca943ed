"""Ready-made clients for migrations; each is made on first use."""

from mpt_tool.migration.mixins.airtable_client import AirtableAPIClientMixin
from mpt_tool.migration.mixins.mpt_client import MPTAPIClientMixin

__all__ = ["AirtableAPIClientMixin", "MPTAPIClientMixin"]
