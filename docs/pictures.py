"""Draws docs/images/ anew from what the installed command really shows on a terminal.

Arguments name the pictures to be drawn; without any, all are. Needs `tests` among the paths that
Python searches, for the terminal of the tests.
"""

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import Any

from drawing import SCHEMES, Frame, draw, lines_of
from support.project import COMMAND, STATE_FILE
from support.terminal import Terminal

IMAGES = Path(__file__).parent / "images"
# How long a film takes between two of its frames at least, in seconds.
PACE = 0.35
CTRL_C = "\x03"


@dataclass(frozen=True, slots=True)
class Picture:
    """What is recorded, and in which project.

    Args:
        make: makes the project in an empty folder.
        commands: what is typed, one after the other.
        columns: how wide the terminal is.
        until: what is shown when the picture is taken; by default the end.
        interrupt: what is shown when Ctrl-C is pressed.
        is_film: whether all that was shown before is in it too.
    """

    make: Callable[[Path], None]
    commands: Sequence[Sequence[str]]
    columns: int = 80
    until: str = ""
    interrupt: str = ""
    is_film: bool = False


# Type, order id, id and the recorded times of one migration in each status.
MIGRATIONS = [
    ("schema", 20260105090000, "add_region", ("2026-01-12T08:00:01", "2026-01-12T08:00:09")),
    ("data", 20260105101500, "import_regions", (None, "2026-01-12T09:30:00")),
    ("data", 20260112140000, "sync_agreements", ("2026-01-19T09:00:02", "2026-01-19T12:41:37")),
    ("data", 20260119110000, "fix_null_emails", (None, None)),
    ("data", 20260121160000, "update_prices", ("2026-01-26T09:00:03", None)),
    ("schema", 20260126083000, "add_discount", None),
]
FAILING = """\
from mpt_tool.migration import DataBaseMigration

PRICES = {"MON-001": "45", "BKP-001": "19.50"}


class Migration(DataBaseMigration):
    def run(self):
        for sku, price in PRICES.items():
            try:
                self.log.info("%s costs %d cents", sku, 100 * int(price))
            except ValueError as error:
                raise RuntimeError(f"{sku} has no price") from error
"""


def make_listed(root: Path) -> None:
    """Write the scripts and the state of `MIGRATIONS`."""
    state = {}
    for migration_type, order_id, migration_id, times in MIGRATIONS:
        base = "DataBaseMigration" if migration_type == "data" else "SchemaBaseMigration"
        text = f"from mpt_tool.migration import {base}\n\n\nclass Migration({base}): ...\n"
        _script(root, f"{order_id}_{migration_id}", text)
        if times:
            state[migration_id] = {
                "migration_id": migration_id,
                "order_id": order_id,
                "started_at": times[0],
                "applied_at": times[1],
                "type": migration_type,
            }
    (root / STATE_FILE).write_text(json.dumps(state), encoding="utf-8")


def make_failing(root: Path) -> None:
    """Write a script that raises."""
    _script(root, "20260126083000_import_prices", FAILING)


def make_long(root: Path) -> None:
    """Write a batch migration that takes a few seconds."""
    text = (files("mpt_tool.demo.scripts") / "write_letters.py").read_text(encoding="utf-8")
    _script(root, "20260126083000_write_letters", text)


def _script(root: Path, name: str, text: str) -> None:
    path = root / "migrations" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


RUN, LIST = ["migrate", "--data"], ["migrate", "--list"]
PICTURES = {
    "help": Picture(make_listed, [["--help"]]),
    "list": Picture(make_listed, [LIST], columns=112),
    "failure": Picture(make_failing, [RUN], columns=90),
    "progress": Picture(make_long, [RUN], columns=100, until=r"7\d of 120"),
    "stop": Picture(
        make_long, [RUN, LIST, RUN], columns=100, interrupt=r"5\d of 120", is_film=True
    ),
    "status": Picture(make_long, [RUN, ["status"]], interrupt=r"5\d of 120"),
}


def main(names: Sequence[str]) -> None:
    """Draw the pictures of these names, or all of them and the page of a report."""
    IMAGES.mkdir(exist_ok=True)
    for name in names or PICTURES:
        picture = PICTURES[name]
        with tempfile.TemporaryDirectory() as folder:
            picture.make(Path(folder))
            frames = record(picture, Path(folder))
        title = f"mpt-tool {' '.join(picture.commands[0])}"
        for scheme, colours in SCHEMES.items():
            path = IMAGES / f"{name}-{scheme}.svg"
            path.write_text(draw(frames, picture.columns, title, colours), encoding="utf-8")
            print(f"Drew {path}")
    if not names:
        photograph_report()


def record(picture: Picture, root: Path) -> list[Frame]:
    """Return what a terminal shows while the commands are typed: the last frame, or all of them."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "STORAGE_EPHEMERAL": "true"}
    frames: list[Frame] = []
    is_pressed, began = False, 0.0
    with Terminal(
        ["sh", "-c", script(picture.commands)],
        root,
        environment,
        columns=picture.columns,
        lines=60,
    ) as terminal:
        for _ in terminal.follow():
            began = began or monotonic()
            seconds = monotonic() - began
            if picture.is_film and (not frames or seconds - frames[-1].at >= PACE):
                frames.append(Frame(seconds if frames else 0, lines_of(terminal.screen)))
            if picture.interrupt and not is_pressed and terminal.shows(picture.interrupt):
                terminal.press(CTRL_C)
                is_pressed = True
            if picture.until and terminal.shows(picture.until):
                break
        last = Frame(monotonic() - began if frames else 0, lines_of(terminal.screen))
    return [*frames, last]


def script(commands: Sequence[Sequence[str]]) -> str:
    """Return what types the commands, each after a prompt if there are several."""
    typed = []
    for arguments in commands:
        words = shlex.join(["mpt-tool", *arguments])
        if commands[1:]:
            typed.append(f"printf '\\033[1m$ {words}\\033[0m\\n'; sleep .8")
        typed.append(shlex.join([COMMAND, *arguments]))
        typed.append("echo" if commands[1:] else ":")
    # What is interrupted is a command, not the shell.
    return f"trap : INT; {'; '.join(typed)}"


def photograph_report() -> None:
    """Take pictures of the page of a report in Chromium; if it is not there, say so."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if not chromium:
        print("Drew no picture of the report: that takes Chromium and playwright")
        return
    from support.histories import write_history
    from support.project import Project

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder) / "extension"
        root.mkdir()
        project = Project(root)
        write_history(project, 30, began=datetime.now(UTC) - timedelta(days=3))
        project.run("report", "report.html")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in SCHEMES:
            look: Any = {"viewport": {"width": 1000, "height": 1440}, "color_scheme": scheme}
            page = browser.new_page(**look)
            page.goto((root / "report.html").as_uri())
            page.screenshot(path=IMAGES / f"report-{scheme}.png")
            print(f"Drew {IMAGES / f'report-{scheme}.png'}")


if __name__ == "__main__":
    main(sys.argv[1:])
