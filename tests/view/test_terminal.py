"""What people see on a terminal, and what goes elsewhere instead, from a real pty."""

import re
from collections.abc import Mapping

import pytest
from support.project import COMMAND, FIRST_ORDER_ID, Project, record
from support.terminal import Gate, Terminal

pytestmark = pytest.mark.slow

MOMENT, LATER = "2026-01-13T18:05:20+00:00", "2026-01-13T18:05:23+00:00"
LONG_ID = "rename_" + 117 * "x"
LONG_VERSION = "1.0+" + 200 * "v"
STATUSES = {
    "add_column": "applied",
    "sync_users": "faked",
    "fix_null_emails": "failed",
    "sync_agreements_from_api": "running",
    LONG_ID: "not applied",
    "deleted": "applied",
}
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - [A-Z]+ - .+")
WITHOUT_COLOUR = [
    pytest.param(["--no-color"], [], {}, id="--no-color before migrate"),
    pytest.param([], ["--no-color"], {}, id="--no-color after migrate"),
    pytest.param([], [], {"NO_COLOR": "1"}, id="NO_COLOR"),
    pytest.param([], [], {"TERM": "dumb"}, id="TERM=dumb"),
]
# One for each kind of output: help, an error of usage, a table, logs and a traceback.
ARGUMENTS = [["--help"], ["--data", "--list"], ["--list"], ["--data"]]


@pytest.fixture
def statuses(project: Project) -> Project:
    """A project with a migration in each status, one of a very long id, and one without a file."""
    for migration_id in list(STATUSES)[:-1]:
        project.script(migration_id, body="self.log.warning('about to fail')\nraise ValueError(1)")
    timestamps = {
        "applied": {"started_at": MOMENT, "applied_at": LATER},
        "faked": {"applied_at": LATER},
        "running": {"started_at": MOMENT},
    }
    project.write_state(
        *(
            record(
                migration_id,
                order_id=FIRST_ORDER_ID + number,
                **timestamps.get(status, {}),
                version="1.2.0",
            )
            for number, (migration_id, status) in enumerate(STATUSES.items())
            if status != "not applied"
        )
    )
    return project


def on_terminal(
    project: Project,
    *arguments: str,
    columns: int = 80,
    redirect: str = "",
    env: Mapping[str, str] | None = None,
) -> Terminal:
    """Start the command on a terminal, in the project's root."""
    environment = project.environment_of_run(env)
    return Terminal(
        [COMMAND, *arguments], project.root, environment, columns=columns, redirect=redirect
    )


def statuses_in(lines: list[str]) -> list[str]:
    """Return the cells of the column of statuses of the table on the screen."""
    header = next(number for number, line in enumerate(lines) if "status" in line.split())
    start = lines[header].index("status")
    cells = (line[start:].split("  ")[0] for line in lines[header:])
    return [cell for cell in cells if cell in STATUSES.values()]


# --- the table


@pytest.mark.parametrize("options", [[], ["--no-color"]], ids=["colour", "no colour"])
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_table_fits_the_terminal_and_keeps_every_id_and_status(
    statuses: Project, columns: int, options: list[str]
) -> None:
    with on_terminal(statuses, "migrate", "--list", *options, columns=columns) as terminal:
        assert terminal.wait() == 0

    table = terminal.written_lines[: terminal.written_lines.index("")]
    assert max(map(len, table)) <= columns
    shown = [line.removeprefix("  ") for line in terminal.lines]
    for migration_id in STATUSES:
        # One that is longer than a line goes on in the next.
        assert migration_id in "".join(shown)
        if len(migration_id) <= columns - 2:
            assert any(migration_id in line.split() for line in shown)
    assert statuses_in(terminal.lines) == list(STATUSES.values())


def test_the_table_says_what_a_narrow_terminal_has_no_room_for(statuses: Project) -> None:
    with on_terminal(statuses, "migrate", "--list", columns=60) as terminal:
        terminal.wait()

    assert re.search(r"No room for: .*started, .*--json\s+show\s+all", terminal.text, re.DOTALL)


