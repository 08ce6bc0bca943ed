"""How far a batch migration is, as a terminal and a log show it."""

import logging
import re
import threading

import pytest
from support.batches import ASYNC, MIGRATION, SYNC, TOTAL, numbers
from support.project import COMMAND, Project
from support.terminal import Gate, Terminal

from mpt_tool.batch.checkpoints import Tally
from mpt_tool.view.progress import Course, _keep_logging

STATUS_LINE = re.compile(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏] [^\x1b\r\n]*")
HAS_TOTAL = f"count = lambda _: {TOTAL}"


# --- the course


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def described(tally: Tally, *steps: tuple[float, int]) -> str:
    """Return how a tally is described after so many seconds and processed items each."""
    clock = Clock()
    course = Course(tally, clock)
    text = course.describe()
    for seconds, items in steps:
        clock.now += seconds
        tally.processed += items
        text = course.describe()
    return text


@pytest.mark.parametrize(
    ("tally", "steps", "text"),
    [
        (Tally(total=5000), [], "0 of 5,000"),
        (Tally(), [], "0"),
        (Tally(total=5000), [(10, 1200)], "1,200 of 5,000, 120.0/s, 31.7 s left"),
        (Tally(), [(10, 1200)], "1,200, 120.0/s"),
        (Tally(failed=3, total=5000), [(1, 97)], "100 of 5,000, 97.0/s, 50.5 s left, 3 failed"),
        (Tally(total=10), [(1, 10)], "10 of 10, 10.0/s"),
        (Tally(total=10), [(1, 12)], "12, 12.0/s"),
    ],
)
def test_done_total_rate_time_left_and_failures_are_told_as_far_as_they_are_known(
    tally: Tally, steps: list[tuple[float, int]], text: str
) -> None:
    assert described(tally, *steps) == text


def test_items_of_earlier_runs_are_done_but_add_nothing_to_the_rate() -> None:
    assert described(Tally(processed=4000, total=5000), (10, 10)) == (
        "4,010 of 5,000, 1.0/s, 16 min 30 s left"
    )


def test_the_rate_is_that_of_the_last_minute() -> None:
    quick_then_slow = [(10, 6000), *6 * [(10, 10)]]

    assert described(Tally(), *quick_then_slow) == "6,060, 1.0/s"


def test_after_30_seconds_without_progress_that_is_said_instead_of_an_estimate() -> None:
    tally = Tally(total=100)

    assert described(tally, (10, 50), (29, 0)) == "50 of 100, 1.3/s, 39.0 s left"
    assert described(Tally(total=100), (10, 50), (30, 0)) == "50 of 100, no progress for 30.0 s"
    assert described(Tally(), (10, 50), *9 * [(10, 0)]) == "50, no progress for 1 min 30 s"


def test_a_failed_item_is_progress_too() -> None:
    clock = Clock()
    tally = Tally()
    course = Course(tally, clock)
    clock.now += 40
    tally.failed += 1

    assert course.describe() == "1, 0.0/s, 1 failed"


def test_after_a_standstill_the_rate_is_told_again() -> None:
    text = described(Tally(), (10, 50), (100, 0), (10, 20))

    assert text == "70, 2.0/s"


@pytest.mark.parametrize(
    ("tally", "filled"),
    [
        (Tally(total=8), 0),
        (Tally(processed=3, failed=1, total=8), 0.5),
        (Tally(processed=8, total=8), 1),
        (Tally(processed=9, total=8), 1),
    ],
)
def test_the_bar_is_filled_by_what_is_done(tally: Tally, filled: float) -> None:
    bar = Course(tally, Clock()).bar()

    assert re.fullmatch("━*╌*", bar)
    assert bar.count("━") == filled * len(bar) > -1


@pytest.mark.parametrize("total", [None, 0])
def test_without_a_total_there_is_no_bar(total: int | None) -> None:
    assert not Course(Tally(total=total), Clock()).bar()


# --- in logs


