"""The lock for stores without one: a lease, made of rows that anybody can insert, read and delete.

Each contender has a **claim**, a row in the store. The one that holds the lock goes on renewing its
claim; a claim that is no longer renewed is dead, and is deleted.

To acquire:

1. Insert a claim, and wait until everybody can see it (`SETTLE_SECONDS`).
2. Read all claims. If there is no other, the lock is held. Start over if that took so long that the
   own claim would be dead soon.
3. If another claim is older, delete the own one: that contender goes first, or holds the lock
   already. If all others are younger, they are about to see that: read again until they are gone.

Two never hold the lock at once. Each holds it only after it saw no claim but its own, in a read
that began after its own claim could be seen by all. Of two, the one whose claim became visible
later would have seen the claim of the other. The times of the claims decide only who goes first, so
that times out of order cost a retry and no more.

A claim is **dead** if it stayed unchanged for a whole lease on the observer's own clock. Exactly
that row is deleted, never one that was inserted since. A contender that has no time to wait looks
at the times of the claim first, all of which are the store's: a claim renewed within a lease makes
it give up at once, an older one is watched for the lease that shows it dead.

The **holder** knows from its own clock when it last began a renewal that everybody saw in time.
While that is less than a lease ago, nobody can have found its claim dead. Once it is more (the
process was paused, the network was gone) the lock is lost, even if nobody took it: somebody may be
about to.

Limits:

- A process that is frozen between its look at the clock and its next write may still write when it
  wakes, and a write may be on its way for longer than the rest of the lease. A store without
  conditional writes cannot prevent either.
- A claim that somebody deletes although its holder is alive is missed at the next renewal only.
- A write that others see later than `SETTLE_SECONDS` after it was answered could let two through.
- All contenders have to use the same length of a lease.
- A clock that stands still while the machine sleeps hides the sleep from the holder.

The idea of claims that are watched and not dated is that of Kubernetes' leader election
(https://pkg.go.dev/k8s.io/client-go/tools/leaderelection); writing before reading is that of
Lamport's bakery (https://lamport.azurewebsites.net/pubs/bakery.pdf).
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from shlex import quote
from typing import Protocol

from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.wording import printable, timestamp

SETTLE_SECONDS = 1.1
RENEWALS_A_LEASE = 3
_TRIES_A_RENEWAL = 4
_TRIES_TO_HOLD = 5
_LOOKS_A_LEASE = 12

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """A row that claims the lock.

    Args:
        row: the store's id of the row.
        name: who claims: `<host>:<process>:<random>`.
        created: when it was inserted, by the store's clock.
        renewed: when it was last renewed, by the store's clock; None if it never was.
    """

    row: str
    name: str
    created: datetime
    renewed: datetime | None = None

    @property
    def last_sign(self) -> datetime:
        """When the claim was last known to be alive, by the store's clock."""
        return self.renewed or self.created

    def __str__(self) -> str:
        """Return whom an operator has to look for."""
        host, process, *_ = [*self.name.split(":"), "unknown"]
        return printable(f"process {process} on {host} since {timestamp(self.created)}")


class ClaimStore(Protocol):
    """Keeps claims; each call raises `StorageError` if the store fails."""

    def insert(self, name: str) -> Claim:
        """Insert a claim and return it as the store has it."""

    def read(self) -> Sequence[Claim]:
        """Return all claims."""

    def renew(self, claim: Claim, now: datetime) -> bool:
        """Write when it was renewed, by the store's clock; return whether it still exists."""

    def delete(self, claim: Claim) -> None:
        """Delete exactly this row, if it still exists."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a lease measures and spends time.

    Args:
        lease_seconds: how long a claim may stay unchanged before it is dead.
        clock: returns seconds that only grow, while the process is paused too.
        sleep: waits for so many seconds.
    """

    lease_seconds: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]


