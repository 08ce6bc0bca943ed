"""Outcomes: what `process` returns is counted by name, wherever a run is shown."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.batches import ASYNC, MIGRATION, SYNC, numbers
from support.process import Process
from support.project import COMMAND, Project
from support.terminal import Gate, Terminal

pytestmark = pytest.mark.slow

# Of 1 to 10: three are right already, and seven are changed.
RETURN = """
process_silently = process

def process(self, number):
    self.process_silently(number)
    return 'right already' if number % 3 == 0 else 'changed'
"""
RETURN_LATER = RETURN.replace("def process(", "async def process(").replace(
    "self.process_silently", "await self.process_silently"
)
OUTCOMES = {"changed": 7, "right already": 3}
SHOWN = "7 changed, 3 right already"
KINDS = pytest.mark.parametrize(
    ("process", "methods"), [(SYNC, RETURN), (ASYNC, RETURN_LATER)], ids=["sync", "async"]
)


def outcomes_on_record(project: Project) -> list[Any]:
    """Return the outcomes of each attempt, the oldest first."""
    return [attempt.get("outcomes") for attempt in project.attempts()]


@KINDS
@pytest.mark.parametrize("workers", [1, 4])
def test_outcomes_are_counted_over_all_workers_and_shown_in_summary_listing_and_history(
    project: Project, process: str, methods: str, workers: int
) -> None:
    numbers(project, process=process, methods=methods, workers=workers)

    ran = project.run("migrate", "--data")
    listed = project.run("migrate", "--list")
    history = project.run("history", MIGRATION)

    assert ran.exit_code == 0, ran.stderr
    assert f"{MIGRATION}: {SHOWN}\n1 applied, " in ran.stdout
    assert SHOWN in listed.stdout
    assert f"outcomes: {SHOWN}\n" in history.stdout
    assert outcomes_on_record(project) == [OUTCOMES]


def test_a_failed_run_shows_the_outcomes_so_far_and_keeps_them_in_the_checkpoint(
    project: Project,
) -> None:
    migration = numbers(project, "assert number < 6", methods=RETURN)

    failed = project.run("migrate", "--data")

    assert f"{MIGRATION}: 4 changed, 1 right already\n" in failed.stdout
    assert migration.record["checkpoint"]["outcomes"] == {"changed": 4, "right already": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("workers", [1, 3])
def test_outcomes_go_on_being_counted_after_a_stop_and_after_a_kill(
    project: Project, tmp_path: Path, number: signal.Signals, workers: int
) -> None:
    with Gate(tmp_path / "gate") as gate:
        body = f"if number == 6:\n    self.log.info('is at 6.')\n    {gate.wait}"
        numbers(project, body, methods=RETURN, workers=workers, batch_size=2)
        with Process(project, "migrate", "--data") as run:
            run.wait_for("is at 6.")
            run.send(number)
            if number == signal.SIGTERM:
                run.wait_for("Stopping")
                gate.open()
            run.wait()
        gate.open()

        resumed = project.run("migrate", "--data")

    assert f"{MIGRATION}: {SHOWN}\n" in resumed.stdout
    assert outcomes_on_record(project)[-1] == OUTCOMES


def test_items_that_failed_are_counted_once_they_are_retried(project: Project) -> None:
    body = "assert number != 3 or Path('mended').exists()"
    attributes: dict[str, Any] = {"on_error": "'collect'", "find": "lambda self, cursor: cursor"}
    numbers(project, body, methods=RETURN, **attributes)

    project.run("migrate", "--data")
    project.file("mended", "")
    retried = project.run("batch", MIGRATION, "--retry-failed")

    assert retried.exit_code == 0, retried.stderr
    assert outcomes_on_record(project) == [{"changed": 7, "right already": 2}, OUTCOMES]


def test_the_line_of_progress_has_the_outcomes(project: Project, tmp_path: Path) -> None:
    with Gate(tmp_path / "gate") as gate:
        numbers(project, f"if number == 6: {gate.wait}", methods=RETURN)
        command = [COMMAND, "migrate", "--data"]
        with Terminal(command, project.root, project.environment_of_run(), columns=120) as terminal:
            terminal.wait_for("4 changed, 1 right already")
            gate.open()
            assert terminal.wait() == 0


def test_what_is_no_text_is_no_outcome(project: Project) -> None:
    numbers(project, methods="process_silently = process\ndef process(self, number): return number")

    result = project.run("migrate", "--data")

    assert (result.exit_code, outcomes_on_record(project)) == (0, [None])


def test_what_differs_with_each_item_is_counted_together_beyond_fifty(project: Project) -> None:
    numbers(project, total=200, methods="def process(self, number): return f'no. {number}'")

    project.run("migrate", "--data")

    [outcomes] = outcomes_on_record(project)
    assert (len(outcomes), outcomes["other"]) == (51, 150)


def test_an_outcome_is_shown_without_secrets_and_on_its_line(project: Project) -> None:
    project.environment["MPT_API_TOKEN"] = "token-of-the-platform"
    returned = "f\"{os.environ['MPT_API_TOKEN']}\\n\\x1b[2Jand more\""
    numbers(project, methods=f"def process(self, number): return {returned}")

    result = project.run("migrate", "--data")
    listed = project.run("migrate", "--list")

    assert result.exit_code == 0, result.stderr
    written = [result.stdout, result.stderr, listed.stdout, *project.tree().values()]
    assert not any("token-of" in str(text) for text in written)
    assert "\x1b" not in result.stdout + listed.stdout
