"""What the attributes of a batch migration may be set to."""

import math
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches

from mpt_tool.process.log import get_log

# How much of two names is the same, 1 at most, and from which length on that is no accident.
_ALIKE, _LONG = 0.85, 5

log = get_log(__name__)


def is_count(value: object) -> bool:
    """Whether a value is a whole number from 1 on."""
    return type(value) is int and value >= 1


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _is_limit(value: object) -> bool:
    return _is_amount(value) and (type(value) is int or 0 <= float(str(value)) <= 1)


def _are_errors(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, type) and issubclass(each, Exception) for each in value
    )


def _are_endings(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(each, str) and len(each) > 1 and each.startswith("/") for each in value
    )


COUNT = "a whole number from 1 on"
_COUNT, _AMOUNT = (is_count, COUNT), (_is_amount, "a number from 0 on")
_WANTED: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "workers": _COUNT,
    "executor": (lambda value: value in ("thread", "process"), "thread or process"),
    "many": _COUNT,
    "batch_size": _COUNT,
    "checkpoint_seconds": _AMOUNT,
    "on_error": (lambda value: value in ("stop", "collect"), "stop or collect"),
    "max_failures": (_is_limit, "a whole number from 0 on, or a share as a float up to 1.0"),
    "attempts": _COUNT,
    "retry_on": (_are_errors, "a tuple of classes of exceptions"),
    "retry_seconds": _AMOUNT,
    "max_per_second": _AMOUNT,
    "max_requests_per_second": _AMOUNT,
    "reads": (_are_endings, "a tuple of the ends of paths, each of which begins with /"),
}


def warn_of_near_misses(cls: type, members: Collection[str]) -> None:
    """Log what a batch migration defines that may be meant for one of its members.

    Args:
        cls: the class of the author.
        members: the names that mean something.
    """
    for name in vars(cls):
        if name in members or name.startswith("_"):
            continue
        for meant in get_close_matches(name, members, 1, _ALIKE):
            if len(meant) >= _LONG:
                log.warning("%s defines %s: is %s meant?", cls.__name__, name, meant)


def require_sound(cls: type) -> None:
    """Return if every attribute of a batch migration is set to what can be meant.

    Raises:
        TypeError: one is not; the message says what it may be.
    """
    for name, (is_fine, wanted) in _WANTED.items():
        value = getattr(cls, name)
        if not is_fine(value):
            raise TypeError(f"{name} of {cls.__name__} is {value!r}: use {wanted}")