class Lease:
    """A lock that is held: `renew` keeps it, `require` makes sure of it before a write."""

    def __init__(self, store: ClaimStore, claim: Claim, began: float, pace: Pace) -> None:
        self._store = store
        self._claim = claim
        # The clock of the store and ours, at about the same moment.
        self._created, self._began = claim.created, began
        self._renewed = began
        self._pace = pace
        self._lost = False
        # Renewed in the background, released by the main thread: one at a time.
        self._turn = threading.Lock()

    def renew(self) -> None:
        """Write a new sign of life.

        Raises:
            LockLostError: the claim is gone, or was not renewed in time.
            StorageError: the store failed; the lease goes on until its time is over.
        """
        with self._turn:
            self._renew()

    def require(self) -> None:
        """Return if the lock is held now, as the own clock tells.

        Raises:
            LockLostError: the claim is gone, or was not renewed in time.
        """
        if self._lost or self._is_over(0):
            raise self._loss()

    def age(self) -> float:
        """Return how many seconds ago the last sign of life was."""
        return self._pace.clock() - self._renewed

    def release(self) -> None:
        """Give the lock back.

        Raises:
            StorageError: the store failed; the claim is left to be found dead.
        """
        with self._turn:
            self._store.delete(self._claim)

    def _renew(self) -> None:
        self.require()
        began = self._pace.clock()
        now = self._created + timedelta(seconds=began - self._began)
        exists = self._store.renew(self._claim, now)
        # In time only if everybody sees it before the time of the last sign is over.
        if not exists or self._is_over(SETTLE_SECONDS):
            raise self._loss()
        self._renewed = began

    def _loss(self) -> LockLostError:
        self._lost = True
        return LockLostError(
            "The lock was lost: it was not renewed in time, or somebody deleted its row;"
            " this run changes no record any more"
        )

    def _is_over(self, seconds: float) -> bool:
        """Whether the time of the last sign is over in so many seconds."""
        return self.age() + seconds >= self._pace.lease_seconds


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
    tries = 0
    while True:
        began = pace.clock()
        own = store.insert(name)
        try:
            rival = _first_rival(store, own, pace)
        except BaseException:
            with suppress(StorageError):
                store.delete(own)
            raise
        lease = Lease(store, own, began, pace)
        if rival is None and lease.age() < _oldest_at_first(pace):
            return lease
        store.delete(own)
        if rival is None:
            tries += 1
            if tries == _TRIES_TO_HOLD:
                raise StorageError(
                    "The lock could not be had: the store takes so long that a lease of"
                    f" {pace.lease_seconds:g} seconds is nearly over by then. Use a longer one"
                )
            log.warning("It took too long to get the lock: trying again")
            continue
        silent_for = own.created - rival.last_sign + timedelta(seconds=pace.clock() - began)
        looks_dead = silent_for.total_seconds() >= pace.lease_seconds
        _outlast(store, rival, gives_up_at, pace, looks_dead=looks_dead)


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
        holder = min(claims, key=_age)
        known_as = printable(holder.name)
        raise StorageError(f"{name!r} does not hold the lock: {holder} does ({known_as})")
    for claim in named:
        store.delete(claim)


@contextmanager
def renewed(lease: Lease, seconds: float, lost: Callable[[], None]) -> Iterator[None]:
    """Renew the lease in the background, at an age of so many seconds; say once if it was lost."""
    ended = threading.Event()

    def keep() -> None:
        pause = seconds - lease.age()
        while not ended.wait(pause):
            try:
                lease.renew()
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
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _oldest_at_first(pace: Pace) -> float:
    """Return at which age a lease is no good start: the first renewal might be too late."""
    return pace.lease_seconds * (1 - 1 / RENEWALS_A_LEASE)


def _first_rival(store: ClaimStore, own: Claim, pace: Pace) -> Claim | None:
    """Return the claim that goes before the own one, or None once there is no other at all.

    Raises:
        LockedError: somebody deleted the own claim, so that others do not see it.
    """
    seen_at: dict[Claim, float] = {}
    while True:
        pace.sleep(SETTLE_SECONDS)
        looked_at = pace.clock()
        claims = store.read()
        others = [claim for claim in claims if claim.row != own.row]
        if len(others) == len(claims):
            raise LockedError("Somebody deleted this run's claim of the lock: try again")
        if not others:
            return None
        oldest = min(others, key=_age)
        if _age(oldest) < _age(own):
            return oldest
        now = pace.clock()
        for claim in others:
            # Renewed: it holds the lock, although the store says that it came later.
            if claim.renewed:
                return claim
            if looked_at - seen_at.setdefault(claim, now) >= pace.lease_seconds:
                store.delete(claim)


def _outlast(
    store: ClaimStore, rival: Claim, gives_up_at: float, pace: Pace, *, looks_dead: bool
) -> None:
    """Return once a claim is gone, deleting it if it is dead.

    Raises:
        LockedError: there is no time to wait any longer, and the claim may be alive.
    """
    seen, seen_at = rival, pace.clock()
    # Taken before a read, which may be slow: what it returns is no older than that.
    looked_at = seen_at
    pause = pace.lease_seconds / _LOOKS_A_LEASE
    if looks_dead:
        log.warning("%s holds the lock, but seems to be dead: watching it", rival)
    elif seen_at < gives_up_at:
        log.info("Waiting for the lock, held by %s", rival)
    while True:
        now = pace.clock()
        if looked_at - seen_at >= pace.lease_seconds:
            log.warning("%s is dead: taking its lock away", seen)
            store.delete(seen)
            return
        if now >= gives_up_at and not looks_dead:
            raise LockedError(
                f"Locked by {seen}. Try again later, or wait for it with --wait SECONDS."
                f" If it cannot be alive: mpt-tool unlock {quote(printable(seen.name))}"
            )
        pace.sleep(pause if looks_dead else min(pause, gives_up_at - now))
        looked_at = pace.clock()
        still = next((claim for claim in store.read() if claim.row == rival.row), None)
        if still is None:
            return
        if still != seen:
            seen, seen_at, looks_dead = still, pace.clock(), False


def _age(claim: Claim) -> tuple[datetime, str]:
    """Return what sorts claims, the oldest first."""
    return claim.created, claim.row
