"""The lock for stores without one: a lease, made of rows that anybody can insert, read and delete.

Each contender has a **claim**, a row in the store, and goes on renewing it, while it waits and
while it holds the lock. A claim that is no longer renewed is dead, and is deleted. The claims are
the queue: the holder is first, whoever it is, and then the oldest.

To acquire:

1. Insert a claim, and wait until everybody can see it (`SETTLE_SECONDS`, S).
2. Read all claims, again and again, until no other is held or older. That read has to begin S after
   the claim was inserted if there is no other at all, else 3 S.
3. Mark the own claim as held. If that ended later than S after the read began, wait for 2 S.
4. Read all claims. If no other is held, the lock is; else delete the own claim and start over.

Two never hold the lock at once. Take two that both came to step 3. If each saw the claim of the
other in step 2, one of them saw an older one, and waited. So one, the first, did not, as it read
less than S after that was inserted. The second one read 3 S after its own was inserted, if it saw
the first one's: later than 2 S after the first one's read. If the first one marked its claim in
time, the second one saw that and waited. If not, the first one read again 2 S after it had marked
its claim: it saw the mark of the second one, or else that one marked its claim more than S after
the first one did, and saw that. The times of the claims decide only who goes first.

A claim is **dead** if it stayed unchanged for a whole lease on the observer's own clock. Exactly
that row is deleted, never one that was inserted since. A contender that has no time to wait looks
at the times of the claims first, all of which are the store's: a claim renewed within a lease makes
it give up at once, another one is watched for the lease that shows it dead.

The **holder** knows from its own clock when it last began a renewal that everybody saw in time.
While that is less than a lease ago, nobody can have found its claim dead. Once it is more (the
process was paused, the network was gone) the lock is lost, even if nobody took it: somebody may be
about to. With each renewal it reads all claims: should two hold the lock after all, the younger one
gives it up; and should somebody have left word in its own that it is to stop, it learns that.

Limits:

- A process that is frozen between its look at the clock and its next write may still write when it
  wakes, and a write may be on its way for longer than the rest of the lease. A store without
  conditional writes cannot prevent either.
- A claim that somebody deletes although its holder is alive is missed at the next renewal only.
- Writes that others see later than `SETTLE_SECONDS` after they were answered could let two through,
  until the next renewal.
- All contenders have to use the same length of a lease.
- A clock that stands still while the machine sleeps hides the sleep from the holder.

The idea of claims that are watched and not dated is that of Kubernetes' leader election
(https://pkg.go.dev/k8s.io/client-go/tools/leaderelection); writing before reading is that of
Lamport's bakery (https://lamport.azurewebsites.net/pubs/bakery.pdf).
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from shlex import quote
from typing import Protocol

from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import start_aside
from mpt_tool.storage.repository import Holder
from mpt_tool.wording import printable

SETTLE_SECONDS = 1.1
RENEWALS_A_LEASE = 3
_TRIES_A_RENEWAL = 4
_TRIES_TO_HOLD = 5
# Between two looks at the queue, for each that is before; longer and longer while nothing changes.
_LOOK_SECONDS = 2.0
_LOOKS_GROW_BY = 1.5
_LOOKS_A_LEASE = 12
# Over which part of the time that they may wait, and at most over how long, arrivals are spread.
_SPREAD_SHARE = 6
SPREAD_SECONDS = 20.0
# How often one looks whether the work is done by another before it stands in line; after which part
# of the time that it may wait, and at most how often a lease, it looks again.
_LOOKS_BEFORE_LINE = 4
_LOOK_SHARE = 12
_LOOKS_BEFORE_LINE_A_LEASE = 8
# However many are before, so that the own claim is renewed in time.
_FEWEST_LOOKS_A_LEASE = 4

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that claims the lock.

    Args:
        row: the store's id of the row.
        name: who claims: `<host>:<process>:<random>`.
        created: when it was inserted, by the store's clock.
        renewed: when it was last renewed, by the store's clock; None if it never was.
        held: when it was marked as held, by the store's clock; None if it waits.
        is_to_stop: whether somebody left word that it is to stop, which is no sign of its life.
    """

    row: str
    name: str
    created: datetime
    renewed: datetime | None = None
    held: datetime | None = None
    is_to_stop: bool = field(default=False, compare=False)

    @property
    def last_sign(self) -> datetime:
        """When the claim was last known to be alive, by the store's clock."""
        return self.renewed or self.created

    @property
    def age(self) -> tuple[datetime, str]:
        """What sorts claims, the oldest first."""
        return self.created, self.row

    def holder(self, now: datetime, lease_seconds: float) -> Holder:
        """Return who claims, as one that holds the lock.

        Args:
            now: what the clock of the store shows.
            lease_seconds: how long a claim may stay unchanged before it is dead.
        """
        host, process, *_ = [*self.name.split(":"), "unknown"]
        silent = abs((now - self.last_sign).total_seconds())
        return Holder(
            self.name,
            host,
            process,
            self.held or self.created,
            silent_seconds=silent,
            is_alive=silent < lease_seconds,
            is_to_stop=self.is_to_stop,
        )

    def __str__(self) -> str:
        """Return whom an operator has to look for."""
        return str(self.holder(self.last_sign, math.inf))


