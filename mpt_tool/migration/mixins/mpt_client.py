"""The client of the Marketplace Platform's API."""

from typing import TYPE_CHECKING

from mpt_tool.clients.settings import PlatformSettings
from mpt_tool.migration.mixins.shared import ClientMixin, shared_property
from mpt_tool.settings import load_settings

if TYPE_CHECKING:
    from mpt_api_client import AsyncMPTClient, MPTClient


class MPTAPIClientMixin(ClientMixin):
    """Gives a migration `self.mpt_client` and `self.async_mpt_client`."""

    @shared_property
    def mpt_client(self) -> "MPTClient":
        """The client of the platform that MPT_API_BASE_URL and MPT_API_TOKEN name.

        All workers share it. A pause that the platform asks for holds for all of them.

        Raises:
            ValueError: one of the two is not set, or both, or the address is none.
        """
        settings = load_settings(PlatformSettings, self.project_root)

        # After the settings: the library takes long to import.
        from mpt_tool.clients.mpt import open_client

        return open_client(settings)

    @shared_property
    def async_mpt_client(self) -> "AsyncMPTClient":
        """The asynchronous client of the same platform, for `async process` and `async run`.

        It is as polite as the other, and shares its pauses and its pace. What it opens is closed at
        the end of the event loop that it was used in.

        Raises:
            ValueError: one of the two is not set, or both, or the address is none.
        """
        settings = load_settings(PlatformSettings, self.project_root)

        # After the settings: the library takes long to import.
        from mpt_tool.clients.mpt import open_async_client

        return open_async_client(settings)