def test_the_history_keeps_when_it_began_and_leaves_out_what_is_empty_first(
    statuses: Project,
) -> None:
    ended = [each for each in statuses.state().values() if not each["started_at"]]
    statuses.write_state(*ended)
    statuses.run("migrate", "--data", "fix_null_emails")
    statuses.run("migrate", "--fake", "fix_null_emails")
    with on_terminal(statuses, "history") as terminal:
        assert terminal.wait() == 0

    header = next(line for line in terminal.lines if "outcome" in line).split()
    assert header[:4] == ["started", "id", "type", "outcome"]
    assert "version" not in terminal.text
    began = statuses.attempts()[0]["started_at"].split("T")[0]
    assert terminal.text.count(began) == 2


def test_each_status_has_a_colour_of_its_own_on_a_terminal(statuses: Project) -> None:
    with on_terminal(statuses, "migrate", "--list", columns=250) as terminal:
        terminal.wait()

    colours = {
        status: terminal.colour_of(status, beside=f" {migration_id} ")
        for migration_id, status in STATUSES.items()
    }
    assert len(set(colours.values()) - {"default"}) == len(set(STATUSES.values()))


@pytest.mark.parametrize("env", [{}, {"FORCE_COLOR": "1"}, {"COLUMNS": "40"}], ids=str)
def test_a_table_that_does_not_go_to_a_terminal_is_never_cut(
    statuses: Project, env: dict[str, str]
) -> None:
    statuses.script("not-an-identifier-" + 150 * "n")
    statuses.write_state(record("deleted", version=LONG_VERSION), record(LONG_ID))

    table = statuses.run("migrate", "--list", env=env).stdout

    lines = re.sub(r"\x1b\[[\d;]*m", "", table).splitlines()
    assert re.search(rf"{LONG_ID}\s+data\s+failed", "\n".join(lines))
    assert re.search(rf"deleted\s.+\s{re.escape(LONG_VERSION)}\s+file gone", "\n".join(lines))
    assert len([line for line in lines if line.startswith("2026")]) == len(STATUSES) + 1


# --- colour


@pytest.mark.parametrize(("before", "after", "env"), WITHOUT_COLOUR)
@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_without_colour_no_escape_is_written_even_on_a_terminal(
    statuses: Project,
    before: list[str],
    after: list[str],
    env: dict[str, str],
    arguments: list[str],
) -> None:
    with on_terminal(statuses, *before, "migrate", *arguments, *after, env=env) as terminal:
        terminal.wait()

    assert terminal.text
    assert not terminal.has_escapes


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_a_terminal_has_colour(statuses: Project, arguments: list[str]) -> None:
    with on_terminal(statuses, "migrate", *arguments) as terminal:
        terminal.wait()

    assert terminal.has_escapes


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=" ".join)
def test_a_pipe_has_no_colour_whatever_other_tools_take_for_a_wish(
    statuses: Project, arguments: list[str]
) -> None:
    wishes = ("CI", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "PY_COLORS", "TTY_COMPATIBLE")
    env = {**dict.fromkeys(wishes, "1"), "COLORTERM": "truecolor", "FORCE_COLOR": ""}

    outcome = statuses.run("migrate", *arguments, env=env)

    assert outcome.stdout + outcome.stderr
    assert "\x1b" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("arguments", ARGUMENTS[:3], ids=" ".join)
def test_force_color_colours_a_pipe(statuses: Project, arguments: list[str]) -> None:
    outcome = statuses.run("migrate", *arguments, env={"FORCE_COLOR": "1"})

    assert "\x1b[" in outcome.stdout + outcome.stderr


