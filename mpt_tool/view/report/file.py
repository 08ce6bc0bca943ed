"""Writes a report in place of an earlier one, and in place of nothing else."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from mpt_tool.errors import MptToolError
from mpt_tool.view.report import html, markdown
from mpt_tool.view.results import Report

# What tells a report from other files, near its beginning.
_MARKS = b'<meta name="generator" content="mpt-tool', b"<!-- Written by mpt-tool"
_HEAD_SIZE = 1_000


def write(report: Report, path: Path) -> None:
    """Write the report in the form that the name of the file ends in, whole or not at all.

    Raises:
        MptToolError: it cannot be written, or the file is there and is no report.
    """
    is_page = path.suffix.lower() == ".html"
    content = html.page(report) if is_page else "\n".join((*markdown.lines(report), ""))
    # Where it is a link, what it leads to is replaced.
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        _require_report(path)
        try:
            temporary.write_text(content, encoding="utf-8")
            with suppress(FileNotFoundError):
                shutil.copymode(path, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise MptToolError(f"{path} cannot be written: {error.strerror}") from error


def _require_report(path: Path) -> None:
    """Refuse to replace what is no report; an empty file may be replaced."""
    if not os.path.lexists(path):
        return
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(_HEAD_SIZE)
        if not head or any(mark in head for mark in _MARKS):
            return
    raise MptToolError(f"{path} is there and is no report: choose another name, or remove it")
