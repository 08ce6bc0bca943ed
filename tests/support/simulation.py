"""Contenders for the lock in virtual time: the real code, of which one step is made at a time.

Each contender lives in a thread of its own, and exactly one thread runs at a time: that of a
contender between two of its steps, or else the one that calls `Simulation.step`. A step is the
arrival of a call at the store, the arrival of its reply, or the end of a sleep; the one that is due
first is made next. Calls take no time, unless the contender is frozen meanwhile.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby, pairwise
from typing import Literal, Self

from mpt_tool.errors import StorageError
from mpt_tool.storage.lease import SETTLE_SECONDS, Claim, Pace

LEASE_SECONDS = 12.0
STORE_BEGAN = datetime(2026, 1, 13, 18, 5, 20, tzinfo=UTC)
# No clock stands still while a process runs.
_TICK_SECONDS = 0.001


class Chance:
    """What happens by chance, in seconds; here nothing does."""

    def lag(self) -> float:
        """Return how old a write has to be for this read to see it, at most `SETTLE_SECONDS`."""
        return 0

    def skew(self) -> float:
        """Return how far off the time of a new claim is."""
        return 0

    def jitter(self) -> float:
        """Return where within its span a pause lies, from 0 to 1."""
        return 0.5


@dataclass
class Clock:
    """Virtual time, in seconds, some of which may pass at each look."""

    now: float = 0
    pass_at_each_look: float = 0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += max(seconds, _TICK_SECONDS)

    def look(self) -> float:
        """Return what time it is."""
        self.now += self.pass_at_each_look
        return self.now


type _Row = list[tuple[float, Claim | None]]
"""What was written to a row of the store, and when; None for its end."""


class Store:
    """A `ClaimStore` that shows late what was written, and whose times are out of order.

    A write is seen by each read that begins `SETTLE_SECONDS` later. Before, one read may see it and
    the next one not, and a later write before an earlier one. Only for writers a row is gone as
    soon as it is deleted.
    """

    def __init__(self, clock: Clock, chance: Chance) -> None:
        self.calls: list[str] = []
        self.chance = chance
        self._clock = clock
        self._rows: dict[str, _Row] = {}

    def insert(self, name: str) -> Claim:
        self.calls.append("insert")
        created = STORE_BEGAN + timedelta(seconds=int(self._clock.now + self.chance.skew()))
        claim = Claim(f"rec{len(self._rows):03}", name, created)
        self._rows[claim.row] = [(self._clock.now, claim)]
        return claim

    def read(self) -> Sequence[Claim]:
        self.calls.append("read")
        claims = [self._seen(row) for row in self._rows.values()]
        return [claim for claim in claims if claim]

    def renew(self, claim: Claim, now: datetime) -> bool:
        self.calls.append("renew")
        _, is_there = self._rows[claim.row][-1]
        return self._write(claim.row, replace(is_there or claim, renewed=now))

    def hold(self, claim: Claim, now: datetime) -> bool:
        self.calls.append("hold")
        return self._write(claim.row, replace(claim, renewed=now, held=now))

    def delete(self, claim: Claim) -> None:
        self.calls.append("delete")
        self._write(claim.row, None)

    def claims(self) -> Sequence[Claim]:
        """Return the claims that are there, whether readers see them or not."""
        return [claim for *_, (_, claim) in self._rows.values() if claim]

    def silence(self, claim: Claim) -> float:
        """Return for how long the claim stayed unchanged so far, at most."""
        times = [written for written, _ in self._rows[claim.row]]
        return max(later - sooner for sooner, later in pairwise([*times, self._clock.now]))

    def _write(self, row: str, claim: Claim | None) -> bool:
        """Write a row unless it was deleted; return whether it was there."""
        _, is_there = self._rows[row][-1]
        if is_there:
            self._rows[row].append((self._clock.now, claim))
        return is_there is not None

    def _seen(self, row: _Row) -> Claim | None:
        for written, claim in reversed(row):
            age = self._clock.now - written
            if age >= SETTLE_SECONDS or age >= self.chance.lag():
                return claim
        return None


class _KilledError(BaseException):
    """Ends the thread of a contender that makes no further step."""


class Contender:
    """A process: a way to the store, a clock of its own, and a life in a thread of its own.

    Args:
        simulation: that it takes part in.
        hours: how far off its clock is.
        life: what it does.
    """

    def __init__(
        self, simulation: "Simulation", hours: int, life: Callable[["Contender"], None]
    ) -> None:
        self.name = f"host:{len(simulation.contenders)}:abcd"
        self.pace = Pace(
            LEASE_SECONDS,
            lambda: simulation.clock.now + 3600 * hours,
            self._sleep,
            simulation.store.chance.jitter,
        )
        self.error: Exception | None = None
        self.has_ended = False
        # Whether its next call fails before it is done, or after that.
        self.fails: Literal["before", "after"] | None = None
        self.is_robbed = False
        self.due = simulation.clock.now
        self._simulation = simulation
        self._life = life
        self._act: Callable[[], None] = lambda: None
        self._seconds = 0.0
        self._is_killed = False
        # Each side waits for its own; the other one releases it to hand over.
        self._go, self._halt = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._halt.acquire()
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)
        self._thread.start()

    def insert(self, name: str) -> Claim:
        return self._call(partial(self._simulation.store.insert, name))

    def read(self) -> Sequence[Claim]:
        return self._call(self._simulation.store.read)

    def renew(self, claim: Claim, now: datetime) -> bool:
        return self._call(partial(self._simulation.store.renew, claim, now))

    def hold(self, claim: Claim, now: datetime) -> bool:
        return self._call(partial(self._simulation.store.hold, claim, now))

    def delete(self, claim: Claim) -> None:
        def delete() -> None:
            if claim.name != self.name:
                self._simulation.silences.append(self._simulation.store.silence(claim))
            self._simulation.store.delete(claim)

        self._call(delete)

    def write(self) -> None:
        """Write what only the holder of the lock may write.

        One whose claim was deleted by hand may do so until it learns of that.
        """
        if not self.is_robbed:
            self._simulation.writers.append(self.name)
            if not self._claims():
                self._simulation.unclaimed.append(self.name)

    def step(self) -> None:
        """Make the step that is due, and go on up to the next one."""
        clock = self._simulation.clock
        clock.now = max(clock.now, self.due)
        self._act()
        self._run()
        self.due = clock.now + self._seconds

    def rob(self) -> None:
        """Delete its claim by hand."""
        for claim in self._claims():
            self._simulation.store.delete(claim)
            self.is_robbed = True

    def freeze(self, seconds: float) -> None:
        """Make no step for so long."""
        self.due = max(self.due, self._simulation.clock.now + seconds)

    def kill(self) -> None:
        """Make no further step."""
        if not self.has_ended:
            self._is_killed = True
            self._run()
            self._thread.join()

    def _claims(self) -> Sequence[Claim]:
        return [claim for claim in self._simulation.store.claims() if claim.name == self.name]

    def _run(self) -> None:
        """Let the thread of the contender run up to its next step."""
        self._go.release()
        self._halt.acquire()

    def _live(self) -> None:
        self._go.acquire()
        try:
            if not self._is_killed:
                self._life(self)
        except _KilledError:
            pass
        except Exception as error:
            self.error = error
        self.has_ended = True
        self._halt.release()

    def _sleep(self, seconds: float) -> None:
        self._wait(max(seconds, _TICK_SECONDS))

    def _call[T](self, call: Callable[[], T]) -> T:
        reply: Future[T] = Future()
        fails, self.fails = self.fails, None
        if fails != "before":
            self._wait(0, lambda: reply.set_result(call()))
        self._wait(0)
        if fails:
            raise StorageError("The store failed")
        return reply.result()

    def _wait(self, seconds: float, act: Callable[[], None] = lambda: None) -> None:
        """Hand over until the next step was made, which is due in so many seconds."""
        if not self._is_killed:
            self._seconds, self._act = seconds, act
            self._halt.release()
            self._go.acquire()
        if self._is_killed:
            raise _KilledError


class Simulation:
    """Contenders for one lock; leaving the context kills them."""

    def __init__(self, chance: Chance | None = None) -> None:
        self.clock = Clock()
        self.store = Store(self.clock, chance or Chance())
        self.contenders: list[Contender] = []
        # Who wrote, one write after the other, and who of them had no claim.
        self.writers: list[str] = []
        self.unclaimed: list[str] = []
        # How long claims had been silent that another than their owner deleted.
        self.silences: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for contender in self.contenders:
            contender.kill()

    @property
    def living(self) -> Sequence[Contender]:
        """Those that go on making steps."""
        return [contender for contender in self.contenders if not contender.has_ended]

    def start(self, life: Callable[[Contender], None], hours: int = 0) -> Contender:
        """Add a contender that lives so, with a clock that is so many hours off."""
        contender = Contender(self, hours, life)
        self.contenders.append(contender)
        return contender

    def step(self) -> Contender | None:
        """Make the step that is due first, if there is one; return who made it."""
        first = min(self.living, key=lambda contender: contender.due, default=None)
        if first:
            first.step()
        return first

    def run(self, seconds: float) -> None:
        """Make all steps that are due within so many seconds."""
        end = self.clock.now + seconds
        while any(contender.due <= end for contender in self.living):
            self.step()
        self.clock.now = end

    def check(self) -> None:
        """Assert that the lock was safe so far: for those who wrote, and for those who died."""
        holders = [holder for holder, _ in groupby(self.writers)]
        assert len(holders) == len(set(holders)), f"others wrote meanwhile: {holders}"
        assert not self.unclaimed, "written without a claim"
        # A renewal just before may not have been seen.
        assert all(silence >= LEASE_SECONDS - SETTLE_SECONDS for silence in self.silences)
