"""The item of a batch migration that a thread, or a task of an event loop, handles just now."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple


class Handled(NamedTuple):
    """An item in hand, or a bundle: `name_of(item, cursor)` is what messages call it."""

    item: Any
    cursor: Any
    name_of: Callable[[Any, Any], str]
    is_bundle: bool = False


in_hand: ContextVar[Handled | None] = ContextVar("in_hand", default=None)


def name_in_hand() -> str:
    """Return what messages call the item in hand; nothing where there is none."""
    handled = in_hand.get()
    if handled is None:
        return ""
    # Whatever finds the name may log something.
    before = in_hand.set(None)
    try:
        return handled.name_of(handled.item, handled.cursor)
    finally:
        in_hand.reset(before)
