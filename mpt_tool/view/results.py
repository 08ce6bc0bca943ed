"""What a command comes to, before anybody knows in which form it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mpt_tool.errors import ExitCode, MptToolError

if TYPE_CHECKING:
    from mpt_tool.batch.rehearsal import Sight
    from mpt_tool.checks import Check
    from mpt_tool.records import Attempt, ErrorReport, FailedItem, MigrationRecord
    from mpt_tool.scripts.check import Finding
    from mpt_tool.scripts.next_command import NextCommand
    from mpt_tool.scripts.plan import Entry, RunResult
    from mpt_tool.storage.repository import Holder


@dataclass(frozen=True, slots=True)
class Listing:
    """All migrations and where they stand, and what is to be noted on the store."""

    entries: "Sequence[Entry]"
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Pending:
    """The migrations that are pending, and what is to be noted on the files beside them."""

    entries: "Sequence[Entry]"
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class History:
    """Attempts, the newest last: at all migrations, or at one, which is shown in full."""

    attempts: "Sequence[Attempt]"
    migration_id: str | None


@dataclass(frozen=True, slots=True)
class Runs:
    """The attempts of each run, the newest run last."""

    runs: "Sequence[Sequence[Attempt]]"


@dataclass(frozen=True, slots=True)
class Status:
    """What goes on at a moment: who holds the lock, where all migrations stand, what to type next.

    `holder` is None if nobody holds the lock, `last_failure` if no attempt failed, `next_command`
    if nothing is to be done. `strays` are files that may be meant for migrations.
    """

    at: datetime
    holder: "Holder | None"
    entries: "Sequence[Entry]"
    last_failure: "Attempt | None"
    next_command: "NextCommand | None"
    strays: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Failures:
    """The items of a batch migration that failed, by target."""

    migration_id: str
    items: "Mapping[str, Sequence[FailedItem]]"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was verified, and of what is not as it should be, why."""

    entries: "Sequence[tuple[Entry, ErrorReport | None]]"


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with the scripts."""

    findings: "Sequence[Finding]"


@dataclass(frozen=True, slots=True)
class Examination:
    """What is right and what is wrong, by subject."""

    checks: "Mapping[str, Sequence[Check]]"


@dataclass(frozen=True, slots=True)
class Report:
    """What a report tells of a project.

    Args:
        project: what the project is called.
        tool: the name and the version of what tells it.
        made_at: the moment that it tells of.
        entries: all migrations and where they stand.
        attempts: the history, the newest first.
        failures: the items that failed and are still to be retried, by the name of what they are
            of: a migration, or what it is made for.
        notes: what is to be noted on the store.
    """

    project: str
    tool: str
    made_at: datetime
    entries: "Sequence[Entry]"
    attempts: "Sequence[Attempt]"
    failures: "Mapping[str, Sequence[FailedItem]]"
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A file that a report was written to, and how much it tells of."""

    file: str
    report: Report


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would run, and what was seen of the items of the one batch migration.

    With each record come the targets that are left, if the migration has any. `sights` are by
    target.
    """

    migration_type: str | None
    records: "Sequence[tuple[MigrationRecord, Sequence[str]]]"
    sights: "Mapping[str, Sight]"


type Content = (
    Listing
    | Pending
    | History
    | Runs
    | Status
    | Failures
    | Verified
    | Findings
    | Examination
    | DryRun
    | RunResult
    | Report
    | Written
    | None
)


@dataclass(frozen=True, slots=True)
class Result:
    """What a command came to.

    Args:
        content: what it reports, in any form.
        said: messages for people besides.
        exit_code: what the process is to exit with, unless it failed.
        failure: why it failed, if it did.
    """

    content: Content = None
    said: Sequence[str] = ()
    exit_code: int = ExitCode.DONE
    failure: MptToolError | None = None
