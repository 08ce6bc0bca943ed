"""What pipelines are shown beside a log, and logs that programs read."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import numbers
from support.project import Project, Result

from mpt_tool.view.pipelines import Mark, Pipeline, ServiceEnum
from mpt_tool.wording import printable, printable_lines

GITHUB, GITLAB, AZURE = {"GITHUB_ACTIONS": "true"}, {"GITLAB_CI": "true"}, {"TF_BUILD": "True"}
PIPELINES = [GITHUB, GITLAB, AZURE]
FAILING = """
    self.log.info("half done")
    try:
        {}["price"]
    except KeyError as error:
        raise ValueError("no price:\\n::error::forged") from error
    """


@pytest.fixture
def failing(project: Project) -> Project:
    project.script("first", body=FAILING)
    return project


@pytest.mark.parametrize(
    ("env", "begin", "end"),
    [
        (GITHUB, "::group::first", "::endgroup::"),
        (AZURE, "##[group]first", "##[endgroup]"),
        (
            GITLAB,
            "\x1b\\[0Ksection_start:\\d+:(\\w+)\r\x1b\\[0Kfirst",
            "\x1b\\[0Ksection_end:\\d+:\\1\r\x1b\\[0K",
        ),
    ],
    ids=str,
)
def test_what_a_migration_logs_folds(
    failing: Project, env: dict[str, str], begin: str, end: str
) -> None:
    logged = failing.run("migrate", "--data", env=env).stderr

    if env is not GITLAB:
        begin, end = re.escape(begin), re.escape(end)
    assert re.search(f"^{begin}\n.* half done\n{end}\n", logged, re.MULTILINE)


@pytest.mark.parametrize(
    ("env", "checkout", "mark"),
    [
        (
            GITHUB,
            "GITHUB_WORKSPACE",
            "::error file={path},line=8,title=mpt-tool::{message}",
        ),
        (
            AZURE,
            "BUILD_SOURCESDIRECTORY",
            "##vso[task.logissue type=error;sourcepath={path};linenumber=8;]{message}",
        ),
    ],
)
def test_a_failure_is_shown_at_the_line_of_its_root_cause(
    failing: Project, env: dict[str, str], checkout: str, mark: str
) -> None:
    env = {**env, checkout: str(failing.root.parent)}

    logged = failing.run("migrate", "--data", env=env).stderr

    path = f"{failing.root.name}/migrations/20260101000000_first.py"
    message = "Migration first failed: no price:%0A::error::forged"
    assert mark.format(path=path, message=message) in logged.splitlines()
    assert logged.endswith("Aborted.\n")


def test_a_failure_of_each_target_is_shown_once_a_line(project: Project) -> None:
    project.file(
        "migrations/1_first.py",
        """
        from mpt_tool.migration import DataBaseMigration

        class Migration(DataBaseMigration):
            targets = ("PRD-1", "PRD-2", "PRD-3")

            def run(self):
                if self.target == "PRD-2":
                    raise ValueError("gone")
                raise ValueError("closed")
        """,
    )

    logged = project.run("migrate", "--data", env=GITHUB).stderr

    assert re.findall("^::error .*line=(.*),title", logged, re.MULTILINE) == ["10", "9"]


def test_github_obeys_nothing_that_a_traceback_tells(failing: Project) -> None:
    logged = failing.run("migrate", "--data", env=GITHUB).stderr

    told = re.search(
        r"^::stop-commands::(\w{16,})\n(.*)\n::\1::$", logged, re.MULTILINE | re.DOTALL
    )
    assert told
    assert told[2].startswith("Traceback (most recent call last):")
    assert "::error::forged" in told[2]


def test_what_only_has_to_go_on_is_a_warning(project: Project) -> None:
    numbers(project, total=3)

    logged = project.run("batch", "numbers", "--limit", "1", env=GITHUB)

    assert logged.exit_code == 75
    assert "::error" not in logged.stderr


def test_check_shows_each_mistake_at_its_line(project: Project) -> None:
    project.file("migrations/1_broken.py", "import sys\n\nclass Migration(:\n")
    project.file("migrations/2_empty.py", "")

    result = project.run("migrate", "--check", env=GITHUB)

    marks = re.findall("^::error (.*)::(.*)$", result.stderr, re.MULTILINE)
    assert [place for place, _ in marks] == [
        "file=migrations/1_broken.py,line=3,title=mpt-tool",
        "file=migrations/2_empty.py,line=1,title=mpt-tool",
        "title=mpt-tool",
    ]
    assert marks[1][1] == "no Migration class"


def test_check_writes_a_code_quality_report(project: Project) -> None:
    project.file("migrations/1_broken.py", "import sys\n\nclass Migration(:\n")
    project.file("migrations/2_empty.py", "")
    env = {**GITLAB, "CI_PROJECT_DIR": str(project.root.parent)}

    result = project.run("migrate", "--check", "--code-quality", env=env)

    report = result.json()
    folder = f"{project.root.name}/migrations"
    assert result.exit_code == 1
    assert [each["location"] for each in report] == [
        {"path": f"{folder}/1_broken.py", "lines": {"begin": 3}},
        {"path": f"{folder}/2_empty.py", "lines": {"begin": 1}},
    ]
    assert len({each["fingerprint"] for each in report}) == 2
    assert {each["severity"] for each in report} == {"major"}
    assert report[1]["description"] == "no Migration class"
    (project.migrations / "1_broken.py").unlink()
    (project.migrations / "2_empty.py").unlink()
    project.script("sound")
    assert project.run("migrate", "--check", "--code-quality").json() == []


@pytest.mark.parametrize(
    ("env", "options"),
    [
        *(({**env}, ["--no-annotations"]) for env in PIPELINES),
        *(({**env}, ["--log-format", "json"]) for env in PIPELINES),
        ({"GITHUB_ACTIONS": "false", "GITLAB_CI": "", "TF_BUILD": "no"}, []),
    ],
    ids=str,
)
def test_nothing_is_marked_where_it_is_not_wanted(
    failing: Project, env: dict[str, str], options: list[str]
) -> None:
    logged = failing.run("migrate", "--data", *options, env=env).stderr

    assert not re.search(r"^(::|##|\x1b)", logged, re.MULTILINE)


@pytest.mark.parametrize("env", [GITHUB, AZURE], ids=str)
def test_a_mark_neither_colours_a_log_nor_turns_it_about(
    project: Project, env: dict[str, str]
) -> None:
    numbers(project, "raise ValueError", targets="'TARGETS'")

    logged = project.run("migrate", "--data", env={**env, "TARGETS": "\x1b[31m\u202eA,B"}).stderr

    assert re.search(r"^(::error|##vso).*\\x1b\[31m\\u202eA", logged, re.MULTILINE)
    assert all(printable(line) == line for line in logged.splitlines())


@given(message=st.text(), name=st.from_regex("[^\0/\ud800-\udfff]+", fullmatch=True))
def test_what_github_reads_of_a_mark_is_what_was_written(message: str, name: str) -> None:
    root, stream = Path("/checkout"), io.StringIO()
    path = root / "migrations" / name

    Pipeline(ServiceEnum.GITHUB, root).write([Mark(message, path, 7)], stream)

    [line] = stream.getvalue().removesuffix("\n").split("\n")
    _, command, told = line.split("::", 2)
    properties = dict(each.split("=", 1) for each in command.removeprefix("error ").split(","))
    assert _read(told) == printable_lines(message)
    assert _read(properties["file"]) == printable_lines(path.relative_to(root).as_posix())
    assert properties["line"] == "7"


def _read(value: str) -> str:
    """Return a value as the service reads it."""
    for number, character in (("0A", "\n"), ("3A", ":"), ("2C", ","), ("25", "%")):
        value = value.replace(f"%{number}", character)
    return value


# --- logs that programs read


def events(result: Result) -> list[dict[str, Any]]:
    """Return what was logged; each line has to be an object."""
    return [json.loads(line) for line in result.stderr.splitlines()]


def test_each_line_of_a_log_is_an_object(failing: Project) -> None:
    [begun, half, end] = events(failing.run("migrate", "--data", "--log-format", "json"))

    assert (begun["level"], begun["message"]) == ("INFO", "Running migration: first")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", begun["time"])
    assert begun["logger"].startswith("mpt_tool.")
    assert half["message"] == "half done"
    assert end["level"] == "ERROR"
    assert end["message"].startswith("Error running data command: Migration first failed: no price")
    assert "KeyError: 'price'" in end["traceback"]


def test_an_event_names_its_item_and_tells_its_traceback(project: Project) -> None:
    body = """
        self.log.info("seen")
        if number == 2: raise ValueError("it is even")
        """
    numbers(project, body, on_error="'collect'", total=2)

    logged = events(project.run("migrate", "--data", env={"LOG_FORMAT": "json"}))

    assert [(each["item"], each["message"]) for each in logged if "item" in each] == [
        ("1", "1: seen"),
        ("2", "2: seen"),
    ]
    [failed] = [each for each in logged if each["message"].startswith("2 failed: it is even")]
    assert "ValueError: it is even" in failed["message"] + failed.get("traceback", "")


def test_what_libraries_log_and_warn_of_is_an_object_too(project: Project) -> None:
    body = """
        import logging, threading, warnings
        logging.getLogger("shop").warning("low on %s", "stock")
        warnings.warn("old")
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start(); thread.join()
        """
    project.script("first", body=body)

    logged = events(project.run("migrate", "--data", "--log-format", "json"))

    assert {"low on stock", "Applied migration"} <= {
        each["message"].partition(":")[0] for each in logged
    }
    assert any("UserWarning: old" in each["message"] for each in logged)
    assert any("ZeroDivisionError" in each.get("traceback", "") for each in logged)


@pytest.mark.slow
def test_the_notice_of_a_stop_is_an_object_too(project: Project) -> None:
    project.script("first", body="import os, signal; os.kill(os.getpid(), signal.SIGTERM)")

    logged = events(project.run("migrate", "--data", "--log-format", "json"))

    assert any(each["message"].startswith("Stopping at SIGTERM") for each in logged)


@pytest.mark.parametrize(
    ("env", "options", "is_json"),
    [
        ({"LOG_FORMAT": "json"}, [], True),
        ({"MPT_TOOL_LOG_FORMAT": "json", "LOG_FORMAT": "text"}, [], True),
        ({"LOG_FORMAT": "json"}, ["--log-format", "text"], False),
        # Of the extension's own logs.
        ({"LOG_FORMAT": "%(message)s"}, [], False),
    ],
    ids=str,
)
def test_the_form_of_a_log_is_a_setting_that_an_option_outdoes(
    project: Project, env: dict[str, str], options: list[str], is_json: bool
) -> None:
    project.script("first")

    result = project.run("migrate", "--data", *options, env=env)

    assert result.exit_code == 0
    assert result.stderr.startswith("{") is is_json
