"""What the lock costs: the tool beside itself without one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.airtable import count_requests
from benchmarks.comparison import CASES, take_turns
from benchmarks.contenders import Contender

MOST_TIMES, MOST_REQUESTS = 1.10, 5
HEAD = ("Case", "with the lock", "without", "cost", "target")
_UNLOCKED = """\
#!{python}
import os
from contextlib import nullcontext

if os.environ.get("STORAGE_TYPE") == "airtable":
    from mpt_tool.storage.airtable.repository import AirtableRepository as Repository
else:
    from mpt_tool.storage.local import LocalRepository as Repository
from mpt_tool.cli import main

Repository.lock = lambda *_: nullcontext()
main()
"""


def costs(ours: Contender, folder: Path, runs: int) -> Iterator[Sequence[str]]:
    """Yield a row of the table for each case that takes the lock."""
    unlocked = _unlocked(ours, folder / "unlocked")
    for case in CASES:
        if "--data" in case.arguments:
            locked, free = take_turns(case, [ours, unlocked], folder / case.title, runs)
            times = locked.median / free.median
            yield case.title, str(locked), str(free), f"{times:.2f} times", f"≤ {MOST_TIMES:.2f}"
    title = "`--data`, Airtable, 250 applied, 5 pending"
    with_, without = (
        count_requests(each, folder / f"{each.name}-airtable", 250, 5) for each in (ours, unlocked)
    )
    cost = f"{with_ - without} requests"
    yield title, f"{with_} requests", f"{without} requests", cost, f"≤ {MOST_REQUESTS}"


def _unlocked(ours: Contender, folder: Path) -> Contender:
    """Return the tool with a lock that lets everybody in; its command is in the folder."""
    folder.mkdir(parents=True)
    contender = Contender("unlocked", folder / "python")
    command = Path(contender.command)
    command.write_text(_UNLOCKED.format(python=ours.python), encoding="utf-8")
    command.chmod(0o755)
    return contender
