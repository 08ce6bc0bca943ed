"""What a script raised, in its own frames alone."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from textwrap import indent

_FRAMES_LEFT_OUT = (
    f"{Path(__file__).parents[1]}{os.sep}",
    f"{Path(logging.__file__).parents[1] / 'asyncio'}{os.sep}",
    f"{Path(logging.__file__).parents[1] / 'concurrent'}{os.sep}",
    contextlib.__file__,
    "<frozen importlib",
)


def script_traceback(error: BaseException) -> str:
    """Return what a script raised, in its own frames: the whole chain and all group members.

    Further lines of a message are indented, so that none passes for a line of the log.
    """
    report = traceback.TracebackException.from_exception(
        error, max_group_width=sys.maxsize, max_group_depth=sys.maxsize
    )
    for each in _all_in(report):
        each.stack[:] = [frame for frame in each.stack if not _is_left_out(Path(frame.filename))]
        if isinstance(each.__notes__, list):
            each.__notes__ = [indent(str(note), "  ") for note in each.__notes__]
    return "".join(map(_below_its_first_line, report.format()))


def _below_its_first_line(piece: str) -> str:
    """Return a piece of a report; what a message has below its first line is indented.

    So is a line that a name of a file or of a function begins, or a source in a syntax error.
    """
    if piece.startswith("\n"):
        return piece
    first, *rest = piece.splitlines(keepends=True)
    is_message = not first.startswith(" ")
    return first + "".join(
        f"  {line}" if is_message or not line.startswith(" ") else line for line in rest
    )


def chain_of(error: BaseException) -> list[BaseException]:
    """Return the error, what caused it or was handled when it came, and so on, each once."""
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each and each not in chain:
        chain.append(each)
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return chain


def frames_in(error: BaseException, path: Path) -> tuple[str, ...]:
    """Return where in a file an error came along, a line a frame, the innermost last."""
    return tuple(
        f"{path.name}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).name == path.name
    )


def places_in(error: BaseException, folder: Path) -> list[tuple[Path, int]]:
    """Return where in a folder's files an error arose: the file and line of its root cause.

    Of a group that is where each of its members did, each place once.
    """
    for each in reversed(chain_of(error)):
        if isinstance(each, BaseExceptionGroup):
            members = [places_in(member, folder) for member in each.exceptions]
            if found := list(dict.fromkeys(chain.from_iterable(members))):
                return found
        for frame, line in reversed(list(traceback.walk_tb(each.__traceback__))):
            path = Path(frame.f_code.co_filename)
            if path.parent == folder:
                return [(path, line)]
    return []


def _is_left_out(path: Path) -> bool:
    return str(path).startswith(_FRAMES_LEFT_OUT)


def _all_in(report: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    """Yield the report with those of its whole chain and of all group members."""
    reports = [report]
    for each in reports:
        yield each
        related = (each.__cause__, each.__context__, *(each.exceptions or []))
        reports += [other for other in related if other is not None]
