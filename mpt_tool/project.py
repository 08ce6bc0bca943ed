"""A project: its settings, store, scripts and plan, opened once for every command."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpt_tool.enums import OutcomeEnum
from mpt_tool.errors import (
    NoHistoryError,
    StorageError,
)
from mpt_tool.process.signals import Stop
from mpt_tool.records import Attempt
from mpt_tool.redaction import Redact
from mpt_tool.scripts import plan
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.plan import Entry
from mpt_tool.scripts.syntax import checksum, inspect
from mpt_tool.storage.repository import Snapshot, StateRepository

if TYPE_CHECKING:
    from mpt_tool.process.signals import Stop
    from mpt_tool.records import Attempt
    from mpt_tool.redaction import Redact
    from mpt_tool.scripts.plan import Entry
    from mpt_tool.settings import Settings
    from mpt_tool.storage.repository import StateRepository

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Project:
    """What every action needs."""

    root: Path
    settings: "Settings"
    redact: "Redact"
    stop: "Stop"


def open_store(project: Project) -> "StateRepository":
    """Return the repository that the settings name."""
    from mpt_tool.storage import open_repository

    return open_repository(project.settings.storage_type, project.root)


def attempts_if_any(repository: "StateRepository") -> "Iterable[Attempt]":
    """Return the history; if it cannot be read, nothing, with a warning."""
    try:
        return known_attempts(repository)
    except StorageError as error:
        log.warning("What was changed since it was applied cannot be told: %s", error)
        return []


def known_attempts(repository: "StateRepository") -> "Iterable[Attempt]":
    """Return the history; nothing if the store keeps none."""
    try:
        return repository.attempts()
    except NoHistoryError as error:
        log.debug("%s", error)
        return []


def store_notes(
    project: Project, missing: "Collection[str]", entries: "Sequence[Entry]"
) -> list[str]:
    """Return what the store lacks that would be used."""
    from mpt_tool.scripts import plan
    from mpt_tool.scripts.syntax import inspect

    would_be_used = {
        "version": lambda: bool(project.settings.service_version),
        "checkpoint": lambda: any(
            entry.script and inspect(entry.script.path).is_batch
            for entry in plan.all_pending(entries, None)
        ),
    }
    return [
        f"the store has no column {column}, so that is not recorded; --init adds it"
        for column in sorted(missing)
        if would_be_used[column]()
    ]


def read_plan(
    found: Sequence[Script],
    snapshot: Snapshot,
    read_attempts: Callable[[], Iterable[Attempt]] = tuple,
) -> list[Entry]:
    """Return the plan of the scripts that were found; imports no script.

    Args:
        found: the scripts.
        snapshot: what the store holds.
        read_attempts: returns the history, if what was changed since it was applied is to be noted.
    """
    records = snapshot.records
    declared = {
        script.migration_id: inspect(script.path).type
        for script in found
        if script.migration_id not in records
    }
    applied_as: dict[str, str | None] = {}
    for attempt in read_attempts():
        if attempt.outcome in (OutcomeEnum.APPLIED, OutcomeEnum.FAKED):
            applied_as.setdefault(attempt.migration_id, attempt.checksum)
    changed = {
        script.migration_id
        for script in found
        if (known := applied_as.get(script.migration_id))
        and script.migration_id in records
        and records[script.migration_id].applied_at
        and known != checksum(script.path)
    }
    return plan.build(found, records, declared, snapshot.notes, changed)
