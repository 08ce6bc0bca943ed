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


def needing(migration_id: str, required: str) -> Entry:
    """Return an entry that was not begun, and requires another one."""
    return entry(migration_id, syntax=Syntax(requires=(required,)))


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
CHANGED, SAME = Syntax(checksum="new"), Syntax(checksum="old")
OF_OLD = {"checksum": "old"}
OLD_HALFWAY, OLD_FAILED, OLD_TO_VERIFY = (
    each.model_copy(update=OF_OLD) for each in (HALFWAY, FAILED_ITEMS, TO_VERIFY)
)
TO_RESUME_CHANGED = (
    "batch sync --resume-anyway (sync was changed since it came to 7 of 9 items;"
    " to begin anew: mpt-tool batch sync --restart)"
)
BROKEN = entry("broken", None, Syntax(problem="no Migration class"))
TRIED = Checkpoint(cursor=None, processed=0, since=DAY, tried=True)
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
        # A run of either type would be refused.
        (
            [entry("first", MigrationTypeEnum.SCHEMA), needing("sync", "first"), NEEDS_DATA],
            None,
            "migrate --schema first (1 is pending; others require it)",
        ),
        (
            [needing("first", "sync"), DATA],
            None,
            "migrate --data sync (1 is pending; others require it)",
        ),
        ([needing("sync", "typo")], None, "migrate --check (sync requires typo)"),
        (
            [
                entry("first"),
                replace(begun(OLD_HALFWAY), syntax=replace(CHANGED, requires=("first",))),
            ],
            None,
            "migrate --data first (1 is pending; others require it)",
        ),
        (
            [entry("first"), replace(begun(FAILED_ITEMS), syntax=Syntax(requires=("first",)))],
            None,
            "migrate --data (sync resumes after 9 of 9, 2 failed)",
        ),
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
        ([replace(begun(OLD_HALFWAY), syntax=CHANGED)], None, TO_RESUME_CHANGED),
        ([replace(of_target(OLD_HALFWAY), syntax=CHANGED)], None, TO_RESUME_CHANGED),
        # It would keep all from running that are of its type.
        ([begun(), replace(begun(OLD_HALFWAY), syntax=CHANGED)], None, TO_RESUME_CHANGED),
        (
            [replace(begun(OLD_FAILED), syntax=CHANGED)],
            None,
            "batch sync --retry-failed (2 items failed: mpt-tool failures sync)",
        ),
        (
            [replace(begun(OLD_TO_VERIFY), syntax=CHANGED)],
            None,
            "migrate --data (sync is to be verified: mpt-tool history sync says why)",
        ),
        (
            [replace(begun(OLD_HALFWAY), syntax=SAME)],
            None,
            "migrate --data (sync resumes after 7 of 9)",
        ),
        (
            [begun(HALFWAY.model_copy(update={"failed": 2}))],
            None,
            "migrate --data (sync resumes after 9 of 9, 2 failed)",
        ),
        (
            [begun(FAILED_ITEMS), SCHEMA],
            None,
            "migrate --schema (1 is pending; 2 items of sync failed: mpt-tool failures sync)",
        ),
        (
            [begun(), SCHEMA],
            None,
            "migrate --schema (1 is pending; sync failed: mpt-tool history sync says why)",
        ),
        (
            [replace(begun(), stopped=("",))],
            None,
            "migrate --data (sync was stopped: it begins anew)",
        ),
        ([begun(TRIED)], None, "migrate --data (1 is pending)"),
        ([SCHEMA, BROKEN], None, "migrate --check (broken: no Migration class)"),
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


@pytest.mark.parametrize(
    ("entries", "holder", "expected"),
    [
        ([DATA], None, "mpt-tool migrate --data --folder 'a b'"),
        ([], None, "mpt-tool migrate --new-data NAME --folder 'a b'"),
        ([begun(FAILED_ITEMS)], None, "MPT_TOOL_FOLDER='a b' mpt-tool batch sync --retry-failed"),
        ([DATA], LIVING, "MPT_TOOL_FOLDER='a b' mpt-tool status --watch"),
    ],
)
def test_a_folder_that_was_given_is_repeated(
    entries: list[Entry], holder: Holder | None, expected: str
) -> None:
    next_ = next_command(entries, holder, Path("a b"))

    assert next_
    assert next_.command == expected
