"""The client of the Marketplace Platform's API."""

from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from mpt_tool.settings import load_settings

if TYPE_CHECKING:
    from mpt_api_client import MPTClient


class MPTAPIClientMixin:
    """Gives a migration `self.mpt_client`."""

    project_root: Path = Path()

    @cached_property
    def mpt_client(self) -> "MPTClient":
        """The client of the platform that MPT_API_BASE_URL and MPT_API_TOKEN name.

        Raises:
            ValueError: one of the two is not set, or the address is none.
        """
        settings = load_settings(self.project_root)
        token = settings.require("mpt_api_token")
        base_url = settings.require_url("mpt_api_base_url")

        from mpt_api_client import MPTClient

        if "api_token" in signature(MPTClient.from_config).parameters:
            return MPTClient.from_config(api_token=token, base_url=base_url)  # type: ignore[call-arg] # before 6.3

        from mpt_api_client import BearerTokenAuthentication

        return MPTClient.from_config(
            authentication=BearerTokenAuthentication(token), base_url=base_url
        )
