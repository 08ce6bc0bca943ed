"""The lock for stores without one, among contenders in virtual time."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support.simulation import LEASE_SECONDS, Chance, Clock, Contender, Simulation, Store

from mpt_tool.errors import LockedError, LockLostError, StorageError
from mpt_tool.storage.lease import (
    RENEWALS_A_LEASE,
    SETTLE_SECONDS,
    Claim,
    Lease,
    Pace,
    acquire,
    arrivals,
    renewed,
    unlock,
)

# To search longer: LEASE_EXAMPLES=20000 pytest tests/test_lease.py -k interleave
EXAMPLES = int(os.environ.get("LEASE_EXAMPLES", "300"))
BETWEEN_RENEWALS = LEASE_SECONDS / RENEWALS_A_LEASE
BETWEEN_WRITES = LEASE_SECONDS / 12
# In this time every contender comes to its end.
LONG_SECONDS = 30 * LEASE_SECONDS

type Life = Callable[[Contender], None]
type Course = Sequence[tuple[int, float]]


def working(work_seconds: float, *, wait_seconds: float = 0) -> Life:
    """Return the life of one that writes under the lock for a time, again and again."""

    def live(contender: Contender) -> None:
        pace = contender.pace
        lease = acquire(contender, contender.name, wait_seconds, pace)
        ends_at = pace.clock() + work_seconds
        try:
            while pace.clock() < ends_at:
                lease.require()
                contender.write()
                if lease.age() >= BETWEEN_RENEWALS:
                    renew(lease)
                pace.sleep(BETWEEN_WRITES)
        finally:
            with suppress(StorageError):
                lease.release()

    return live


def renew(lease: Lease) -> None:
    """Renew the lease, or leave it to the next time if the store fails."""
    try:
        lease.renew()
    except LockLostError:
        raise
    except StorageError:
        pass


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    """Contenders with a store that shows all at once; the lock has to be safe up to the end."""
    with Simulation() as simulation:
        yield simulation
        simulation.check()


def errors(simulation: Simulation) -> Sequence[type[Exception] | None]:
    """Return what each contender ended with."""
    assert not simulation.living
    found = [contender.error for contender in simulation.contenders]
    return [type(error) if error else None for error in found]


def step_until(simulation: Simulation, call: str) -> None:
    """Make steps up to the arrival of the next such call at the store."""
    calls = simulation.store.calls
    before = calls.count(call)
    while calls.count(call) == before:
        assert simulation.step()


# --- to come to it


@pytest.mark.parametrize("chance", [0, 0.5, 1])
@pytest.mark.parametrize("wait_seconds", [1, 30, 120, 3600])
def test_those_that_may_wait_look_a_few_times_first_and_keep_time_for_the_line(
    chance: float, wait_seconds: float
) -> None:
    clock = Clock()
    pace = Pace(90, lambda: clock.now, clock.sleep, lambda: chance)

    moments = [clock.now for _ in arrivals(wait_seconds, pace)]

    assert len(moments) == 4
    assert moments[0] == pytest.approx(chance * min(wait_seconds / 6, 20), abs=0.01)
    pauses = [later - sooner for sooner, later in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert moments[-1] < min(wait_seconds * 2 / 3, 90)


# --- to take it and to give it back


def test_an_uncontended_lock_costs_five_requests_and_two_a_renewal(simulation: Simulation) -> None:
    simulation.start(working(2.5 * BETWEEN_RENEWALS))

    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [None]
    renewal = ["renew", "read"]
    assert simulation.store.calls == ["insert", "read", "hold", "read", *2 * renewal, "delete"]
    assert simulation.store.claims() == []


def test_of_many_that_come_at_once_one_gets_the_lock_soon(simulation: Simulation) -> None:
    contenders = [simulation.start(working(LEASE_SECONDS)) for _ in range(8)]

    simulation.run(LEASE_SECONDS / 2)

    (holder,) = simulation.living
    refused = [contender for contender in contenders if contender is not holder]
    assert all(isinstance(contender.error, LockedError) for contender in refused)
    assert set(simulation.writers) == {holder.name}
    assert [claim.name for claim in simulation.store.claims()] == [holder.name]


def test_all_that_wait_get_the_lock_in_the_order_in_which_they_came(
    simulation: Simulation,
) -> None:
    for _ in range(8):
        simulation.start(working(LEASE_SECONDS, wait_seconds=LONG_SECONDS))

    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [None] * 8
    assert list(dict.fromkeys(simulation.writers)) == [each.name for each in simulation.contenders]
    assert simulation.store.claims() == []


def test_those_that_wait_ask_rarely_however_many_they_are(simulation: Simulation) -> None:
    simulation.start(working(LONG_SECONDS))
    simulation.run(LEASE_SECONDS)
    for _ in range(9):
        simulation.start(working(0, wait_seconds=LONG_SECONDS))
    simulation.run(LEASE_SECONDS)
    simulation.store.calls.clear()

    simulation.run(10 * LEASE_SECONDS)

    # Of the holder two a renewal; of each other a look a quarter and a renewal a third of a lease.
    assert len(simulation.store.calls) <= 10 * (2 * 3 + 9 * (5 + 3))


def test_one_that_saw_a_lock_taken_while_it_took_it_gives_way(simulation: Simulation) -> None:
    contender = simulation.start(working(0))
    step_until(simulation, "hold")
    intruder = simulation.store.insert("host:9:abcd")

    simulation.store.hold(intruder, intruder.created)
    simulation.run(LONG_SECONDS)

    assert isinstance(contender.error, LockedError)
    assert not simulation.writers


@pytest.mark.parametrize(("skew", "error"), [(-60, LockLostError), (60, None)])
def test_of_two_that_hold_the_lock_the_younger_gives_it_up_at_its_next_renewal(
    skew: float, error: type[Exception] | None
) -> None:
    chance = FirstIsLateChance()
    with Simulation(chance) as simulation:
        holder = simulation.start(working(LONG_SECONDS))
        simulation.run(LEASE_SECONDS)
        chance.skews = iter([skew])
        intruder = simulation.store.insert("host:9:abcd")
        simulation.store.hold(intruder, intruder.created)

        simulation.run(BETWEEN_RENEWALS + BETWEEN_WRITES)

        assert holder.has_ended is (error is not None)
        assert isinstance(holder.error, error or type(None))


def test_contention_is_told_with_the_holder_and_how_to_remove_it(simulation: Simulation) -> None:
    simulation.run(5)
    simulation.start(working(LONG_SECONDS))
    simulation.run(2 * LEASE_SECONDS)

    refused = simulation.start(working(0))
    simulation.run(LEASE_SECONDS / 2)

    assert str(refused.error) == (
        "Locked by process 0 on host since 2026-01-13 18:05:26Z."
        " Try again later, or wait for it with --wait SECONDS."
        " If it cannot be alive: mpt-tool unlock host:0:abcd"
    )


def test_one_that_waits_in_vain_is_refused_when_its_time_is_over(simulation: Simulation) -> None:
    simulation.start(working(LONG_SECONDS))
    simulation.run(LEASE_SECONDS)

    refused = simulation.start(working(0, wait_seconds=3 * LEASE_SECONDS))
    simulation.run(3 * LEASE_SECONDS - 1)
    assert not refused.has_ended
    simulation.run(2)

    assert isinstance(refused.error, LockedError)


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_whose_store_fails_leaves_no_claim_that_it_knows_of(
    simulation: Simulation, when: Literal["before", "after"]
) -> None:
    contender = simulation.start(working(0))
    simulation.run(SETTLE_SECONDS / 2)

    contender.fails = when
    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [StorageError]
    assert simulation.store.calls[-1] == "delete"
    assert simulation.store.claims() == []


def test_one_that_does_not_know_whether_it_has_a_claim_leaves_none(simulation: Simulation) -> None:
    contender = simulation.start(working(0))
    contender.fails = "after"

    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [StorageError]
    assert "insert" in simulation.store.calls
    assert simulation.store.claims() == []


def test_one_whose_claim_is_deleted_by_hand_before_it_holds_the_lock_is_refused(
    simulation: Simulation,
) -> None:
    contender = simulation.start(working(0))
    simulation.run(SETTLE_SECONDS / 2)

    contender.rob()
    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [LockedError]


# --- to hold it


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_renewal_that_fails_is_made_up_for_by_the_next(
    simulation: Simulation, when: Literal["before", "after"]
) -> None:
    holder = simulation.start(working(2 * LEASE_SECONDS))
    simulation.run(LEASE_SECONDS)
    simulation.start(working(0, wait_seconds=LONG_SECONDS))

    holder.fails = when
    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [None, None]
    assert simulation.silences == []


@pytest.mark.parametrize("someone_waits", [True, False])
def test_a_holder_that_slept_past_its_lease_stops_without_writing(
    simulation: Simulation, someone_waits: bool
) -> None:
    holder = simulation.start(working(LONG_SECONDS))
    simulation.run(LEASE_SECONDS)
    if someone_waits:
        simulation.start(working(LONG_SECONDS, wait_seconds=LONG_SECONDS))
    written = simulation.writers.count(holder.name)

    holder.freeze(2 * LEASE_SECONDS)
    simulation.run(3 * LEASE_SECONDS)

    assert isinstance(holder.error, LockLostError)
    assert simulation.writers.count(holder.name) == written
    assert len(set(simulation.writers)) == 1 + someone_waits


def test_a_holder_whose_claim_is_deleted_by_hand_learns_it_from_its_next_renewal(
    simulation: Simulation,
) -> None:
    holder = simulation.start(working(LONG_SECONDS))
    simulation.run(LEASE_SECONDS)

    holder.rob()
    simulation.run(BETWEEN_RENEWALS + BETWEEN_WRITES)

    assert isinstance(holder.error, LockLostError)


@pytest.mark.parametrize(
    ("spare_seconds", "error"), [(0.5 * SETTLE_SECONDS, LockLostError), (2 * SETTLE_SECONDS, None)]
)
def test_a_renewal_is_in_time_if_all_see_it_before_the_lease_is_over(
    simulation: Simulation, spare_seconds: float, error: type[Exception] | None
) -> None:
    def live(contender: Contender) -> None:
        lease = acquire(contender, contender.name, 0, contender.pace)
        contender.pace.sleep(LEASE_SECONDS - spare_seconds - lease.age())
        lease.renew()

    simulation.start(live)
    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [error]


def test_a_lease_counts_from_when_its_last_call_began_not_from_the_reply(
    simulation: Simulation,
) -> None:
    def live(contender: Contender) -> None:
        pace = contender.pace
        lease = acquire(contender, contender.name, 0, pace)
        began = pace.clock()
        lease.renew()
        pace.sleep(began + LEASE_SECONDS - pace.clock())
        lease.require()

    holder = simulation.start(live)
    step_until(simulation, "renew")
    holder.freeze(LEASE_SECONDS / 2)
    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [LockLostError]


# --- to take it from the dead


@pytest.mark.parametrize("hours", [-12, 0, 12])
@pytest.mark.parametrize(
    ("dead_seconds", "wait_seconds"), [(LEASE_SECONDS, 0), (0, 1.5 * LEASE_SECONDS)]
)
def test_a_dead_holder_is_outlasted_whatever_the_clocks_say(
    simulation: Simulation,
    caplog: pytest.LogCaptureFixture,
    dead_seconds: float,
    wait_seconds: float,
    hours: int,
) -> None:
    holder = simulation.start(working(LONG_SECONDS))
    simulation.run(2 * LEASE_SECONDS)
    holder.kill()
    simulation.run(dead_seconds)

    contender = simulation.start(working(0, wait_seconds=wait_seconds), hours)
    simulation.run(1.5 * LEASE_SECONDS)

    assert contender.has_ended
    assert contender.error is None
    assert "process 0 on host since 2026-01-13 18:05:21Z is dead: taking its lock" in caplog.text
    assert simulation.store.claims() == []


def test_a_claim_that_was_renewed_in_the_future_is_outlasted(simulation: Simulation) -> None:
    dead = simulation.store.insert("host:9:abcd")
    simulation.store.hold(dead, dead.created + timedelta(days=365))

    contender = simulation.start(working(0))
    simulation.run(1.5 * LEASE_SECONDS)

    assert contender.has_ended
    assert contender.error is None


def test_a_holder_that_died_less_than_a_lease_ago_may_be_alive(simulation: Simulation) -> None:
    simulation.start(working(LONG_SECONDS))
    simulation.run(2 * LEASE_SECONDS)
    simulation.contenders[0].kill()

    simulation.start(working(0))
    simulation.run(LEASE_SECONDS / 2)

    assert isinstance(simulation.contenders[1].error, LockedError)


def test_a_slow_reply_makes_nobody_dead(simulation: Simulation) -> None:
    holder = simulation.start(working(2 * LEASE_SECONDS))
    step_until(simulation, "renew")
    simulation.run(0)
    observer = simulation.start(working(0, wait_seconds=LONG_SECONDS))
    holder.freeze(0.75 * LEASE_SECONDS)
    simulation.run(0.75 * LEASE_SECONDS - 1)

    # It sees the claim for the last time before the holder renews it, and learns it much later.
    step_until(simulation, "read")
    observer.freeze(0.5 * LEASE_SECONDS)
    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [None, None]
    assert simulation.silences == []


def test_one_whose_claim_grew_old_before_it_held_the_lock_starts_over(
    simulation: Simulation,
) -> None:
    contender = simulation.start(working(LEASE_SECONDS))
    step_until(simulation, "read")

    contender.freeze(1.1 * LEASE_SECONDS)
    simulation.run(LONG_SECONDS)

    assert errors(simulation) == [None]
    assert simulation.store.calls[:5] == ["insert", "read", "delete", "insert", "read"]


def test_a_store_that_is_too_slow_for_the_lease_is_told_and_left_without_a_claim(
    simulation: Simulation,
) -> None:
    contender = simulation.start(working(LEASE_SECONDS))
    for _ in range(5):
        step_until(simulation, "read")
        contender.freeze(1.1 * LEASE_SECONDS)

    simulation.run(LONG_SECONDS)

    assert "a lease of 12 seconds is nearly over by then. Use a longer one" in str(contender.error)
    assert simulation.store.claims() == []


class FirstIsLateChance(Chance):
    """The store says of the first claim that it came later than it did."""

    def __init__(self) -> None:
        self.skews = iter([4.0])

    def skew(self) -> float:
        return next(self.skews, 0)


def test_a_holder_that_came_later_as_the_store_says_is_respected() -> None:
    with Simulation(FirstIsLateChance()) as simulation:
        simulation.start(working(LONG_SECONDS))
        simulation.run(2)

        refused = simulation.start(working(0))
        simulation.run(LEASE_SECONDS)

        assert isinstance(refused.error, LockedError)
        simulation.check()


def test_a_dead_claim_that_came_later_as_the_store_says_is_outlasted() -> None:
    with Simulation(FirstIsLateChance()) as simulation:
        dead = simulation.start(working(LONG_SECONDS))
        simulation.run(2)
        dead.kill()

        contender = simulation.start(working(LEASE_SECONDS, wait_seconds=LONG_SECONDS))
        simulation.run(LONG_SECONDS)

        assert contender.error is None
        assert simulation.store.claims() == []
        simulation.check()


# --- unlock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Store:
    """A store that is called directly, in which there is nothing yet."""
    return Store(clock, Chance())


def test_unlocking_deletes_the_claims_of_this_name_alone(store: Store) -> None:
    for name in ["host:1:a", "host:2:b", "host:1:a"]:
        store.insert(name)

    unlock(store, "host:1:a")

    assert [claim.name for claim in store.claims()] == ["host:2:b"]


def test_unlocking_another_than_the_holder_is_refused_and_names_the_holder(
    store: Store, clock: Clock
) -> None:
    store.insert("host:1:a")
    clock.sleep(1)
    store.insert("host:2:b")

    with pytest.raises(StorageError) as refused:
        unlock(store, "host:1:c")

    assert str(refused.value) == (
        "'host:1:c' does not hold the lock: process 1 on host since 2026-01-13 18:05:20Z does"
        " (host:1:a)"
    )
    assert len(store.claims()) == 2


def test_there_is_nothing_to_unlock_while_there_is_no_claim(store: Store) -> None:
    with pytest.raises(StorageError, match="Nothing to unlock: nobody holds the lock"):
        unlock(store, "host:1:a")


# --- in the background


def lease_of(store: Store, clock: Clock) -> Lease:
    pace = Pace(LEASE_SECONDS, lambda: clock.now, clock.sleep, lambda: 0.5)
    return acquire(store, "host:1:a", 0, pace)


def test_a_lost_lock_is_said_once(
    store: Store, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lease, was_lost, times_lost = lease_of(store, clock), threading.Event(), []

    def lost() -> None:
        times_lost.append(clock.now)
        was_lost.set()

    with renewed(lease, 0.001, lost):
        unlock(store, "host:1:a")
        assert was_lost.wait(10)

    assert len(times_lost) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    with pytest.raises(LockLostError, match="The lock was lost"):
        lease.require()


class WatchedStore(Store):
    """Fails at the first so many renewals; `renewed` is set at the next."""

    def __init__(self, clock: Clock, failures: int) -> None:
        super().__init__(clock, Chance())
        self.failures = failures
        self.renewed = threading.Event()

    def renew(self, claim: Claim, now: datetime) -> bool:
        if self.failures:
            self.failures -= 1
            raise StorageError("The store failed")
        self.renewed.set()
        return super().renew(claim, now)


def test_a_renewal_that_fails_in_the_background_is_tried_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = WatchedStore(clock, failures=1)
    lease = lease_of(store, clock)

    with renewed(lease, 0.001, pytest.fail):
        assert store.renewed.wait(10)

    lease.require()
    assert "The lock could not be renewed, trying again: The store failed" in caplog.text


def test_a_lease_that_is_old_when_the_lock_is_held_is_renewed_at_once(clock: Clock) -> None:
    store = WatchedStore(clock, failures=0)
    lease = lease_of(store, clock)
    old = 0.8 * LEASE_SECONDS
    clock.sleep(old)

    # It waits for an event in real time, up to that age.
    with renewed(lease, old, pytest.fail):
        assert store.renewed.wait(old / 2)


def test_nothing_is_renewed_once_the_block_is_left(store: Store, clock: Clock) -> None:
    with renewed(lease_of(store, clock), 0.001, pytest.fail):
        pass

    assert "lease" not in {thread.name for thread in threading.enumerate()}


# --- any interleaving


class DrawnChance(Chance):
    """What Hypothesis draws; it likes best that nothing happens."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def lag(self) -> float:
        return self._data.draw(LAGS)

    def skew(self) -> float:
        return self._data.draw(SKEWS)


