"""The item of a batch migration that a thread, or a task of an event loop, handles just now."""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

type NameOf = Callable[[Any, Any], str]
"""Returns what messages call an item of a cursor."""


class Handled(Protocol):
    """An item in hand; with parts it is a bundle."""

    item: Any
    cursor: Any
    parts: Sequence[tuple[Any, Any]]


in_hand: ContextVar[tuple[Handled, NameOf] | None] = ContextVar("in_hand", default=None)


def name_in_hand() -> str:
    """Return what messages call the item in hand; nothing where there is none."""
    in_this_hand = in_hand.get()
    if in_this_hand is None:
        return ""
    handled, name_of = in_this_hand
    # Whatever finds the name may log something.
    before = in_hand.set(None)
    try:
        if not handled.parts:
            return name_of(handled.item, handled.cursor)
        others = len(handled.parts) - 1
        return name_of(*handled.parts[0]) + (f" and {others:,} more" if others else "")
    finally:
        in_hand.reset(before)
