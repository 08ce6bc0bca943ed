"""The torture in its short form, and that it notices what it looks for."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.project import HISTORY_FILE, Project, Result, record

from mpt_tool.clients.rehearsal import rehearsal_now
from torture import in_process, journal, steps, system_calls
from torture.cases import CASES
from torture.journal import DISORDER, NEITHER, SKIPPED, UNENDED, UNFINISHED, UNREADABLE

pytestmark = pytest.mark.slow

FIRST, SECOND = "step_000", "step_001"
FIRST_RAN, SECOND_RAN = ([f"begin {id_}", f"end {id_}"] for id_ in (FIRST, SECOND))
TIME = "2026-01-13T18:05:20+00:00"


@pytest.mark.parametrize("name", CASES)
def test_the_tool_withstands(name: str, tmp_path: Path) -> None:
    if name == "system-calls" and not system_calls.is_possible():
        pytest.skip("there is no strace, or it may not trace")

    figures = list(CASES[name].short(tmp_path))

    assert figures
    assert [fault for figure in figures for fault in figure.faults] == []


@pytest.mark.parametrize(
    ("applied", "lines", "exit_code", "faults"),
    [
        ([FIRST, SECOND], [*FIRST_RAN, *SECOND_RAN], 0, []),
        ([FIRST, SECOND], [*FIRST_RAN, "begin step_001", *SECOND_RAN], 0, []),
        ([FIRST, SECOND], [*FIRST_RAN, *FIRST_RAN, *SECOND_RAN], 0, []),
        ([FIRST, SECOND], [*FIRST_RAN, *SECOND_RAN], 1, [UNFINISHED]),
        ([FIRST, SECOND], [*FIRST_RAN, "begin step_001"], 0, [UNENDED, NEITHER, SKIPPED]),
        ([FIRST, SECOND], [*SECOND_RAN, *FIRST_RAN], 0, [NEITHER, DISORDER]),
        ([FIRST], [*FIRST_RAN, *SECOND_RAN], 0, [NEITHER, SKIPPED]),
        ([SECOND], [*FIRST_RAN, *SECOND_RAN], 0, [NEITHER, SKIPPED]),
        ([], [], 0, [SKIPPED, SKIPPED]),
    ],
)
def test_state_and_journal_that_do_not_fit_are_noticed(
    applied: Sequence[str],
    lines: Sequence[str],
    exit_code: int,
    faults: Sequence[str],
    tmp_path: Path,
) -> None:
    subject = journal.create(tmp_path / "project", 2)
    subject.project.write_state(*(record(id_, started_at=TIME, applied_at=TIME) for id_ in applied))
    subject.project.file(journal.FILE, "".join(f"{line}\n" for line in lines))

    found = subject.end_faults(Result(exit_code, "", ""))

    assert [fault.kind for fault in found] == faults


@pytest.mark.parametrize(
    ("made", "processed", "faults"),
    [
        ("parameter 7", "1 2 3 4 5 6 7 8", []),
        ("parameter 7 7", "1 2 3 4 5 6 7 8", [steps.MADE_AGAIN]),
        ("parameter", "1 2 3 4 5 6 7 8", [steps.UNMADE]),
        ("parameter 7", "1 2 3 4 5 6 7", [steps.MISSED]),
    ],
)
def test_steps_made_again_and_items_missed_are_noticed(
    made: str, processed: str, faults: Sequence[str], tmp_path: Path
) -> None:
    subject = steps.create(tmp_path / "project", 8)
    others = {"made.txt": "parameter 7", "processed.txt": "1 2 3 4 5 6 7 8"}
    for name, line, own in (("made.txt", "", made), ("processed.txt", "1 ", processed)):
        lines = [f"{line}PRD-1 {each}" for each in own.split()]
        lines += [f"{line}PRD-{other} {each}" for other in "23" for each in others[name].split()]
        subject.project.file(name, "".join(f"{each}\n" for each in lines))
    subject.project.file(HISTORY_FILE, "")

    assert [fault.kind for fault in subject.faults()] == faults


def test_more_replays_than_a_checkpoint_are_counted() -> None:
    assert list(steps.replays([{"a", "b"}, {"b", "c"}, {"a", "b", "c"}])) == [0, 1, 3]


def test_a_torn_state_is_noticed(tmp_path: Path) -> None:
    subject = journal.create(tmp_path / "project", 2)
    subject.project.state_file.write_text("{", encoding="utf-8")

    assert [fault.kind for fault in subject.state_faults()] == [UNREADABLE]


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate", "--list"],
        ["pending"],
        ["history"],
        ["migrate", "--data", "unknown", "--dry-run"],
    ],
)
def test_a_command_ends_in_this_process_as_in_one_of_its_own(
    arguments: Sequence[str], project: Project
) -> None:
    project.script("first")

    alone = project.run(*arguments)
    ending = in_process.run(arguments, project.root, project.environment_of_run())

    assert ending == in_process.Ending(alone.exit_code, None, alone.stdout + alone.stderr)


def test_after_a_dry_run_in_this_process_all_may_be_written(project: Project) -> None:
    project.script("first")

    in_process.run(["migrate", "--data", "--dry-run"], project.root, project.environment_of_run())

    assert rehearsal_now() is None