def leases(*numbers: float) -> st.SearchStrategy[float]:
    """Return times as long as so many leases."""
    return st.sampled_from([number * LEASE_SECONDS for number in numbers])


LAGS = st.sampled_from([0, 0.5 * SETTLE_SECONDS, 0.99 * SETTLE_SECONDS])
SKEWS = st.sampled_from([0, 0, -4, 4])
# How many steps are made, and for how long the one that made the last of them is frozen then.
COURSES = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from([0.1, 1.0]) | leases(0.8, 1.1, 1.5, 2.5)),
    max_size=5,
)
ARRIVALS = st.tuples(
    st.builds(
        working,
        leases(3, 1, 0),
        wait_seconds=leases(6, 6, 6, 1.5, 0),
    ),
    st.integers(-12, 12),
)


class LockMachine(RuleBasedStateMachine):
    """Contenders come, are delayed and die, while the store fails and claims are deleted."""

    contenders: Bundle[Contender] = Bundle("contenders")

    @initialize(
        target=contenders, data=st.data(), arrivals=st.lists(ARRIVALS, min_size=2, max_size=4)
    )
    def begin(
        self, data: st.DataObject, arrivals: Sequence[tuple[Life, int]]
    ) -> MultipleResults[Contender]:
        self.simulation = Simulation(DrawnChance(data))
        return multiple(*[self.simulation.start(*arrival) for arrival in arrivals])

    @precondition(lambda self: len(self.simulation.living) < 4)
    @rule(target=contenders, course=COURSES, arrival=ARRIVALS)
    def start(self, course: Course, arrival: tuple[Life, int]) -> Contender:
        self.go_on(course)
        return self.simulation.start(*arrival)

    @rule(course=COURSES, contender=contenders)
    def kill(self, course: Course, contender: Contender) -> None:
        self.go_on(course)
        contender.kill()

    @rule(course=COURSES, contender=contenders)
    def rob(self, course: Course, contender: Contender) -> None:
        self.go_on(course)
        contender.rob()

    @rule(course=COURSES, contender=contenders, when=st.sampled_from(["before", "after"]))
    def fail(self, course: Course, contender: Contender, when: Literal["before", "after"]) -> None:
        self.go_on(course)
        contender.fails = when

    @rule(course=COURSES)
    def go_on(self, course: Course) -> None:
        for steps, seconds in course:
            for _ in range(steps):
                mover = self.simulation.step()
            if mover:
                mover.freeze(seconds)

    @invariant()
    def the_lock_is_safe(self) -> None:
        self.simulation.check()

    def teardown(self) -> None:
        """All come to an end, and the next one gets the lock and leaves no claim of anybody."""
        if not hasattr(self, "simulation"):
            return
        with self.simulation as simulation:
            simulation.store.chance = Chance()
            simulation.run(LONG_SECONDS)
            assert not simulation.living
            simulation.check()
            for contender in simulation.contenders:
                assert isinstance(contender.error, None | LockedError | StorageError)

            last = simulation.start(working(0))
            simulation.run(LONG_SECONDS)
            assert last.has_ended
            assert last.error is None
            assert simulation.store.claims() == []


@pytest.mark.slow
def test_the_lock_is_safe_and_always_free_in_the_end_however_contenders_interleave() -> None:
    run_state_machine_as_test(
        LockMachine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
        ),
    )
