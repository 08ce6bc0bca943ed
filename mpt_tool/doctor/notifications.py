"""Whether those who are to be told of a run can be told, as far as is seen without doing so."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from mpt_tool.checks import Check, right, wrong
from mpt_tool.doctor.sources import find_values
from mpt_tool.observers import signals_in
from mpt_tool.observers.pings import is_address
from mpt_tool.settings import Settings


def checks_of_notifications(root: Path) -> Iterator[Check]:
    """Yield it for messages, pings and telemetry, each only if it is asked for."""
    found = find_values(Settings, root)
    if urls := found["notify_urls"]:
        yield _messages(str(urls[0].value))
    if (pings := found["notify_ping_url"]) and not is_address(str(pings[0].value)):
        advice = "Copy it again: it is an address like https://example.com/..."
        yield wrong("pings", "NOTIFY_PING_URL is no address", advice)
    if (signals_in(os.environ) or found["telemetry"]) and not _is_installed("opentelemetry.sdk"):
        advice = "Install it: pip install 'mpt-tool[otel]'"
        yield wrong("telemetry", "OpenTelemetry is not installed: none is sent", advice)


def _messages(urls: str) -> Check:
    if not _is_installed("apprise"):
        advice = "Install it: pip install 'mpt-tool[notify]'"
        return wrong("messages", "Apprise is not installed: none is sent", advice)
    from mpt_tool.observers.notifications import unknown_addresses

    unknown, count = unknown_addresses(urls)
    if unknown:
        of_count = f"{', '.join(map(str, unknown))} of {count}"
        advice = "Correct it: its service, or a part that this needs, is missing or misspelt"
        return wrong("messages", f"Apprise knows no such address: {of_count}", advice)
    return right("messages", f"{count} {'address' if count == 1 else 'addresses'}, not tried")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        # The package that it would be in is not there.
        return False
