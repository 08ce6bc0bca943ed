"""Whether the Marketplace Platform answers, and takes the token."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mpt_tool.checks import Check, doubtful, right, wrong
from mpt_tool.clients.clock import clock_check
from mpt_tool.clients.settings import PlatformSettings
from mpt_tool.doctor.sources import find_values
from mpt_tool.errors import SettingsError
from mpt_tool.settings import load_settings, wrong_values

if TYPE_CHECKING:
    from httpx import Response

_TIME_OUT_SECONDS = 5.0
_PATIENCE_SECONDS = 1.0
# Every account may list some; none is asked for.
_ASKED = "/public/v1/catalog/products"


def checks_of_platform(root: Path) -> Iterator[Check]:
    """Yield what the platform answers, if it is set which one that is."""
    try:
        # For a file that is refused.
        wrong_values(PlatformSettings, root)
        if not any(find_values(PlatformSettings, root).values()):
            yield right("platform", "not set; only migrations with the MPT mixin need it")
            return
        settings = load_settings(PlatformSettings, root)
    except SettingsError:
        advice = "Correct the settings that are wrong, then look again"
        yield doubtful("platform", "not asked", advice)
        return
    import httpx

    from mpt_tool.clients.mpt import open_client

    try:
        client = open_client(settings, _PATIENCE_SECONDS).http_client.httpx_client
        reply = client.get(_ASKED, params={"limit": 0}, timeout=_TIME_OUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        advice = "Check MPT_API_BASE_URL and the network"
        reason = f"{settings.base_url} cannot be reached ({type(error).__name__}: {error})"
        yield wrong("platform", reason, advice)
        return
    yield _answer(settings, reply)
    if reply.is_success:
        yield clock_check(reply.headers.get("Date", ""), "the platform")


def _answer(settings: PlatformSettings, reply: "Response") -> Check:
    """Return what the reply to the question for no products tells."""
    address, status = settings.base_url, reply.status_code
    if reply.is_success:
        try:
            total = reply.json()["$meta"]["pagination"]["total"]
        except (ValueError, LookupError, TypeError):
            advice = "Check MPT_API_BASE_URL, and what a proxy answers"
            return wrong("platform", f"{address} answers, but not as the platform does", advice)
        return right("platform", f"{address} takes the token, which sees {total} products")
    match status:
        case 401:
            advice = "Copy MPT_API_TOKEN again, or create a new one: it may be cut, or expired"
            return wrong("platform", f"{address} refuses the token (401)", advice)
        case 403:
            advice = "Nothing, if the migrations ask for no products; else give it the right"
            return doubtful("platform", f"{address}: the token may not list products (403)", advice)
        case 404:
            advice = "Check MPT_API_BASE_URL: it is the address without a path"
            return wrong("platform", f"{address} is not the platform (404)", advice)
        case _:
            return doubtful("platform", f"{address} answers {status}", "Try again in a minute")