class ClaimStore(Protocol):
    """Keeps claims; each call raises `StorageError` if the store fails."""

    def insert(self, name: str) -> Claim:
        """Insert a claim and return it as the store has it."""

    def read(self) -> Sequence[Claim]:
        """Return all claims."""

    def renew(self, claim: Claim, now: datetime) -> bool:
        """Write when it was renewed, by the store's clock; return whether it still exists."""

    def hold(self, claim: Claim, now: datetime) -> bool:
        """Renew it, and mark it as held."""

    def delete(self, claim: Claim) -> None:
        """Delete exactly this row, if it still exists."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a lease measures and spends time.

    Args:
        lease_seconds: how long a claim may stay unchanged before it is dead.
        clock: returns seconds that only grow, while the process is paused too.
        sleep: waits for so many seconds.
        chance: returns a number from 0 to 1, another one in each process, so that those that wait
            look at different times.
    """

    lease_seconds: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    chance: Callable[[], float]


class Renewable(Protocol):
    """What is kept by being renewed again and again."""

    def age(self) -> float:
        """Return how many seconds ago the last sign of life was."""

    def renew(self) -> None:
        """Give a new one; raises `LockLostError` if it is too late, `StorageError` if it fails."""


class Lease:
    """A claim that is kept alive.

    Once the lock is held, `renew` keeps it, and `require` makes sure of it before a write.
    """

    def __init__(self, store: ClaimStore, claim: Claim, began: float, pace: Pace) -> None:
        self.claim = claim
        self._store = store
        # The clock of the store and ours, at about the same moment.
        self._created, self._began = claim.created, began
        self._renewed = began
        self._pace = pace
        self._lost = ""
        self.is_asked_to_stop = False
        """Whether a renewal found word that the holder is to stop."""
        # Renewed in the background, released by the main thread: one at a time.
        self._turn = threading.Lock()

    def keep(self) -> None:
        """Write a new sign of life.

        Raises:
            LockLostError: the claim is gone, or was not renewed in time.
            StorageError: the store failed; the lease goes on until its time is over.
        """
        self._write(self._store.renew)

    def hold(self) -> None:
        """Mark the claim as held; raises as `keep` does."""
        self._write(self._store.hold)

    def renew(self, urgent: ClaimStore | None = None) -> None:
        """Write a new sign of life, and make sure that nobody else holds the lock.

        Args:
            urgent: the same store, by requests that wait for no others.

        Raises:
            LockLostError: the claim is gone or was not renewed in time, or another is held that is
                older.
            StorageError: the store failed; the lease goes on until its time is over.
        """
        with self._turn:
            store = urgent or self._store
            self._write(store.renew)
            for claim in store.read():
                if claim.row == self.claim.row and claim.is_to_stop:
                    self.is_asked_to_stop = True
                if claim.held and claim.age < self.claim.age:
                    self._lost = f"{claim} holds it, too, and came first"
            self.require()

    def require(self) -> None:
        """Return if the lock is held now, as the own clock tells.

        Raises:
            LockLostError: the claim is gone, or was not renewed in time.
        """
        if self._is_over(0):
            self._lost = self._lost or _LATE
        if self._lost:
            raise LockLostError(
                f"The lock was lost: {self._lost}; this run changes no record any more"
            )

    def age(self) -> float:
        """Return how many seconds ago the last sign of life was."""
        return self._pace.clock() - self._renewed

    def store_time(self) -> datetime:
        """Return what the clock of the store shows, about."""
        return self._created + timedelta(seconds=self._pace.clock() - self._began)

    def others(self) -> Sequence[Claim]:
        """Return all other claims.

        Raises:
            LockedError: somebody deleted the own claim, so that others do not see it.
            StorageError: the store failed.
        """
        claims = self._store.read()
        others = [claim for claim in claims if claim.row != self.claim.row]
        if len(others) == len(claims):
            raise LockedError("Somebody deleted this run's claim of the lock: try again")
        return others

    def release(self) -> None:
        """Give the lock back.

        Raises:
            StorageError: the store failed; the claim is left to be found dead.
        """
        with self._turn:
            self._store.delete(self.claim)

    def _write(self, write: Callable[[Claim, datetime], bool]) -> None:
        self.require()
        began = self._pace.clock()
        exists = write(self.claim, self.store_time())
        # In time only if everybody sees it before the time of the last sign is over.
        if not exists or self._is_over(SETTLE_SECONDS):
            self._lost = _LATE
            self.require()
        self._renewed = began

    def _is_over(self, seconds: float) -> bool:
        """Whether the time of the last sign is over in so many seconds."""
        return self.age() + seconds >= self._pace.lease_seconds


