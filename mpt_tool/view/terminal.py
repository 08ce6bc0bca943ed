"""What a stream can show: colour, width, a line that moves."""

import os
import shutil
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Wider than any row, so that what goes to a file is never cut.
_UNBOUNDED = 100_000
_ANY_HEIGHT = 25
ERASE_LINE = "\r\x1b[2K"


def is_coloured(stream: TextIO) -> bool:
    """Whether what goes to the stream has colour: a terminal, or forced, and not forbidden."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty() or bool(os.environ.get("FORCE_COLOR"))


def is_live(stream: TextIO) -> bool:
    """Whether somebody watches the stream: a terminal that has colour."""
    return stream.isatty() and is_coloured(stream)


def width_of(stream: TextIO) -> int:
    """Return how many columns fit: those of a terminal; elsewhere as many as anybody needs."""
    return shutil.get_terminal_size().columns if stream.isatty() else _UNBOUNDED


def console_for(stream: TextIO, width: int | None = None) -> "Console":
    """Return Rich's console for a stream, in colour if that is to have any.

    Args:
        stream: where it writes.
        width: in columns; that of the terminal, as it changes, if none is given.
    """
    from rich.console import Console

    is_colour = is_coloured(stream)
    return Console(
        file=stream,
        width=width,
        # Rich takes a dumb terminal for one of 80 columns, unless it is told the height too.
        height=_ANY_HEIGHT if width else None,
        force_terminal=is_colour or None,
        color_system="auto" if is_colour else None,
    )
