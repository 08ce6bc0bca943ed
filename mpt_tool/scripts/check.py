"""Says everything that is wrong with the scripts, without importing any."""

from collections.abc import Sequence
from dataclasses import dataclass

from mpt_tool.scripts.folder import Script, duplicates, names
from mpt_tool.scripts.plan import NAME_NOTES, Entry
from mpt_tool.scripts.syntax import read_syntax


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `check` objects to, and where."""

    file: str
    message: str
    line: int | None = None


def check(scripts: Sequence[Script]) -> list[Finding]:
    """Return everything that is wrong with the scripts, without importing any."""
    findings = []
    for script in scripts:
        if script.name_problem:
            findings.append(Finding(script.path.name, f"malformed name: {script.name_problem}"))
        syntax = read_syntax(script.path, compiles=True)
        if syntax.problem:
            findings.append(Finding(script.path.name, syntax.problem, syntax.line))
    for what, keys in (
        ("id", ((s.migration_id, s) for s in scripts)),
        ("timestamp", ((str(s.order_id), s) for s in scripts)),
    ):
        for key, same in duplicates(keys):
            message = f"duplicate {what} {key}: {names(same)}"
            findings.extend(Finding(script.path.name, message) for script in same)
    return sorted(findings, key=lambda finding: (finding.file, finding.line or 0))


def drift(entries: Sequence[Entry], store_notes: Sequence[str]) -> list[Finding]:
    """Return what `check` objects to, beyond the names, once the store is there to compare."""
    of_entries = [
        Finding(entry.script.path.name if entry.script else entry.migration_id, note)
        for entry in entries
        for note in entry.notes
        if note not in NAME_NOTES
    ]
    return of_entries + [Finding("store", note) for note in store_notes]
