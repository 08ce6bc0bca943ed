"""Explains failures that have several causes: a topic for each, as errors name it."""

import re
from collections.abc import Mapping
from importlib.resources import files

_SECTION = re.compile(r"^## (.+)\n\n", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def page() -> str:
    """Return all of it, in Markdown whose links are those of a page in `docs/how-to`."""
    return (files("mpt_tool.view") / "topics.md").read_text(encoding="utf-8")


def topics() -> Mapping[str, str]:
    """Return the text of each topic for a terminal, its heading first."""
    _, *parts = _SECTION.split(page())
    return {
        heading.lower().replace(" ", "-"): f"{heading}\n\n{_LINK.sub(r'\1', text).strip()}"
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }
