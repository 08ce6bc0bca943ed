"""What shells offer at a TAB: ids, each with where it stands beside it.

At a TAB no mistake of the project is news: nothing is offered then. Only the local store is asked:
a keystroke cannot wait for a network, so with any other store all scripts are offered.
"""

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import typer

from mpt_tool.enums import MigrationTypeEnum

if TYPE_CHECKING:
    from mpt_tool.project import Project
    from mpt_tool.scripts.plan import Entry
    from mpt_tool.storage.repository import Snapshot

# What an id or the name of a holder is made of.
_WORD = re.compile(r"[\w.:-]+")

type Offers = list[tuple[str, str]]


def ids_to_run(context: typer.Context, incomplete: str) -> Offers:
    """Complete the MIGRATION_ID of `migrate`: what is pending, of the type that is to run."""
    given = [each for each in MigrationTypeEnum if context.params.get(each)]
    return _offered(incomplete, partial(_pending, given[0])) if given else []


def ids_to_fake(incomplete: str) -> Offers:
    """Complete --fake: what is pending, of either type."""
    return _offered(incomplete, partial(_pending, None))


def batch_ids(incomplete: str) -> Offers:
    """Complete the MIGRATION_ID of `batch`: the batch migrations that are pending."""
    return _offered(incomplete, _pending_batches)


def ids_with_failures(incomplete: str) -> Offers:
    """Complete the MIGRATION_ID of `failures`: those that have failed items."""
    return _offered(incomplete, _with_failures)


def attempted_ids(incomplete: str) -> Offers:
    """Complete the MIGRATION_ID of `history`: those that have an attempt."""
    return _offered(incomplete, _attempted)


def holders(incomplete: str) -> Offers:
    """Complete the HOLDER of `unlock`: who holds the lock of the local store."""
    return _offered(incomplete, _holder)


def offer_no_files() -> None:
    """Change Typer's completion scripts, which offer files where a command has nothing to offer."""
    from typer import _completion_shared

    # Private to Typer, which has no option for it: without them, files are offered as before.
    scripts: dict[str, str] = getattr(_completion_shared, "_completion_scripts", {})
    bash, zsh = scripts.get("bash", ""), scripts.get("zsh", "")
    scripts["bash"] = bash.replace("complete -o default -F", "complete -F")
    scripts["zsh"] = zsh.replace("zsh %(prog_name)s)", "zsh %(prog_name)s | grep -vx _files)")


def _offered(incomplete: str, find: "Callable[[Project], Iterable[tuple[str, str]]]") -> Offers:
    from mpt_tool.errors import MptToolError
    from mpt_tool.project import find_root, open_project

    try:
        found = dict(find(open_project(find_root())))
    except MptToolError:
        return []
    return sorted(
        (word, beside)
        for word, beside in found.items()
        # Never a malformed one: a shell may take what is offered for more than a word.
        if word.startswith(incomplete) and _WORD.fullmatch(word)
    )


def _is_local(project: "Project") -> bool:
    return project.settings.storage_type == "local"


def _snapshot(project: "Project") -> "Snapshot":
    from mpt_tool.storage.repository import Snapshot

    return project.repository.load() if _is_local(project) else Snapshot()


def _entries(project: "Project") -> "list[Entry]":
    from mpt_tool.project import plan_of
    from mpt_tool.scripts.folder import find

    return plan_of(find(project.folder), _snapshot(project))


def _pending(migration_type: MigrationTypeEnum | None, project: "Project") -> Offers:
    from mpt_tool.scripts.plan import pending

    return [_offer(entry) for entry in pending(_entries(project), migration_type)]


def _pending_batches(project: "Project") -> Offers:
    from mpt_tool.scripts.plan import pending
    from mpt_tool.scripts.syntax import read_syntax

    return [
        _offer(entry)
        for entry in pending(_entries(project), MigrationTypeEnum.DATA)
        if entry.script and read_syntax(entry.script.path).is_batch
    ]


def _with_failures(project: "Project") -> Offers:
    if not _is_local(project):
        return _pending_batches(project)
    return [
        (record.migration_id, f"{len(record.checkpoint.failures):,} failed")
        for record in _snapshot(project).records.values()
        if record.checkpoint and record.checkpoint.failures
    ]


def _attempted(project: "Project") -> Offers:
    if not _is_local(project):
        return [_offer(entry) for entry in _entries(project)]
    newest: dict[str, str] = {}
    for attempt in project.repository.attempts():
        newest.setdefault(attempt.migration_id, attempt.outcome)
    return list(newest.items())


def _holder(project: "Project") -> Offers:
    from mpt_tool.storage.local import HOLDER_FILE, STATE_FILE

    if not _is_local(project):
        return []
    try:
        state = (project.root / STATE_FILE).resolve()
        holder = json.loads(state.with_name(HOLDER_FILE).read_bytes())
        return [(f"{holder['host']}:{holder['process']}", "holds the lock")]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _offer(entry: "Entry") -> tuple[str, str]:
    return entry.migration_id, f"{entry.type or 'unknown type'}, {entry.status}"
