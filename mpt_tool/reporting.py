"""What is told of a run while it goes on, and whom: phases that begin and end, and events in them.

A run is told from the outside in: `Run` has `Locking` and a `Migrating` for each migration, that
has a `Running` for each of its targets, and in these are `Preparing`, `Verifying` and `Saving`. A
`Sending` may be anywhere. What ends a phase early is raised through it.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.wording import name_of


class Progress(Protocol):
    """How far a batch migration is; it goes on meanwhile, in other threads."""

    processed: int
    failed: int
    total: int | None

    @property
    def handled(self) -> int:
        """How many items lie behind, done or failed."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many items came to each outcome; a snapshot has to be taken to go through them."""


@dataclass(frozen=True, slots=True)
class Run:
    """A command runs migrations: `migrate --data`, say; or just looks, so that nobody is told."""

    command: str
    just_looks: bool = False


@dataclass(frozen=True, slots=True)
class Locking:
    """The lock of the store is asked for, and waited for if need be."""


@dataclass(frozen=True, slots=True)
class Migrating:
    """A migration runs, for all of its targets that are left: as this number of the total."""

    migration_id: str
    type: MigrationTypeEnum
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class Running:
    """A migration runs for one of its targets; for nothing in particular if that is empty.

    A batch migration has a `tally`.
    """

    migration_id: str
    target: str
    number: int
    total: int
    tally: Progress | None

    @property
    def name(self) -> str:
        """What messages call it."""
        return name_of(self.migration_id, self.target)


@dataclass(frozen=True, slots=True)
class Preparing:
    """The author's `prepare` runs."""


@dataclass(frozen=True, slots=True)
class Verifying:
    """The author's `verify` runs; `name` is what messages call the migration, if no run has it."""

    name: str = ""


@dataclass(frozen=True, slots=True)
class Saving:
    """A checkpoint is saved, after so many items."""

    handled: int


@dataclass(frozen=True, slots=True)
class Sending:
    """A request is sent, once.

    Args:
        service: whom messages say it goes to.
        method: its method.
        url: its address.
        number: the how manieth try that is, from 1 on.
        waited: for how many seconds this try had to wait.
        is_of_script: whether a script sends it, and not the store.
    """

    service: str
    method: str
    url: str
    number: int
    waited: float
    is_of_script: bool


type Phase = Run | Locking | Migrating | Running | Preparing | Verifying | Saving | Sending


@dataclass(frozen=True, slots=True)
class Answered:
    """A request was answered with this status."""

    sending: Sending
    status: int


@dataclass(frozen=True, slots=True)
class ItemTried:
    """An item was processed, and that failed or took long.

    Args:
        name: what messages call the item.
        seconds: how long it took.
        error: what was raised; None if it was only slow.
    """

    name: str
    seconds: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class FoundDead:
    """A run of the migration of this name was found to have died in it."""

    name: str


type Event = Answered | ItemTried | FoundDead


class Reporter(Protocol):
    """Is told how a run goes on, from any thread.

    Phases of which it makes nothing, and events, it passes over.
    """

    slow_seconds: float | None
    """From how many seconds on an item is slow; None if it is not to be told of items."""

    def during(self, phase: Phase) -> AbstractContextManager[None]:
        """Return a context in which the phase goes on."""

    def note(self, event: Event) -> None:
        """Note what happened."""


class Silent:
    """A reporter that passes over all."""

    slow_seconds: float | None = None

    def during(self, phase: Phase) -> AbstractContextManager[None]:  # noqa: ARG002 - it is passed over
        """Return a context that does nothing."""
        return nullcontext()

    def note(self, event: Event) -> None:
        """Do nothing."""


# Whom clients tell of their requests: authors' code makes the clients, and hands nothing down.
_listening: Reporter = Silent()


def listening() -> Reporter:
    """Return whom to tell of what happens in the process now."""
    return _listening


@contextmanager
def told_to(reporter: Reporter) -> Iterator[None]:
    """Have the clients of the whole process tell this one meanwhile."""
    global _listening  # noqa: PLW0603 - clients are the process's
    earlier, _listening = _listening, reporter
    try:
        yield
    finally:
        _listening = earlier