def test_the_page_of_all_commands_has_colour_only_where_it_is_wanted(project: Project) -> None:
    plain, forced, banned = (
        project.run("--help", env=env).stdout
        for env in ({}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"})
    )

    assert plain == banned == re.sub(r"\x1b\[\d*m", "", forced) != forced


@pytest.mark.parametrize(("before", "after", "env"), WITHOUT_COLOUR)
def test_force_color_is_no_match_for_a_ban(
    statuses: Project, before: list[str], after: list[str], env: dict[str, str]
) -> None:
    command = [*before, "migrate", "--list", *after]

    assert "\x1b" not in statuses.run(*command, env={**env, "FORCE_COLOR": "1"}).stdout


def test_a_log_in_a_pipe_is_one_plain_line_an_event(project: Project) -> None:
    project.script("first", body="self.log.info('half done ' + 50 * '.')")

    outcome = project.run("migrate", "--data", env={"FORCE_COLOR": "1"})

    lines = outcome.stderr.splitlines()
    assert len(lines) == 3
    assert all(LOG_LINE.fullmatch(line) for line in lines)


# --- progress


def test_progress_shows_which_of_how_many_runs_and_for_how_long(
    project: Project, gate: Gate
) -> None:
    project.script("first", body=gate.wait)
    project.script("second", body=gate.wait)

    with on_terminal(project, "migrate", "--data") as terminal:
        terminal.wait_for(r"\[1/2\] first 0:00:01")
        gate.open()
        terminal.wait_for(r"\[2/2\] second 0:00:0\d")
        assert "[1/2]" not in terminal.text
        gate.open()

        assert terminal.wait() == 0


def test_the_status_line_stays_below_what_a_script_logs_and_prints_and_is_gone_at_the_end(
    project: Project, gate: Gate
) -> None:
    project.script(
        "first",
        above="import sys",
        body=f"""
        print("printed [/bold] :smile:")
        self.log.info("logged")
        print("to stderr", file=sys.stderr)
        {gate.wait}
        """,
    )

    with on_terminal(project, "migrate", "--data") as terminal:
        terminal.wait_for(r"to stderr\n. \[1/1\] first 0:00:0\d$")
        gate.open()
        assert terminal.wait() == 0

    assert without_times(terminal.lines) == [
        "Running data migrations...",
        "INFO     Running migration: first",
        "printed [/bold] :smile:",
        "INFO     logged",
        "to stderr",
        "INFO     Applied migration: first",
        "1 applied, 0 skipped, 0 failed",
        "Migrations completed successfully.",
    ]
    assert terminal.shows_cursor


def test_a_line_that_a_script_writes_in_pieces_stays_one_line(project: Project, gate: Gate) -> None:
    project.script(
        "first",
        body=f"""
        for piece in ("a", "[/b]", "c"):
            print(piece, end=" ", flush=True)
            {gate.wait}
        print("d")
        print("no end of line", end="")
        """,
    )

    with on_terminal(project, "migrate", "--data") as terminal:
        for written in ("a", r"a \[/b\]", r"a \[/b\] c"):
            terminal.wait_for(rf"{written}\n?")
            gate.open()
        assert terminal.wait() == 0

    assert without_times(terminal.lines)[2:5] == [
        "a [/b] c d",
        "no end of line",
        "INFO     Applied migration: first",
    ]


def test_a_progress_bar_of_a_script_is_seen_and_leaves_nothing_behind(
    project: Project, gate: Gate
) -> None:
    project.script(
        LONG_ID,
        above="import typer",
        body=f"""
        with typer.progressbar(range(2)) as numbers:
            for number in numbers:
                {gate.wait}
        """,
    )

    with on_terminal(project, "migrate", "--data", columns=250) as terminal:
        for percent in (0, 50):
            terminal.wait_for(rf"\] +{percent}%( |$)")
            gate.open()
        assert terminal.wait() == 0

    lines = without_times(terminal.lines)
    assert [line for line in lines if "%" in line] == [f"  [{36 * '#'}]  100%"]
    assert not [line for line in lines if "[1/1]" in line]


def test_a_failure_is_shown_whole_below_the_last_log(project: Project) -> None:
    project.script(LONG_ID, body="raise ValueError('no such table')")

    with on_terminal(project, "migrate", "--data", columns=60) as terminal:
        assert terminal.wait() == 1

    tail = terminal.lines[terminal.lines.index("Traceback (most recent call last):") :]
    assert "ValueError: no such table" in tail
    told, _, advice = "".join(tail).partition("Aborted.")
    assert told.endswith(f"Migration {LONG_ID} failed: no such table")
    assert advice.startswith("Next: mpt-tool migrate --data")
    assert "[1/1]" not in terminal.text
    assert terminal.shows_cursor


def test_progress_goes_to_the_terminal_while_stdout_goes_elsewhere(
    project: Project, gate: Gate
) -> None:
    project.script("first", body=f"print('printed')\nself.log.info('logged')\n{gate.wait}")

    with on_terminal(project, "migrate", "--data", redirect=">stdout.txt") as terminal:
        terminal.wait_for(r"logged\n. \[1/1\] first 0:00:0\d")
        gate.open()
        assert terminal.wait() == 0

    lines = (project.root / "stdout.txt").read_text(encoding="utf-8").splitlines()
    assert without_times(lines) == [
        "Running data migrations...",
        "printed",
        "1 applied, 0 skipped, 0 failed",
        "Migrations completed successfully.",
    ]
    assert "printed" not in terminal.text
    assert "[1/1]" not in terminal.text


def test_logs_that_go_elsewhere_are_plain_while_stdout_is_a_terminal(project: Project) -> None:
    project.script("first", body="print('printed')\nself.log.info('logged')")

    with on_terminal(project, "migrate", "--data", redirect="2>stderr.txt") as terminal:
        assert terminal.wait() == 0

    lines = (project.root / "stderr.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert all(LOG_LINE.fullmatch(line) for line in lines)
    assert terminal.lines[:2] == ["Running data migrations...", "printed"]
    assert not terminal.has_escapes


@pytest.mark.parametrize("redirect", ["", ">stdout.txt"], ids=["terminal", "file"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_script_that_closes_a_stream_takes_it_from_nobody_else(
    project: Project, stream: str, redirect: str
) -> None:
    project.script("first", above="import sys", body=f"sys.{stream}.close()")
    project.script("second", body="print('second prints')")

    with on_terminal(project, "migrate", "--data", redirect=redirect) as terminal:
        assert terminal.wait() == 0

    assert all(each["applied_at"] for each in project.state().values())
    assert "INFO     Applied migration: second" in without_times(terminal.lines)
    if not redirect:
        assert "second prints" in terminal.lines
        assert terminal.lines[-1] == "Migrations completed successfully."


def test_ctrl_c_ends_a_run_which_is_told_as_a_stop(project: Project, gate: Gate) -> None:
    project.script("first", body=gate.wait)
    project.script("second")

    with on_terminal(project, "migrate", "--data") as terminal:
        terminal.wait_for(r"\[1/2\] first 0:00:0\d")
        terminal.press("\x03")
        assert terminal.wait() == 130

    assert project.state() == {"first": record("first")}
    *_, advice = "".join(terminal.lines).partition("Migration first was stopped by SIGINT: ")
    assert "Next: mpt-tool migrate --data" in advice
    assert "[1/2]" not in terminal.text
    assert terminal.shows_cursor


def test_a_run_whose_terminal_is_closed_is_recorded_as_stopped(
    project: Project, gate: Gate
) -> None:
    project.script("first", body=f"print('printed')\n{gate.wait}")

    with on_terminal(project, "migrate", "--data") as terminal:
        terminal.wait_for(r"\[1/1\] first 0:00:0\d")
        assert terminal.hang_up() == 129

    assert project.state() == {"first": record("first")}
    assert project.outcomes() == [("first", "stopped")]


def without_times(lines: list[str]) -> list[str]:
    """Return the lines without what a clock put into them."""
    text = "\n".join(lines)
    text = re.sub(r"(?m)^(\d\d:\d\d:\d\d| {8}) (?=[A-Z]+ )", "", text)
    return re.sub(r"(?m) in \d+\.\d s\.?$", "", text).split("\n")
