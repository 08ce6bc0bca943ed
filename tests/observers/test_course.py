"""When a run moves, by a clock of the test."""

import pytest

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.observers.course import Course
from mpt_tool.reporting import (
    Answered,
    Locking,
    Migrating,
    Phase,
    Preparing,
    Running,
    Saving,
    Sending,
    Verifying,
)

PHASES: list[Phase] = [
    Locking(),
    Migrating("one", MigrationTypeEnum.DATA, 1, 1),
    Running("one", "", 1, 1, None),
    Preparing(),
    Verifying(),
    Saving(1),
]


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def sending(*, is_of_script: bool = True) -> Sending:
    return Sending("Airtable", "GET", "https://api.example.com", 1, 0.0, is_of_script)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: type(phase).__name__)
def test_it_moves_as_a_phase_begins_and_as_it_ends(phase: Phase) -> None:
    course = Course(clock := Clock())

    clock.seconds = 10
    with course.during(phase):
        assert course.standstill() == 0
        clock.seconds = 20
        assert course.standstill() == 10
    assert course.standstill() == 0


def test_it_moves_as_an_item_is_handled() -> None:
    course, tally = Course(clock := Clock()), Tally()

    with course.during(Running("one", "", 1, 1, tally)):
        clock.seconds = 10
        tally.failed += 1
        assert course.standstill() == 0
        clock.seconds = 15
        assert course.standstill() == 5


@pytest.mark.parametrize(
    ("status", "is_of_script", "moves", "waits_for"),
    [
        (200, True, True, ""),
        (404, True, True, ""),
        (429, True, False, "Airtable, which answered 429"),
        (503, True, False, "Airtable, which answered 503"),
        (200, False, False, ""),
    ],
)
def test_it_moves_as_a_request_of_a_script_is_answered(
    status: int, is_of_script: bool, moves: bool, waits_for: str
) -> None:
    course = Course(clock := Clock())

    clock.seconds = 10
    with course.during(sent := sending(is_of_script=is_of_script)):
        course.note(Answered(sent, status))

    assert (course.standstill() == 0) is moves
    assert course.waits_for == waits_for
