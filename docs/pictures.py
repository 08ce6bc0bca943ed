"""Draws docs/images/*.svg from what the installed command really prints."""

import io
import json
import re
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = Path(sysconfig.get_path("scripts")) / "mpt-tool"
IMAGES = Path(__file__).parent / "images"
PICTURES = {
    "table.svg": ["migrate", "--list"],
    "help.svg": ["--help"],
}
HELP_WIDTH = 80

# Type, order id, id and the recorded times of one migration in each status.
MIGRATIONS = [
    ("schema", 20260105090000, "add_region", ("2026-01-12T08:00:01", "2026-01-12T08:00:09")),
    ("data", 20260105101500, "import_regions", (None, "2026-01-12T09:30:00")),
    ("data", 20260112140000, "sync_agreements", ("2026-01-19T09:00:02", "2026-01-19T12:41:37")),
    ("data", 20260119110000, "fix_null_emails", (None, None)),
    ("data", 20260121160000, "update_prices", ("2026-01-26T09:00:03", None)),
    ("schema", 20260126083000, "add_discount", None),
]


def main() -> None:
    """Draw every picture; the same versions of the tool, Typer and Rich draw the same bytes."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        make_project(Path(folder))
        for name, arguments in PICTURES.items():
            output = run(arguments, folder)
            (IMAGES / name).write_text(draw(output, arguments), encoding="utf-8")
            print(f"Drew {IMAGES / name}")


def make_project(root: Path) -> None:
    """Write the scripts and the state of `MIGRATIONS`."""
    folder = root / "migrations"
    folder.mkdir()
    state = {}
    for migration_type, order_id, migration_id, times in MIGRATIONS:
        base = "DataBaseMigration" if migration_type == "data" else "SchemaBaseMigration"
        (folder / f"{order_id}_{migration_id}.py").write_text(
            f"from mpt_tool.migration import {base}\n\n\nclass Migration({base}): ...\n",
            encoding="utf-8",
        )
        if times:
            state[migration_id] = {
                "migration_id": migration_id,
                "order_id": order_id,
                "started_at": times[0],
                "applied_at": times[1],
                "type": migration_type,
            }
    (root / ".migrations-state.json").write_text(json.dumps(state), encoding="utf-8")


def run(arguments: list[str], folder: str) -> str:
    """Return what the command prints, with colour, whatever the environment of this process."""
    environment = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": str(HELP_WIDTH)}
    command = [str(COMMAND), *arguments]
    finished = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return finished.stdout


def draw(output: str, arguments: list[str]) -> str:
    """Return coloured output as SVG that needs nothing from elsewhere."""
    text = Text.from_ansi(output.strip("\n"))
    width = max(line.cell_len for line in text.split())
    console = Console(file=io.StringIO(), record=True, width=width, color_system="truecolor")
    console.print(text)
    title = " ".join([COMMAND.name, *arguments])
    svg = console.export_svg(title=title, unique_id="picture")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


if __name__ == "__main__":
    main()
