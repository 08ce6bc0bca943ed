"""What to type next, of where the migrations stand and who holds the lock."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.records import Checkpoint, MigrationRecord, RunRecord
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.next_command import next_command
from mpt_tool.scripts.plan import Entry
from mpt_tool.scripts.syntax import Syntax
from mpt_tool.storage.repository import UNTOLD, Holder

DAY = datetime(2026, 1, 13, 18, 5, 20, tzinfo=UTC)
LIVING = Holder("web-1:4711", "web-1", "4711", DAY, is_alive=True)
DEAD = replace(LIVING, is_alive=False)
HALFWAY = Checkpoint(cursor=7, processed=7, total=9, since=DAY)


def entry(
    migration_id: str = "sync",
    type_: MigrationTypeEnum | None = MigrationTypeEnum.DATA,
    syntax: Syntax | None = None,
) -> Entry:
    """Return an entry that was not begun."""
    script = Script(1, migration_id, Path(f"1_{migration_id}.py"))
    return Entry(1, migration_id, script, None, type_, syntax=syntax or Syntax())


def begun(
    checkpoint: Checkpoint | None = None, *, started: bool = False, applied: bool = False
) -> Entry:
    """Return an entry that was begun: failed, unless something else is said."""
    record = MigrationRecord.new("sync", 1, MigrationTypeEnum.DATA).reach(checkpoint)
    moments = {"started_at": DAY if started else None, "applied_at": DAY if applied else None}
    return replace(entry(), record=record.model_copy(update=moments))


def of_target(*checkpoints: Checkpoint) -> Entry:
    """Return an entry that failed for the first of its targets."""
    record = MigrationRecord.new("sync", 1, MigrationTypeEnum.DATA)
    for number, checkpoint in enumerate(checkpoints, start=1):
        run = RunRecord(checkpoint=checkpoint)
        record = record.with_run(f"PRD-{number}", run, ["PRD-1", "PRD-2"])
    return replace(entry(), record=record, targets=("PRD-1", "PRD-2"))


FAILED_ITEMS = HALFWAY.model_copy(update={"done": True, "failed": 2})
TO_VERIFY = HALFWAY.model_copy(update={"done": True})
SCHEMA, DATA = entry("column", MigrationTypeEnum.SCHEMA), entry()
NEEDS_DATA = entry("column", MigrationTypeEnum.SCHEMA, Syntax(requires=("sync",)))
WITHOUT_TARGETS = replace(entry(syntax=Syntax(targets="MPT_PRODUCTS_IDS")), targets=None)


@pytest.mark.parametrize(
    ("entries", "holder", "expected"),
    [
        ([], None, "migrate --new-data NAME (there is no migration yet)"),
        ([begun(applied=True)], None, None),
        ([DATA], LIVING, f"status --watch ({LIVING} is at work)"),
        ([DATA], replace(LIVING, is_alive=None), f"status --watch ({LIVING} is at work)"),
        ([DATA], DEAD, "migrate --data (1 is pending)"),
        ([DATA], UNTOLD, "migrate --data (1 is pending)"),
        ([DATA, entry("b")], None, "migrate --data (2 are pending)"),
        ([DATA, SCHEMA], None, "migrate --schema (1 is pending)"),
        ([DATA, NEEDS_DATA], None, "migrate --data (1 is pending)"),
        ([begun()], None, "migrate --data (sync failed: mpt-tool history sync says why)"),
        ([entry("a"), begun(HALFWAY)], None, "migrate --data (sync resumes after 7 of 9)"),
        ([of_target(HALFWAY)], None, "migrate --data (sync resumes after 7 of 9)"),
        (
            [begun(started=True)],
            None,
            "migrate --data (sync was left running: it runs again)",
        ),
        (
            [begun(TO_VERIFY)],
            None,
            "migrate --data (sync is to be verified: mpt-tool history sync says why)",
        ),
        (
            [begun(FAILED_ITEMS)],
            None,
            "batch sync --retry-failed (2 items failed: mpt-tool failures sync)",
        ),
        (
            [of_target(FAILED_ITEMS, FAILED_ITEMS)],
            None,
            "batch sync --retry-failed (4 items failed: mpt-tool failures sync)",
        ),
        ([WITHOUT_TARGETS], None, "migrate --data (first set MPT_PRODUCTS_IDS, which sync needs)"),
        (
            [entry(type_=None)],
            None,
            "migrate --data --dry-run (the text of sync does not tell its type)",
        ),
        (
            [replace(DATA, notes=("malformed name",))],
            None,
            "migrate --check (a file in the folder is wrongly named)",
        ),
    ],
)
def test_the_next_command_goes_on_with_what_is_pending(
    entries: list[Entry], holder: Holder | None, expected: str | None
) -> None:
    next_ = next_command(entries, holder)

    assert (next_ and str(next_)) == (expected and f"mpt-tool {expected}")
