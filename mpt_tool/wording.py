"""What people are shown: what a stream can show, and how times and counts read."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

# How much of an error is repeated where it is told in full beside it, in characters.
LONGEST_REPEATED = 5_000
_CUT = " … "
_STALLED_SECONDS = 30
_BAR_WIDTH = 10


def timestamp(moment: datetime) -> str:
    """Return a moment in UTC as people read it."""
    return f"{moment:%Y-%m-%d %H:%M:%S}Z"


def duration(seconds: float) -> str:
    """Return a span of seconds in the two largest units that matter to a reader."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def of_total(handled: int, total: int | None) -> str:
    """Return how many items are handled, and of how many, unless the total proved too small."""
    is_known = total is not None and total >= handled
    return f"{handled:,} of {total:,}" if is_known else f"{handled:,}"


def how_far(handled: int, total: int | None, rate: float | None, idle_seconds: float) -> str:
    """Return done, total, rate and time left, as far as they can be told.

    Args:
        handled: how many items are done, or failed.
        total: of how many, if that is known.
        rate: how many are handled a second, if that is known.
        idle_seconds: since when none was.
    """
    parts = [of_total(handled, total)]
    if idle_seconds >= _STALLED_SECONDS:
        parts.append(f"no progress for {duration(idle_seconds)}")
    elif rate:
        parts.append(f"{rate:,.1f}/s")
        if total is not None and total > handled:
            parts.append(f"{duration((total - handled) / rate)} left")
    return ", ".join(parts)


def bar(handled: int, total: int | None) -> str:
    """Return a bar of what is done; nothing without a total."""
    if not total:
        return ""
    filled = min(_BAR_WIDTH, _BAR_WIDTH * handled // total)
    return "━" * filled + "╌" * (_BAR_WIDTH - filled)


def in_items(handled: int, total: int | None = None) -> str:
    """Return the same with its noun: 1 item, 2 items, 1 of 2 items."""
    counted = of_total(handled, total)
    return f"{counted} item" if counted == "1" else f"{counted} items"


def so_many(count: int, noun: str) -> str:
    """Return how many of something: 1 record, 2 records."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def in_targets(count: int, total: int) -> str:
    """Return how many targets that are, of how many, with the noun."""
    return f"{count:,} of {total:,} {'target' if total == 1 else 'targets'}"


def in_outcomes(outcomes: Mapping[str, int]) -> str:
    """Return how many items came to each outcome, most first: 40 changed, 2 right already."""
    most_first = sorted(outcomes.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {outcome}" for outcome, count in most_first)


def shortened(text: str, length: int) -> str:
    """Return so many characters of the text at most, without its middle."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]}{_CUT}{text[len(text) - half :]}"


def printable(text: str) -> str:
    """Return the text with an escape for each line break and whatever else would move a cursor.

    All that others wrote passes through here before it is shown: it can neither colour nor erase
    what is around it, nor turn it about, nor look like a line of ours.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable_lines(text: str) -> str:
    """Return the same of a text of several lines, which stay lines."""
    return "\n".join(map(printable, text.split("\n")))


def as_text(cursor: object) -> str:
    """Return a cursor as messages tell it, and as `--only` takes it: as JSON unless it is text."""
    return cursor if isinstance(cursor, str) else json.dumps(cursor, ensure_ascii=False)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return which known name was probably meant, for the end of a message; else nothing."""
    from difflib import get_close_matches

    names = {name.casefold(): name for name in known}
    return "".join(
        f". Did you mean {names[each]}?" for each in get_close_matches(given.casefold(), names, 1)
    )


def name_of(migration_id: str, target: str) -> str:
    """Return what messages call a migration, or what it is made for of its targets."""
    return f"{migration_id} ({target})" if target else migration_id
