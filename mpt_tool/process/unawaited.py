"""Notices a coroutine that nobody awaited: what it was to do is not done."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mpt_tool.errors import ScriptError

noted: list[str] = []
"""What Python said of such coroutines meanwhile, and nobody has raised yet."""


@contextmanager
def unawaited_noted() -> Iterator[None]:
    """Note what Python warns of; it warns of each place just once, as soon as the first is lost."""
    show = warnings.showwarning

    def show_and_note(message: Any, category: type[Warning], *place: Any, **further: Any) -> None:
        if category is RuntimeWarning and str(message).endswith("was never awaited"):
            noted.append(str(message))
        show(message, category, *place, **further)

    noted.clear()
    warnings.showwarning = show_and_note
    try:
        yield
    finally:
        warnings.showwarning = show


def require_awaited() -> None:
    """Return unless the author's code has lost a coroutine.

    Raises:
        ScriptError: it has; the message names it.
    """
    if noted:
        lost = noted[0]
        noted.clear()
        raise ScriptError(f"{lost}, so nothing of it was done: write await before it")
