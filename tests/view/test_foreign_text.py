"""What others wrote can neither move the cursor, nor colour, nor pass for a line of ours."""

import json
import re
import unicodedata
from pathlib import Path

import pytest
from support.airtable_server import BASE, TABLE, AirtableServer
from support.project import COMMAND, HISTORY_FILE, STATE_FILE, Project, Result
from support.terminal import Terminal

from torture.injections import EVIL, FORGED

MOMENT = "2026-01-13T18:05:20+00:00"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def harmless(*texts: str) -> bool:
    """Whether nothing in the texts moves a cursor, turns text about or stands in place of ours."""
    for text in texts:
        moving = {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"}} - {"\n"}
        assert not moving
        assert FORGED not in text.splitlines()
    return True


def attempt() -> dict[str, object]:
    """An attempt all of whose texts are evil."""
    return {
        "migration_id": EVIL,
        "order_id": 1,
        "type": "data",
        "outcome": "failed",
        "run_id": EVIL,
        "started_at": MOMENT,
        "ended_at": MOMENT,
        "checksum": EVIL,
        "user": EVIL,
        "host": EVIL,
        "process": 1,
        "version": EVIL,
        "tool_version": EVIL,
        "error": {"kind": EVIL, "message": EVIL, "frames": [EVIL]},
    }


@pytest.fixture
def evil(project: Project) -> Project:
    """A project whose state and history others wrote."""
    project.script("first")
    row = {"migration_id": EVIL, "order_id": 1, "started_at": MOMENT, "applied_at": None}
    state = {EVIL: {**row, "type": "data", "version": EVIL}}
    project.file(STATE_FILE, json.dumps(state))
    project.file(HISTORY_FILE, json.dumps(attempt()) + "\n")
    return project


READING = [
    ["migrate", "--list"],
    ["pending"],
    ["history"],
    ["migrate", "--check", "--strict"],
    ["migrate", "--list", "--json"],
    ["history", "--json"],
    ["migrate", "--data", "--dry-run"],
    ["migrate", "--data", "--verbose"],
]


@pytest.mark.parametrize("arguments", READING, ids=lambda arguments: " ".join(arguments)[:16])
def test_state_and_history_of_others_are_shown_without_effect(
    evil: Project, arguments: list[str]
) -> None:
    result = evil.run(*arguments)

    assert result.stdout
    assert harmless(result.stdout, result.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", READING, ids=lambda arguments: " ".join(arguments)[:16])
def test_they_have_none_on_a_terminal(evil: Project, arguments: list[str]) -> None:
    with Terminal(
        [COMMAND, *arguments], evil.root, evil.environment_of_run(), columns=2000
    ) as terminal:
        terminal.wait()

    written = COLOUR.sub("", terminal.written.decode()).replace("\r\n", "\n")
    # What runs is drawn in place: a line of our own.
    assert harmless(re.sub(r"\r\x1b\[2K|⠋ \[\d/\d\] \w+ [\d:]+|\x1b\[\?25[lh]", "", written))


def test_a_holder_that_another_wrote_is_told_without_effect_and_quoted_for_the_shell(
    project: Project, server: AirtableServer, tmp_path: Path
) -> None:
    project.environment = server.settings
    project.script("first")
    name = f"lock:web; touch {tmp_path}/owned; $(id):1:{EVIL}"
    held = {"started_at": "2026-01-01T00:00:00+00:00", "type": "data"}
    server.add_row(BASE, TABLE, {"migration_id": name, "order_id": 0, **held})

    result: Result = project.run("migrate", "--data")

    assert "Locked by" in result.stderr
    assert harmless(result.stdout, result.stderr)
    [hint] = re.findall(r"mpt-tool (unlock .*)", result.stderr)
    echoed = project.execute(["sh", "-c", f"printf '%s\\n' {hint}"])
    assert echoed.stdout.count("\n") == 2
    assert not (tmp_path / "owned").exists()