class EndsAfter(threading.Event):
    """An event that is set after it was waited for so many times, and waits for no time."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return len(self.waited) > self._times


def test_a_log_has_a_line_every_30_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mpt_tool.view.progress")
    ended = EndsAfter(2)

    _keep_logging(MIGRATION, Tally(processed=1200, total=5000), ended)

    assert caplog.messages == 2 * [f"{MIGRATION}: 1,200 of 5,000"]
    assert ended.waited == [30, 30, 30]


def test_a_run_of_less_than_30_seconds_logs_no_progress(project: Project) -> None:
    numbers(project, methods=HAS_TOTAL)

    result = project.run("migrate", "--data")

    messages = [line.split(" - ")[2] for line in result.stderr.splitlines()]
    assert [re.sub(r"\d+\.\d", "N", message) for message in messages] == [
        f"Running migration: {MIGRATION}",
        f"Applied migration: {MIGRATION} in N s",
    ]


# --- on a terminal


def on_terminal(project: Project, columns: int = 100) -> Terminal:
    """Start a run on a terminal."""
    command = [COMMAND, "migrate", "--data"]
    return Terminal(command, project.root, project.environment_of_run(), columns=columns)


def held_at_5(gate: Gate) -> str:
    """Return the statements that fail at 3, and wait at 5."""
    return f"assert number != 3, 'bad'\nif number == 5:\n    {gate.wait}"


def test_a_terminal_shows_a_bar_while_the_migration_runs(project: Project, gate: Gate) -> None:
    numbers(project, held_at_5(gate), methods=HAS_TOTAL, on_error="'collect'")

    with on_terminal(project) as terminal:
        shown = terminal.wait_for(r"(?m)^. \[1/1\] .*4 of 10.*$")
        gate.open()
        assert terminal.wait() == 1

    pattern = rf". \[1/1\] {MIGRATION} (━+)(╌+) 4 of 10, [\d,.]+/s, \S.* left, 1 failed 0:00:0\d"
    bar = re.fullmatch(pattern, shown)
    assert bar, shown
    assert len(bar[1]) / len(bar[1] + bar[2]) == pytest.approx(0.4)
    assert not re.search("[━╌]", terminal.text)


def test_without_a_total_a_terminal_shows_what_is_done(project: Project, gate: Gate) -> None:
    numbers(project, held_at_5(gate), on_error="'collect'")

    with on_terminal(project) as terminal:
        terminal.wait_for(rf"\[1/1\] {MIGRATION} 4, [\d,.]+/s, 1 failed 0:00:0\d")
        gate.open()
        terminal.wait()


@pytest.mark.parametrize("columns", [20, 40, 63, 66, 69, 80])
def test_the_bar_never_takes_more_than_a_line(project: Project, gate: Gate, columns: int) -> None:
    methods = "def count(self): return 1_000_000"
    numbers(project, held_at_5(gate), methods=methods, on_error="'collect'")

    with on_terminal(project, columns) as terminal:
        terminal.wait_for(r"\n. .*\b4 o")
        gate.open()
        terminal.wait()

    drawn = STATUS_LINE.findall(terminal.written.decode())
    assert any("4 of" in line for line in drawn)
    # Of what runs, nothing is left that could be taken for a number.
    assert all("[1/1] n" in line for line in drawn if "[" in line)
    assert max(map(len, drawn)) < columns


@pytest.mark.parametrize(("process", "workers"), [(SYNC, 1), (SYNC, 8), (ASYNC, 8)])
def test_what_workers_print_stands_above_the_bar_in_whole_lines(
    project: Project, process: str, workers: int
) -> None:
    body = "print('printed', number, end=' by a worker.\\n')\nself.log.info('logged %s', number)"
    methods = "def count(self): return 100"
    numbers(project, body, total=100, methods=methods, process=process, workers=workers)

    with on_terminal(project) as terminal:
        assert terminal.wait() == 0

    printed = [line for line in terminal.lines if "printed" in line]
    logged = [line for line in terminal.lines if "logged" in line]
    assert sorted(printed) == sorted(f"printed {n} by a worker." for n in range(1, 101))
    assert len(logged) == 100
    assert all(
        re.fullmatch(r"(\d\d:\d\d:\d\d)? +INFO +(\d+: )?logged \d+", line) for line in logged
    )
    assert not re.search("[━╌]", terminal.text)


def test_a_line_that_a_worker_did_not_end_is_shown_at_the_end(project: Project) -> None:
    numbers(project, "print(number, end='')", total=1, workers=2)

    with on_terminal(project) as terminal:
        terminal.wait()

    assert "1" in terminal.lines
