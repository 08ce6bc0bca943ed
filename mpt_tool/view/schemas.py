"""The JSON documents as types: what each command writes with `--json`, and the schema of it.

No command imports this: it is for those who read documents, for the type checker, and for the
reference, which is made from it.
"""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from pydantic import ConfigDict, TypeAdapter, with_config

from mpt_tool.batch.differences import Difference
from mpt_tool.enums import (
    ChangeEnum,
    MigrationStatusEnum,
    MigrationTypeEnum,
    OutcomeEnum,
    VerdictEnum,
)
from mpt_tool.records import Attempt, ErrorReport

_described = with_config(ConfigDict(use_attribute_docstrings=True))


@_described
class Envelope(TypedDict):
    """What all documents have."""

    version: int
    """Grows when something changes its meaning or goes away; new keys may appear at any time."""
    command: str
    """The command; of `migrate` its action without dashes, such as `list`."""


@_described
class ListedMigration(TypedDict):
    """A migration, or one of its targets, and where it stands."""

    order_id: int
    """The number that the file's name begins with."""
    migration_id: str
    """The file's name without the number and `.py`."""
    type: MigrationTypeEnum | None
    """Null if it cannot be told without importing the script."""
    status: MigrationStatusEnum
    started_at: str | None
    """In ISO 8601, in UTC."""
    applied_at: str | None
    """In ISO 8601, in UTC."""
    seconds: float | None
    """How long the run took."""
    version: str | None
    """The `SERVICE_VERSION` of the run."""
    file: str | None
    """Null if the file is gone; a whole path if the command was typed below the root."""
    notes: list[str]
    """What is odd about it."""
    is_stopped: NotRequired[bool]
    """True if its status is `failed` because it was stopped; left out elsewhere."""
    outcomes: NotRequired[dict[str, int]]
    """How many items of a batch migration came to each outcome."""
    target: NotRequired[str]
    """The target's name, if this is one."""
    targets: NotRequired[list["ListedMigration"]]
    """Its targets, if it has any."""


class ListDocument(Envelope):
    """`migrate --list`."""

    migrations: list[ListedMigration]
    """All of them, in the order in which they run."""
    notes: list[str]
    """What is to be said of the store."""


class PendingDocument(Envelope):
    """`pending`."""

    pending: list[ListedMigration]
    """Those that a run would run, in that order."""
    notes: list[str]
    """What is odd about the files beside them."""


@_described
class RunDocument(TypedDict):
    """A run: all attempts that it made."""

    run_id: str
    user: str | None
    host: str | None
    process: int | None
    version: str | None
    """The `SERVICE_VERSION` of the run."""
    tool_version: str | None
    started_at: str | None
    """When the first of them began, in UTC."""
    ended_at: str | None
    """When the last of them ended; null if it has not, or nobody knows."""
    seconds: float | None
    outcomes: dict[OutcomeEnum, int]
    """How many attempts came to each."""
    migrations: list[str]
    """Their ids, each once."""


class ShownAttempt(Attempt):
    """An attempt; of one that is still running, who makes it may not be known."""

    run_id: str = ""
    user: str = ""
    host: str = ""
    process: int = 0
    tool_version: str = ""


class HistoryDocument(Envelope):
    """`history`."""

    attempts: NotRequired[list[ShownAttempt]]
    """The newest last; keys without a value are left out."""
    runs: NotRequired[list[RunDocument]]
    """With `--runs`, in place of attempts; the newest last."""


@_described
class HolderDocument(TypedDict):
    """Who holds the lock."""

    name: str
    """What `unlock` takes."""
    host: str
    process: str
    since: str | None
    """When it took the lock, in UTC."""
    user: str
    run_id: str
    silent_seconds: float | None
    """For how long there was no sign of life; null where the system tells whether it lives."""
    is_alive: bool | None
    """Null if that cannot be told."""
    is_to_stop: bool
    """Whether it is asked to stop."""


class RunningMigration(ListedMigration):
    """A migration that runs, or was left running."""

    is_left: bool
    """Whether the run that began it is dead."""
    checkpoint: dict[str, Any] | None
    """How far it is, as the state keeps it."""


@_described
class NextCommandDocument(TypedDict):
    """What to type next."""

    command: str
    reason: str
    """Why, as a part of a sentence."""


class StatusDocument(Envelope):
    """`status`."""

    at: str
    """The moment that it tells of, in UTC."""
    lock: HolderDocument | None
    """Null if nobody holds it."""
    running: list[RunningMigration]
    counts: dict[str, dict[MigrationStatusEnum, int]]
    """How many migrations there are of each status, by type."""
    last_failure: Attempt | None
    next: NextCommandDocument | None
    """Null if nothing is to be done."""
    notes: list[str]
    """What is odd about the files beside the scripts."""


