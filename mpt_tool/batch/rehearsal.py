"""Looks at the items of a batch migration without changing anything."""

from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mpt_tool.batch.drive import preview
from mpt_tool.clients.read_only import writes_refused
from mpt_tool.errors import ScriptFailedError, message_of
from mpt_tool.migration import BatchMigration
from mpt_tool.records import Checkpoint
from mpt_tool.redaction import Redact

_SHOWN_ITEMS = 5
_SCRIPT_ERRORS = (Exception, SystemExit)


@dataclass(slots=True)
class Sight:
    """What was seen of a batch migration.

    Args:
        items: how many items a run would handle, as far as was looked.
        is_all: whether there are no more.
        shown: the first few, as the migration describes them.
        writes: the requests that would have changed something; None if none would, and it was not
            rehearsed.
        failures: the items that failed in the rehearsal, and why.
    """

    items: int = 0
    is_all: bool = True
    shown: list[str] = field(default_factory=list)
    writes: list[str] | None = None
    failures: list[str] = field(default_factory=list)


def look_at(
    migration: BatchMigration[Any],
    checkpoint: Checkpoint | None,
    limit: int,
    redact: Redact,
    *,
    rehearses: bool,
) -> Sight:
    """Return what a run would handle; nothing is saved.

    Args:
        migration: what is looked at.
        checkpoint: where a run would resume.
        limit: how many items to look at, at most.
        redact: takes secrets out of what is returned.
        rehearses: whether to process the items, with the clients of the mixins refusing all writes.

    Raises:
        ScriptFailedError: the items cannot be had.
    """
    sight = Sight()
    try:
        with writes_refused() as refused, preview(migration, checkpoint) as (items, handle):
            for item in items:
                if sight.items == limit:
                    sight.is_all = False
                    break
                sight.items += 1
                name = redact(str(migration.describe(item)))
                if len(sight.shown) < _SHOWN_ITEMS:
                    sight.shown.append(name)
                if rehearses and (failure := _rehearse(partial(handle, item), refused)):
                    sight.failures.append(f"{name}: {redact(failure)}")
    except _SCRIPT_ERRORS as error:
        raise ScriptFailedError("The items cannot be read", error) from error
    if rehearses or refused:
        sight.writes = [redact(write) for write in refused]
    return sight


def _rehearse(handle: Callable[[], object], refused: Sized) -> str | None:
    """Return why an item fails; None if it does not, or only as a write of it was refused."""
    refused_before = len(refused)
    try:
        handle()
    except _SCRIPT_ERRORS as error:
        # The refusal of a write ends an item, as it should.
        return message_of(error) if len(refused) == refused_before else None
    return None
