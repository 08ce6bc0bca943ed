"""Keeps results in a file of Markdown, by their headings."""

import re
from pathlib import Path


def write(path: Path, results: str) -> None:
    """Write sections, the first of which may be the title, in place of those of the same heading.

    Sections that are not among the results stay as they were; new ones go to the end.
    """
    earlier = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = _by_heading(earlier) | _by_heading(results)
    path.write_text("\n\n".join(sections.values()) + "\n", encoding="utf-8")


def _by_heading(results: str) -> dict[str, str]:
    parts = re.split(r"^(?=#)", results, flags=re.MULTILINE)
    return {part.partition("\n")[0]: part.strip() for part in parts if part}
