"""The Airtable client of migrations."""

from typing import TYPE_CHECKING

from mpt_tool.clients.settings import AirtableSettings
from mpt_tool.migration.mixins.shared import ClientMixin, shared_property
from mpt_tool.settings import load_settings

if TYPE_CHECKING:
    from pyairtable import Api


class AirtableAPIClientMixin(ClientMixin):
    """Gives a migration `self.airtable_client`."""

    @shared_property
    def airtable_client(self) -> "Api":
        """The pyairtable client, with time-outs, in the pace that Airtable allows.

        All workers share it. A pause that Airtable asks for holds for all of them.

        Raises:
            ValueError: AIRTABLE_API_KEY is not set.
        """
        settings = load_settings(AirtableSettings, self.project_root)

        # After the settings: the library takes long to import.
        from mpt_tool.clients.airtable import open_api

        return open_api(settings, is_capped=True)
