"""Ready-made clients for migrations; each is made on first use."""

from mpt_tool.migration.mixins.airtable import AirtableAPIClientMixin
from mpt_tool.migration.mixins.mpt import MPTAPIClientMixin

__all__ = ["AirtableAPIClientMixin", "MPTAPIClientMixin"]
