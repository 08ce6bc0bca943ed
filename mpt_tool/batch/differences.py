"""What differs between two states of an object, field by field, however deep."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mpt_tool.redaction import Redact


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs.

    Args:
        field: its name after those of the fields that it is in: `lines.0.price`.
        before: its value; None if there was none.
        after: its value afterwards; None if there is none.
    """

    field: str
    before: Any
    after: Any


def differences(before: object, after: object, redact: Redact) -> list[Difference]:
    """Return the fields in which two objects differ, without secrets."""
    earlier, later = dict(_values(before)), dict(_values(after))
    return [
        Difference(
            redact(name),
            _without_secrets(earlier.get(name), redact),
            _without_secrets(later.get(name), redact),
        )
        for name in dict.fromkeys([*earlier, *later])
        if earlier.get(name) != later.get(name) and not _is_filled(name, earlier, later)
    ]


def _is_filled(name: str, *values: Mapping[str, object]) -> bool:
    """Whether an object or a list is empty on one side, and what fills it is told by itself."""
    return any(other.startswith(f"{name}.") for side in values for other in side)


def _values(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield each value that is no object or list, or an empty one, with its name."""
    match value:
        case dict():
            parts = value.items()
        case list():
            parts = dict(enumerate(value)).items()
        case _:
            parts = {}.items()
    if not parts and name:
        yield name, value
    for part, inner in parts:
        yield from _values(inner, f"{name}.{part}" if name else str(part))


def _without_secrets(value: object, redact: Redact) -> object:
    shown = redact(str(value))
    return value if shown == str(value) else shown
