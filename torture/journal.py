"""A project whose migrations keep a journal, by which its state is judged.

A run goes through a known row of states, one a save: nothing is recorded, the first migration is
running, it is applied, the second one is running, and so on. So a state is told by its number of
saves, and the last line of the journal tells which numbers are possible when a run is killed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from support.project import Project, Result

from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.errors import StorageError
from mpt_tool.storage.local import LocalRepository
from mpt_tool.storage.repository import StateRepository
from torture.figures import Fault

UNREADABLE = "unreadable states"
NEITHER = "states neither old nor new"
UNENDED = "migrations recorded as applied without having ended"
SKIPPED = "migrations skipped"
DISORDER = "migrations out of order"
UNFINISHED = "runs to the end that failed"
KINDS = (UNREADABLE, NEITHER, UNENDED, SKIPPED, DISORDER, UNFINISHED)

BEGIN, END = "begin", "end"
FILE = "journal.txt"
_NOTE = f"""\
import os

def note(line):
    descriptor = os.open({FILE!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, line.encode())
    os.fsync(descriptor)
    os.close(descriptor)
"""

type Line = tuple[str, str]
type Statuses = Mapping[str, MigrationStatusEnum]


@dataclass(frozen=True, slots=True)
class JournalledProject:
    """A project, the ids of its data migrations in order, and what opens its state."""

    project: Project
    ids: Sequence[str]
    open_state: Callable[[], StateRepository]

    @property
    def whole_journal(self) -> list[Line]:
        """The journal once each migration ran exactly once."""
        return [(event, migration_id) for migration_id in self.ids for event in (BEGIN, END)]

    def journal(self) -> list[Line]:
        """Return what the migrations wrote: when each began and ended, by id."""
        path = self.project.root / FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [_line(line) for line in lines]

    def replays(self) -> int:
        """Return how often a migration began again."""
        begun = [migration_id for event, migration_id in self.journal() if event == BEGIN]
        return len(begun) - len(set(begun))

    def without_attempt(self) -> int:
        """Return how many migrations have no attempt in the history that says they are applied."""
        attempts = self.open_state().attempts()
        applied = {each.migration_id for each in attempts if each.outcome is OutcomeEnum.APPLIED}
        return len(set(self.ids) - applied)

    def temporary_files(self) -> int:
        """Return how many unfinished copies of a local state, or journals of SQLite, lie about."""
        return len([*self.project.root.glob("*.tmp"), *self.project.root.glob("*-journal")])

    def state_faults(self) -> list[Fault]:
        """Return what is wrong with the state of a run that may have been killed at any moment."""
        try:
            statuses = self._statuses()
        except StorageError as error:
            return [self._fault(UNREADABLE, str(error))]
        journal = self.journal()
        faults = [
            self._fault(UNENDED, migration_id)
            for migration_id, status in statuses.items()
            if status is MigrationStatusEnum.APPLIED and (END, migration_id) not in journal
        ]
        saves = _saves(statuses, self.ids)
        if saves not in _possible_saves(journal, self.ids):
            last = journal[-1] if journal else "nothing"
            faults.append(self._fault(NEITHER, f"{statuses}, but the journal ends with {last}"))
        return faults

    def end_faults(self, last_run: Result) -> list[Fault]:
        """Return what is wrong after a run to the end."""
        faults = self.state_faults()
        if last_run.exit_code:
            detail = f"exit code {last_run.exit_code}: {last_run.stderr}"
            faults.append(self._fault(UNFINISHED, detail))
        if UNREADABLE in {fault.kind for fault in faults}:
            return faults
        journal, statuses = self.journal(), self._statuses()
        faults += [
            self._fault(SKIPPED, f"{migration_id} is {statuses.get(migration_id)}")
            for migration_id in self.ids
            if (END, migration_id) not in journal
            or statuses.get(migration_id) is not MigrationStatusEnum.APPLIED
        ]
        begins_again = {((event, id_), (BEGIN, id_)) for event in (BEGIN, END) for id_ in self.ids}
        follows = begins_again.union(pairwise(self.whole_journal))
        faults += [
            self._fault(DISORDER, f"{later} after {earlier}")
            for earlier, later in pairwise(journal)
            if (earlier, later) not in follows
        ]
        return faults

    def _statuses(self) -> Statuses:
        records = self.open_state().load().records
        return {migration_id: record.status for migration_id, record in records.items()}

    def _fault(self, kind: str, detail: str) -> Fault:
        return Fault(kind, f"{self.project.root.name}: {detail}")


def create(
    folder: Path,
    migrations: int,
    between: str = "",
    open_state: Callable[[], StateRepository] | None = None,
) -> JournalledProject:
    """Create a project with this many migrations, none of which has run.

    Args:
        folder: where; it is made.
        migrations: how many.
        between: the statements between the two lines that each of them writes.
        open_state: opens the state, unless it is in local files.
    """
    folder.mkdir(parents=True)
    project = Project(folder)
    open_state = open_state or partial(LocalRepository, folder)
    ids = [f"step_{number:03}" for number in range(migrations)]
    for migration_id in ids:
        begin, end = (f"note('{event} {migration_id}\\n')" for event in (BEGIN, END))
        body = f"{begin}\n{between}\n{end}"
        project.script(migration_id, above=_NOTE, body=body)
    return JournalledProject(project, ids, open_state)


def _line(text: str) -> Line:
    event, _, migration_id = text.partition(" ")
    return event, migration_id


def _saves(statuses: Statuses, ids: Sequence[str]) -> int | None:
    """Return how many saves lead to the statuses; None if no number of them does."""
    applied = list(statuses.values()).count(MigrationStatusEnum.APPLIED)
    expected = dict.fromkeys(ids[:applied], MigrationStatusEnum.APPLIED)
    if statuses == expected:
        return 2 * applied
    expected |= dict.fromkeys(ids[applied : applied + 1], MigrationStatusEnum.RUNNING)
    return 2 * applied + 1 if statuses == expected else None


def _possible_saves(journal: Sequence[Line], ids: Sequence[str]) -> range:
    """Return how many saves a run may have made when these were the last lines of its journal."""
    if not journal:
        return range(2)
    event, migration_id = journal[-1]
    running = 2 * ids.index(migration_id) + 1
    # Until the migration ended it was running; since then two more saves may have followed.
    return range(running, running + 1 if event == BEGIN else running + 3)