_LATE = "it was not renewed in time, or somebody deleted its row"


def arrivals(wait_seconds: float, pace: Pace) -> Iterator[None]:
    """Yield at the moments to look whether there is still something to take the lock for.

    One that may wait is seldom alone: many that come at once are not to ask at once, and most of
    them find the work done by the first, if they do not stand in line for the lock meanwhile.
    """
    pace.sleep(pace.chance() * min(wait_seconds / _SPREAD_SHARE, SPREAD_SECONDS))
    yield
    pause = min(wait_seconds / _LOOK_SHARE, pace.lease_seconds / _LOOKS_BEFORE_LINE_A_LEASE)
    for looks in range(_LOOKS_BEFORE_LINE - 1):
        pace.sleep(_about(pause * _LOOKS_GROW_BY**looks, pace))
        yield


def acquire(store: ClaimStore, name: str, wait_seconds: float, pace: Pace) -> Lease:
    """Return a lease of the lock for the contender of this name, which must be its own.

    Args:
        store: where the claims are.
        name: `<host>:<process>:<random>`.
        wait_seconds: how long to wait for another to give the lock back.
        pace: how time is measured.

    Raises:
        LockedError: another holds the lock and did not give it back in time.
        StorageError: the store failed.
    """
    gives_up_at = pace.clock() + wait_seconds
    for _ in range(_TRIES_TO_HOLD):
        began = pace.clock()
        lease = Lease(store, _insert(store, name), began, pace)
        try:
            looked_at = _stand_in_line(store, lease, gives_up_at, pace)
            lease.hold()
            if pace.clock() - looked_at > SETTLE_SECONDS:
                pace.sleep(2 * SETTLE_SECONDS)
            if not any(claim.held for claim in lease.others()):
                return lease
        except LockLostError:
            log.warning("It took too long to get the lock: trying again")
        except BaseException:
            with suppress(StorageError):
                lease.release()
            raise
        lease.release()
    raise StorageError(
        "The lock could not be had: the store takes so long that a lease of"
        f" {pace.lease_seconds:g} seconds is nearly over by then. Use a longer one"
    )


def unlock(store: ClaimStore, name: str) -> None:
    """Delete the claims of this name, whoever holds the lock then.

    Raises:
        StorageError: nobody of this name holds the lock, or the store failed.
    """
    claims = store.read()
    named = [claim for claim in claims if claim.name == name]
    if not claims:
        raise StorageError("Nothing to unlock: nobody holds the lock")
    if not named:
        holder = first_of(claims)
        known_as = printable(holder.name)
        raise StorageError(f"{name!r} does not hold the lock: {holder} does ({known_as})")
    for claim in named:
        store.delete(claim)


