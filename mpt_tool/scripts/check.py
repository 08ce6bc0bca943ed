"""Says everything that is wrong with the scripts, without importing any."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mpt_tool.scripts.folder import Script, duplicates, names
from mpt_tool.scripts.plan import NAME_NOTES, Entry
from mpt_tool.scripts.syntax import Syntax, read_syntax


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that `check` objects to, and where."""

    file: str
    message: str
    line: int | None = None


def check(scripts: Sequence[Script], applied: Collection[str] | None = None) -> list[Finding]:
    """Return everything that is wrong with the scripts, without importing any.

    Args:
        scripts: what is in the folder.
        applied: the ids of what is applied, if that is known: a script may be gone by then that
            another requires.
    """
    findings = []
    read = [(script, read_syntax(script.path, compiles=True)) for script in scripts]
    for script, syntax in read:
        if script.name_problem:
            findings.append(Finding(script.path.name, f"malformed name: {script.name_problem}"))
        if syntax.problem:
            findings.append(Finding(script.path.name, syntax.problem, syntax.line))
    findings += _unmet(read, applied)
    for what, keys in (
        ("id", ((s.migration_id, s) for s in scripts)),
        ("timestamp", ((str(s.order_id), s) for s in scripts)),
    ):
        for key, same in duplicates(keys):
            message = f"duplicate {what} {key}: {names(same)}"
            findings.extend(Finding(script.path.name, message) for script in same)
    return sorted(findings, key=lambda finding: (finding.file, finding.line or 0))


def _unmet(
    read: Sequence[tuple[Script, Syntax]], applied: Collection[str] | None
) -> Iterator[Finding]:
    """Yield what scripts require that no run can meet."""
    beside = "" if applied is not None else "; --strict knows what is applied, too"
    known = {script.migration_id: syntax for script, syntax in read}
    done = set(applied or ())
    for script, syntax in read:
        circle = _circle(script.migration_id, known)
        if circle:
            yield Finding(script.path.name, f"requires itself: {' requires '.join(circle)}")
        for required in [each for each in syntax.requires if each not in done]:
            of_required = known.get(required)
            if of_required is None:
                unknown = f"requires {required}, and no script has this id{beside}"
                yield Finding(script.path.name, unknown)
            elif of_required.type is syntax.type is not None and not circle:
                yield Finding(script.path.name, f"requires {required}, which runs after it")
        done.add(script.migration_id)


def _circle(migration_id: str, known: Mapping[str, Syntax]) -> Sequence[str]:
    """Return the shortest way from a migration, by what each requires, back to it; else nothing."""
    ways: list[tuple[str, ...]] = [(migration_id,)]
    seen = set[str]()
    for way in ways:
        for required in known[way[-1]].requires if way[-1] in known else ():
            if required == migration_id:
                return (*way, required)
            if required not in seen:
                seen.add(required)
                ways.append((*way, required))
    return ()


def drift(entries: Sequence[Entry], store_notes: Sequence[str]) -> list[Finding]:
    """Return what `check` objects to, beyond the names, once the store is there to compare."""
    of_entries = [
        Finding(entry.script.path.name if entry.script else entry.migration_id, note)
        for entry in entries
        for note in entry.notes
        if note not in NAME_NOTES
    ]
    return of_entries + [Finding("store", note) for note in store_notes]
