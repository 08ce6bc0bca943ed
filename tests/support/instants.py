"""Raises at an instant at which a signal may: where Python looks for one, after a call."""

import dis
import sys
from collections.abc import Callable
from itertools import count
from types import FrameType, ModuleType
from typing import Any


class Raised(BaseException):
    """What a signal raises."""


def at_each_instant(module: ModuleType, prepare: Callable[[], Callable[[], object]]) -> int:
    """Call what `prepare` returns again and again, raising at the next instant each time.

    Args:
        module: in whose code the instants are.
        prepare: returns the callable; called anew for each instant.

    Returns:
        How many instants there are.
    """
    # Python 3.12 tells no instants of code in the first call that asks for them.
    _is_raised(module, prepare(), -1)
    for number in count():
        work = prepare()
        if not _is_raised(module, work, number):
            return number
    raise AssertionError("unreachable")


def _is_raised(module: ModuleType, work: Callable[[], object], number: int) -> bool:
    """Call it, raising at the instant of this number; return whether there is one."""
    instants = count()
    called: dict[FrameType, bool] = {}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if called.get(frame) and next(instants) == number:
                raise Raised
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            called[frame] = name.startswith("CALL")
        return trace

    earlier = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except Raised:
        return True
    finally:
        sys.settrace(earlier)
    return False
