"""Lets an exception travel to another process, with where it was raised and what it came from."""

import pickle
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any

from mpt_tool.errors import message_of

type _Place = tuple[str, int, str]


class LostError(Exception):
    """An exception of a class that this process does not know; it says what that said."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An exception on its way.

    Args:
        message: what it says, if nothing else of it arrives.
        whole: the exception, pickled; empty if that is no use.
        kind: its class, pickled, or the nearest one above it that can be.
        arguments: what it was made with, as far as that can be pickled.
        attributes: what it holds, as far as that can be pickled.
        places: the file, the line and the function of each frame.
        cause: what it was raised from.
        context: what was handled when it was raised.
        hides_context: whether that is not to be told.
    """

    message: str
    whole: bytes
    kind: bytes
    arguments: tuple[Any, ...]
    attributes: dict[str, Any]
    places: Sequence[_Place]
    cause: "Packed | None"
    context: "Packed | None"
    hides_context: bool


def packed(error: BaseException, known: frozenset[int] = frozenset()) -> Packed:
    """Return an exception as it can be pickled.

    Args:
        error: the exception.
        known: those that are packed already, by their `id`: a chain may come back to one.
    """
    known |= {id(error)}
    cause, context = (
        packed(each, known) if each and id(each) not in known else None
        for each in (error.__cause__, error.__context__)
    )
    frames = traceback.walk_tb(error.__traceback__)
    kinds = (kind for each in type(error).__mro__ if (kind := _pickled(each)))
    return Packed(
        message_of(error),
        _pickled(error) or b"",
        next(kinds),
        tuple(each for each in error.args if _pickled(each)),
        {name: value for name, value in vars(error).items() if _pickled(value)},
        [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in frames],
        cause,
        context,
        error.__suppress_context__,
    )


def unpacked(given: Packed) -> BaseException:
    """Return the exception, as it was raised; of what does not arrive, a `LostError`."""
    error = _made(given)
    error.__cause__ = unpacked(given.cause) if given.cause else None
    error.__context__ = unpacked(given.context) if given.context else None
    error.__suppress_context__ = given.hides_context
    return error.with_traceback(_traceback(given.places))


def _made(given: Packed) -> BaseException:
    """Return the first that says what the original said; the libraries of some pickle them anew."""
    made: BaseException | None = None
    for make in (_read, _called, _uncalled):
        try:
            candidate: object = make(given)
        except Exception:  # noqa: BLE001, S112 - whatever a class of somebody's own raises
            continue
        if isinstance(candidate, BaseException):
            made = candidate
            if message_of(made) == given.message:
                return made
    return made or LostError(given.message)


def _read(given: Packed) -> object:
    return pickle.loads(given.whole)  # noqa: S301 - of a process of ours


def _called(given: Packed) -> object:
    return pickle.loads(given.kind)(*given.arguments)  # noqa: S301 - of a process of ours


def _uncalled(given: Packed) -> object:
    """Return one whose own __init__ wants something else than its arguments: it is not asked."""
    kind = pickle.loads(given.kind)  # noqa: S301 - of a process of ours
    made = kind.__new__(kind, *given.arguments)
    vars(made).update(given.attributes)
    return made


def _pickled(value: object) -> bytes | None:
    """Return what is pickled and can be unpickled again; None if it cannot."""
    try:
        written = pickle.dumps(value)
        pickle.loads(written)  # noqa: S301 - written a moment ago
    except Exception:  # noqa: BLE001 - whatever a class of somebody's own raises
        return None
    return written


def _traceback(places: Sequence[_Place]) -> TracebackType | None:
    """Return a traceback of these places, the innermost last."""
    made = None
    for frame, line in reversed(list(_frames(places))):
        made = TracebackType(made, frame, -1, line)
    return made


def _frames(places: Sequence[_Place]) -> Iterator[tuple[FrameType, int]]:
    """Yield for each place a frame that says to be there; only running code has one."""
    code = compile("found.append(frame())", "", "exec")
    for file, line, name in places:
        found: list[FrameType] = []
        there = code.replace(co_filename=file, co_name=name, co_firstlineno=line)
        exec(there, {"found": found, "frame": sys._getframe})  # noqa: S102, SLF001 - the line above
        yield found[0], line