@_described
class FailedItemDocument(TypedDict):
    """An item of a batch migration that failed."""

    cursor: Any
    """Where it stands in the order of the items."""
    error: str
    target: NotRequired[str]
    """The target it belongs to, if the migration has any."""


class FailuresDocument(Envelope):
    """`failures`."""

    migration_id: str
    failures: list[FailedItemDocument]


@_described
class VerifiedMigration(TypedDict):
    """A migration whose `verify` was called."""

    migration_id: str
    error: ErrorReport | None
    """Null if all is as it should be."""
    target: NotRequired[str]
    """The target it was called for, if the migration has any."""


class VerifyDocument(Envelope):
    """`verify`."""

    verified: list[VerifiedMigration]


@_described
class FindingDocument(TypedDict):
    """A mistake that was found."""

    file: str
    """The script; the id if it is gone, `store` for a note on the store."""
    message: str
    line: int | None
    """Null where no line is meant."""


class CheckDocument(Envelope):
    """`migrate --check`."""

    findings: list[FindingDocument]


@_described
class PlannedMigration(TypedDict):
    """A migration that would run."""

    order_id: int
    migration_id: str
    type: MigrationTypeEnum
    targets: NotRequired[list[str]]
    """For which targets it would run, if it has any."""


@_described
class Change(TypedDict):
    """What a request would have changed."""

    kind: ChangeEnum
    request: str
    """The method and the path."""
    fields: list[Difference]


@_described
class RehearsedItemDocument(TypedDict):
    """What came of an item."""

    name: str
    """As the migration describes it."""
    changes: list[Change]
    outcome: str | None
    """The text that `process` returned, if it did."""
    failure: str | None
    """Why it failed, if it did."""
    failed_before: bool
    """Whether it is one of those that failed in an earlier run."""


@_described
class RehearsedDocument(TypedDict):
    """What came of all items that were rehearsed."""

    unguarded: list[str]
    """What the script imports that is not guarded."""
    items: list[RehearsedItemDocument]
    outcomes: dict[str, int]
    """How many items came to each outcome."""


@_described
class SightDocument(TypedDict):
    """What was seen of a batch migration."""

    items: int
    """How many items a run would handle, as far as was looked."""
    is_all: bool
    """Whether there are no more beyond the limit."""
    is_to_verify: NotRequired[bool]
    """True if none is left, and a run would just verify; left out elsewhere."""
    shown: list[str]
    """The first few."""
    refused: list[str]
    """The writes that were not sent, and not answered."""
    beside: list[Change]
    """The changes that were made by no item, but in `prepare`, say."""
    rehearsed: RehearsedDocument | None
    """Null without `--rehearse`."""
    kinds: dict[ChangeEnum, int]
    """How many changes there are of each kind."""


class DryRunDocument(Envelope):
    """`migrate --dry-run`, `batch --dry-run` and `batch --rehearse`."""

    would_run: list[PlannedMigration]
    """In the order in which they would run."""
    items: NotRequired[SightDocument]
    """What was seen of the one batch migration that was asked for."""
    targets: NotRequired[dict[str, SightDocument]]
    """The same by target, if it has any."""


class FailedDocument(Envelope):
    """Any of these commands that failed."""

    error: str
    """The message for the user."""


# By the command that an envelope names.
@_described
class ExaminedThing(TypedDict):
    """One thing that was looked at."""

    subject: str
    """What it belongs to, such as `settings` or `store`."""
    name: str
    """What was looked at: a setting by its variable, or a noun."""
    verdict: VerdictEnum
    value: str
    """How it was found, without any secret."""
    advice: str
    """What to do; empty if it is right."""


class DoctorDocument(Envelope):
    """`doctor`."""

    checks: list[ExaminedThing]
    """In the order of the subjects."""


class ReportDocument(Envelope):
    """`report`."""

    file: str
    """The file that was written."""
    migrations: int
    """How many it tells of."""
    attempts: int
    """How many of the history it tells of."""


DOCUMENTS: Mapping[str, Any] = {
    "list": ListDocument,
    "check": CheckDocument,
    "data": DryRunDocument,
    "schema": DryRunDocument,
    "batch": DryRunDocument,
    "pending": PendingDocument,
    "history": HistoryDocument,
    "status": StatusDocument,
    "failures": FailuresDocument,
    "verify": VerifyDocument,
    "doctor": DoctorDocument,
    "report": ReportDocument,
}


def schema(document: Any) -> dict[str, Any]:
    """Return the JSON Schema of one of `DOCUMENTS`, or of `FailedDocument`."""
    return TypeAdapter(document).json_schema()