@contextmanager
def renewed(
    lease: Renewable,
    seconds: float,
    lost: Callable[[], None],
    renew: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Renew the lease in the background meanwhile.

    Args:
        lease: what is renewed.
        seconds: at which age.
        lost: called once if it was lost.
        renew: how, if not by what it has for it.
    """
    renew = renew or lease.renew
    ended = threading.Event()

    def keep() -> None:
        pause = seconds - lease.age()
        while not ended.wait(pause):
            try:
                renew()
            except LockLostError as error:
                log.error("%s", error)
                lost()
                return
            except StorageError as error:
                log.warning("The lock could not be renewed, trying again: %s", error)
                pause = seconds / _TRIES_A_RENEWAL
            else:
                pause = seconds - lease.age()

    keeper = threading.Thread(target=keep, name="lease", daemon=True)
    try:
        start_aside(keeper)
        yield
    finally:
        ended.set()
        # A signal may have come before it had begun.
        if keeper.is_alive():
            keeper.join()


def _insert(store: ClaimStore, name: str) -> Claim:
    """Insert a claim; if nobody knows whether that was done, leave none behind."""
    try:
        return store.insert(name)
    except BaseException:
        with suppress(StorageError):
            for claim in store.read():
                if claim.name == name:
                    store.delete(claim)
        raise


def _stand_in_line(store: ClaimStore, lease: Lease, gives_up_at: float, pace: Pace) -> float:
    """Return once no other claim goes before the own one: when the look that shows it began.

    Claims that are dead are deleted on the way.

    Raises:
        LockedError: there is no time to wait any longer, and one that goes before may be alive; or
            the own claim was deleted.
        LockLostError: the own claim was not renewed in time.
    """
    inserted_at, pause, looks = pace.clock(), SETTLE_SECONDS, 0
    seen_at: dict[Claim, float] = {}
    first: Claim | None = None
    while True:
        pace.sleep(pause)
        looked_at = pace.clock()
        others = lease.others()
        before = [claim for claim in others if claim.held or claim.age < lease.claim.age]
        if not before:
            pause = inserted_at + 3 * SETTLE_SECONDS - looked_at
            if not others or pause <= 0:
                return looked_at
            continue
        # Seen after a read, and looked at before one, which may be slow: it is unchanged that long.
        now = pace.clock()
        seen_at = {claim: seen_at.get(claim, now) for claim in before}
        dead = [each for each, at in seen_at.items() if looked_at - at >= pace.lease_seconds]
        for claim in dead:
            log.warning("%s is dead: taking its lock away", claim)
            store.delete(claim)
        if dead:
            pause = 0.0
            continue
        previous, first = first, first_of(before)
        looks = looks + 1 if previous and previous.row == first.row else 0
        may_live = [claim for claim in before if not _looks_dead(claim, lease, pace)]
        if may_live and now >= gives_up_at:
            raise _locked_by(first_of(may_live))
        if not looks:
            _say_who_is_before(first, is_alive=bool(may_live))
        if lease.age() >= pace.lease_seconds / RENEWALS_A_LEASE:
            lease.keep()
        pause = _pause(len(before), looks, pace)
        if may_live:
            pause = min(pause, gives_up_at - now)


def _locked_by(holder: Claim) -> LockedError:
    return LockedError(
        f"Locked by {holder}. Try again later, or wait for it with --wait SECONDS."
        f" If it cannot be alive: mpt-tool unlock {quote(printable(holder.name))}"
    )


def _say_who_is_before(first: Claim, *, is_alive: bool) -> None:
    if is_alive:
        log.info("Waiting for the lock, held by %s", first)
    else:
        log.warning("%s holds the lock, but seems to be dead: watching it", first)


def _looks_dead(claim: Claim, lease: Lease, pace: Pace) -> bool:
    """Whether the last sign of a claim is a lease away, by the store's clock; or still to come."""
    silence = lease.store_time() - claim.last_sign
    return abs(silence.total_seconds()) >= pace.lease_seconds


def _pause(before: int, looks: int, pace: Pace) -> float:
    """Return the seconds to the next look, after so many that showed the same before."""
    grown = _LOOK_SECONDS * _LOOKS_GROW_BY ** min(looks, 20)
    longest = pace.lease_seconds / _FEWEST_LOOKS_A_LEASE
    seconds = min(min(grown, pace.lease_seconds / _LOOKS_A_LEASE) * before, longest)
    return _about(seconds, pace)


def _about(seconds: float, pace: Pace) -> float:
    """Return a quarter more or less, by chance: so that those that wait do not look together."""
    return seconds * (0.75 + pace.chance() / 2)


def first_of(claims: Iterable[Claim]) -> Claim:
    """Return the one that holds the lock, or else is to have it next."""
    return min(claims, key=lambda claim: (not claim.held, claim.age))
