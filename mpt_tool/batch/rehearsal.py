"""Looks at the items of a batch migration without changing anything, and rehearses them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mpt_tool.batch.differences import Difference, differences
from mpt_tool.batch.drive import Previewed, preview
from mpt_tool.batch.unguarded import has_guarded_client, unguarded
from mpt_tool.clients.rehearsal import Rehearsal
from mpt_tool.errors import ScriptFailedError, SelectionError, message_of
from mpt_tool.migration import BatchMigration
from mpt_tool.process.log import get_log
from mpt_tool.records import Checkpoint, FailedItem
from mpt_tool.redaction import Redact
from mpt_tool.wording import in_items

_SHOWN_ITEMS = 5
_SCRIPT_ERRORS = (Exception, SystemExit)

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class RehearsedChange:
    """What a request would have changed.

    Args:
        kind: create, update, delete or action.
        request: the method and the path.
        fields: those that differ.
    """

    kind: str
    request: str
    fields: Sequence[Difference]


@dataclass(frozen=True, slots=True)
class RehearsedItem:
    """What came of an item.

    Args:
        name: what messages call it.
        changes: what would have been changed, in that order.
        outcome: what `process` returned, if that is text.
        failure: why it failed, if it did.
        failed_before: whether it is one of those that failed in an earlier run.
    """

    name: str
    changes: Sequence[RehearsedChange]
    outcome: str | None = None
    failure: str | None = None
    failed_before: bool = False


@dataclass(slots=True)
class Rehearsed:
    """What came of all items that were processed.

    Args:
        unguarded: by what the script may have written all the same.
        items: each of them.
    """

    unguarded: Sequence[str]
    items: list[RehearsedItem] = field(default_factory=list)

    @property
    def outcomes(self) -> Counter[str]:
        """How many items came to each outcome."""
        return Counter(item.outcome for item in self.items if item.outcome is not None)

    @property
    def failed(self) -> list[RehearsedItem]:
        """The items that failed."""
        return [item for item in self.items if item.failure is not None]


@dataclass(slots=True)
class Sight:
    """What was seen of a batch migration.

    Args:
        items: how many items a run would handle, as far as was looked.
        is_all: whether there are no more.
        is_to_verify: whether none is left, and a run would just verify what earlier ones did.
        shown: the first few, as the migration describes them.
        refused: the requests that would have changed something and were not answered.
        beside: what would have been changed before the items and between them, by `prepare`, say.
        rehearsed: what came of processing the items; None if they were not.
    """

    items: int = 0
    is_all: bool = True
    is_to_verify: bool = False
    shown: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    beside: list[RehearsedChange] = field(default_factory=list)
    rehearsed: Rehearsed | None = None

    @property
    def kinds(self) -> Counter[str]:
        """How many changes there are of each kind."""
        items = self.rehearsed.items if self.rehearsed else ()
        changes = [*self.beside, *(change for item in items for change in item.changes)]
        return Counter(change.kind for change in changes)


def look_at(
    migration: BatchMigration[Any],
    checkpoint: Checkpoint | None,
    limit: int,
    redact: Redact,
    rehearsal: Rehearsal,
    *,
    failures: Sequence[FailedItem] = (),
    rehearses: bool = False,
    allows_unguarded: bool = False,
) -> Sight:
    """Return what a run would handle; nothing is saved, and what `prepare` writes is answered.

    After that come the items that failed before, as `--retry-failed` would handle them.

    Args:
        migration: what is looked at.
        checkpoint: where a run would resume.
        limit: how many items to look at, at most.
        redact: takes secrets out of what is returned.
        rehearsal: what is asked for all writes meanwhile.
        failures: the items that failed before; left out if they cannot be found again.
        rehearses: whether the items are processed.
        allows_unguarded: whether they are though no client of the migration is guarded.

    Raises:
        SelectionError: none is guarded.
        ScriptFailedError: the items cannot be had.
    """
    names = _named(migration, is_allowed=allows_unguarded or not rehearses)
    if rehearses and migration.executor == "process":
        log.info("Its items are processed in this process alone, as it is a rehearsal")
    sight = Sight(rehearsed=Rehearsed(names) if rehearses else None)
    if checkpoint and checkpoint.is_to_be_verified:
        sight.is_to_verify = True
        return sight
    migration.is_rehearsal = True
    rehearsal.answers, rehearsal.reads = True, migration.reads
    try:
        with preview(migration, checkpoint, _found_again(migration, failures)) as items:
            for item in items:
                if sight.items == limit:
                    sight.is_all = False
                    break
                _add(item, sight, rehearsal, redact)
    except _SCRIPT_ERRORS as error:
        raise ScriptFailedError("The items cannot be read", error) from error
    sight.refused = [redact(request) for request in rehearsal.refused]
    sight.beside += _changes(rehearsal, redact)
    return sight


def _add(item: Previewed, sight: Sight, rehearsal: Rehearsal, redact: Redact) -> None:
    """Add an item to what a run would handle; rehearse it if it is to be."""
    sight.items += 1
    if len(sight.shown) < _SHOWN_ITEMS:
        sight.shown.append(redact(item.name))
    sight.beside += _changes(rehearsal, redact)
    if sight.rehearsed:
        sight.rehearsed.items.append(_rehearse(item, rehearsal, redact))


def _named(migration: BatchMigration[Any], *, is_allowed: bool) -> list[str]:
    """Return by what the migration could write all the same, having logged it.

    Raises:
        SelectionError: nothing would keep it from writing, and that is not allowed.
    """
    names = unguarded(migration)
    if not (is_allowed or has_guarded_client(migration)):
        raise SelectionError(
            "Nothing would keep this migration from writing: it has no client of the mixins, which"
            " are all that a rehearsal guards. If it looks at self.is_rehearsal, or writes nothing,"
            " add --unguarded"
        )
    if names:
        log.warning("Not guarded: %s: what the script writes by that is real", ", ".join(names))
    return names


def _found_again(
    migration: BatchMigration[Any], failures: Sequence[FailedItem]
) -> Sequence[FailedItem]:
    """Return the failed items; none, having logged it, if they cannot be found again."""
    if failures and not migration.finds():
        log.warning("%s that failed cannot be rehearsed without find()", in_items(len(failures)))
        return ()
    return failures


def _rehearse(item: Previewed, rehearsal: Rehearsal, redact: Redact) -> RehearsedItem:
    """Return what comes of an item; a write of it that had to be refused is no failure of its."""
    refused_before = len(rehearsal.refused)
    outcome = failure = None
    try:
        outcome = item.handle()
    except _SCRIPT_ERRORS as error:
        if len(rehearsal.refused) == refused_before:
            failure = redact(message_of(error))
    return RehearsedItem(
        redact(item.name),
        _changes(rehearsal, redact),
        redact(outcome) if outcome else None,
        failure,
        item.has_failed,
    )


def _changes(rehearsal: Rehearsal, redact: Redact) -> list[RehearsedChange]:
    """Return what would have been changed since this was asked before."""
    return [
        RehearsedChange(
            change.kind, redact(change.request), differences(change.before, change.after, redact)
        )
        for change in rehearsal.take_changes()
    ]
