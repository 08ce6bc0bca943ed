"""The Airtable client of migrations."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mpt_tool.settings import load_settings

if TYPE_CHECKING:
    from pyairtable import Api


class AirtableAPIClientMixin:
    """Gives a migration `self.airtable_client`."""

    project_root: Path = Path()

    @cached_property
    def airtable_client(self) -> "Api":
        """The pyairtable client, with time-outs, in the pace that Airtable allows.

        Raises:
            ValueError: AIRTABLE_API_KEY is not set.
        """
        from mpt_tool.airtable_api import open_api

        return open_api(load_settings(self.project_root))
