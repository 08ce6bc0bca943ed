"""Looks whether what applied migrations were to reach is still so."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mpt_tool.clients.rehearsal import Rehearsal
from mpt_tool.errors import ScriptFailedError, SelectionError
from mpt_tool.process.isolation import isolated
from mpt_tool.reporting import Reporter, Verifying
from mpt_tool.runner import calls
from mpt_tool.scripts import plan
from mpt_tool.scripts.load import load, make
from mpt_tool.scripts.plan import Entry, of_targets
from mpt_tool.scripts.syntax import Syntax, read_syntax
from mpt_tool.scripts.targets import require_targets, targets_in


def to_verify(
    entries: Sequence[Entry], migration_id: str | None, environment: Mapping[str, str]
) -> list[Entry]:
    """Return what is applied of the migrations that have a `verify`: an entry for each target.

    Args:
        entries: the plan.
        migration_id: the only one that is meant, if not all are.
        environment: the variables that may list targets.

    Raises:
        SelectionError: the one is unknown, or not applied.
        SettingsError: what one is made for is not set, and was not recorded.
    """
    chosen = [each for each in entries if each.script and migration_id in (None, each.migration_id)]
    if migration_id and not chosen:
        raise plan.unknown(migration_id, entries)
    found = []
    for entry in chosen:
        assert entry.script is not None
        if (syntax := read_syntax(entry.script.path)).verifies:
            applied = list(_applied(entry, syntax, environment))
            if migration_id and not applied:
                raise SelectionError(f"Migration {migration_id} is not applied: run it first")
            found += applied
    return found


def _applied(entry: Entry, syntax: Syntax, environment: Mapping[str, str]) -> Iterator[Entry]:
    """Yield the entry if it is applied; of one that has targets, one for each for which it is."""
    if not syntax.targets:
        if entry.is_applied:
            yield entry
        return
    if entry.record is None:
        return
    targets = (
        targets_in(syntax.targets, environment)
        or tuple(entry.record.targets or ())
        or require_targets(syntax.targets, environment, entry.migration_id)
    )
    for each in of_targets(replace(entry, targets=targets)):
        if each.target in targets and each.is_applied:
            yield each


def verify(
    entries: Sequence[Entry], root: Path, rehearsal: Rehearsal, reporter: Reporter
) -> Iterator[tuple[Entry, ScriptFailedError | None]]:
    """Yield each entry of what is to be verified, with why it is not as it should be, if so.

    All scripts are loaded before the first `verify` is called.

    Args:
        entries: what is to be verified.
        root: of the project.
        rehearsal: what refuses all writes meanwhile.
        reporter: is told of each.

    Raises:
        ScriptError: a script holds no migration.
        ScriptFailedError: a script cannot be loaded.
    """
    scripts = {entry.migration_id: entry.script for entry in entries if entry.script}
    loaded = {migration_id: load(script, root) for migration_id, script in scripts.items()}
    for entry in entries:
        kind, script = type(loaded[entry.migration_id]), scripts[entry.migration_id]
        migration, failure = make(kind, script, root, entry.target), None
        migration.is_rehearsal, rehearsal.reads = True, migration.reads
        try:
            with reporter.during(Verifying(entry.name)), isolated():
                calls.verify(migration)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is what is to be told
            what = f"{entry.name} is not as it should be"
            failure = ScriptFailedError(what, error, topic="not-as-it-should-be")
        yield entry, failure
