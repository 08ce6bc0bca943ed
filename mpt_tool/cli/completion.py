"""What shells offer at a TAB: ids, each with where it stands beside it.

At a TAB no mistake of the project is news: nothing is offered then. Only the local store is asked
for what it holds: a keystroke cannot wait for a network, so with any other store all scripts are
offered. Who holds the lock is worth the one request.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from mpt_tool.enums import MigrationTypeEnum

if TYPE_CHECKING:
    from mpt_tool.project import Project
    from mpt_tool.scripts.plan import Entry

# What an id or the name of a holder is made of.
_WORD = re.compile(r"[\w.:-]+")
_LONGEST_LOOK_SECONDS = 3.0

type Offers = list[tuple[str, str]]


def offer_no_files() -> None:
    """Change Typer's completion scripts, which offer files where a command has nothing to offer."""
    from typer import _completion_shared

    # Private to Typer, which has no option for it: without them, files are offered as before.
    scripts: dict[str, str] = getattr(_completion_shared, "_completion_scripts", {})
    bash, zsh = scripts.get("bash", ""), scripts.get("zsh", "")
    scripts["bash"] = bash.replace("complete -o default -F", "complete -F")
    scripts["zsh"] = zsh.replace("zsh %(prog_name)s)", "zsh %(prog_name)s | grep -vx _files)")


def _offering(
    find: "Callable[[Project, typer.Context], Iterable[tuple[str, str]]]",
) -> Callable[[typer.Context, str], Offers]:
    """Return what Typer asks at a TAB, of a function that finds words, each with a text beside."""

    def offer(context: typer.Context, incomplete: str) -> Offers:
        from mpt_tool.errors import MptToolError
        from mpt_tool.project import find_root, open_project

        try:
            found = dict(find(open_project(find_root()), context))
        except MptToolError:
            return []
        return sorted(
            (word, beside)
            for word, beside in found.items()
            # Never a malformed one: a shell may take what is offered for more than a word.
            if word.startswith(incomplete) and _WORD.fullmatch(word)
        )

    return offer


@_offering
def ids_to_run(project: "Project", context: typer.Context) -> Offers:
    """Offer what is pending of the type that is to run."""
    given = [each for each in MigrationTypeEnum if context.params.get(each)]
    return _pending(project, given[0]) if given else []


@_offering
def ids_to_fake(project: "Project", _: typer.Context) -> Offers:
    """Offer what is pending, of either type."""
    return _pending(project, None)


@_offering
def batch_ids(project: "Project", _: typer.Context) -> Offers:
    """Offer the batch migrations that are pending."""
    return _pending_batches(project)


@_offering
def ids_with_failures(project: "Project", _: typer.Context) -> Offers:
    """Offer those that have failed items."""
    if not _is_local(project):
        return _pending_batches(project)
    return [
        (record.migration_id, f"{failed:,} failed")
        for record in project.repository.load().records.values()
        if (failed := record.failed)
    ]


@_offering
def ids_to_verify(project: "Project", _: typer.Context) -> Offers:
    """Offer those that are applied, where that is known, and have a `verify`."""
    from mpt_tool.scripts.syntax import read_syntax

    is_local = _is_local(project)
    return _offers(
        entry
        for entry in _entries(project)
        if entry.script and read_syntax(entry.script.path).verifies
        if entry.is_applied or not is_local
    )


@_offering
def attempted_ids(project: "Project", _: typer.Context) -> Offers:
    """Offer those that have an attempt, with how the newest ended."""
    if not _is_local(project):
        return _offers(_entries(project))
    newest: dict[str, str] = {}
    for attempt in project.repository.attempts():
        newest.setdefault(attempt.migration_id, attempt.outcome)
    return list(newest.items())


@_offering
def stores(_project: "Project", _: typer.Context) -> Offers:
    """Offer all stores there are."""
    from mpt_tool.storage import OURS, installed

    ours = [(name, "built in") for name in OURS]
    return ours + [(name, "of an installed package") for name in installed().names]


@_offering
def holders(project: "Project", _: typer.Context) -> Offers:
    """Offer who holds the lock, if the store tells that in time."""
    from threading import Thread

    from mpt_tool.errors import MptToolError
    from mpt_tool.storage.repository import Stoppable

    found: Offers = []

    def look() -> None:
        with suppress(MptToolError):
            repository = project.repository
            holder = repository.holder() if isinstance(repository, Stoppable) else None
            if holder:
                found.append((holder.name, "holds the lock"))

    # A request may be sent again for minutes; whoever types waits for seconds.
    looker = Thread(target=look, daemon=True)
    looker.start()
    looker.join(_LONGEST_LOOK_SECONDS)
    return found


def _is_local(project: "Project") -> bool:
    return project.settings.storage_type == "local"


def _entries(project: "Project") -> "list[Entry]":
    from mpt_tool.scripts.folder import find
    from mpt_tool.storage.repository import Snapshot

    snapshot = project.repository.load() if _is_local(project) else Snapshot()
    return project.plan(find(project.folder), snapshot)


def _pending(project: "Project", migration_type: MigrationTypeEnum | None) -> Offers:
    from mpt_tool.scripts.plan import pending

    return _offers(pending(_entries(project), migration_type))


def _pending_batches(project: "Project") -> Offers:
    from mpt_tool.scripts.plan import pending

    return _offers(entry for entry in pending(_entries(project)) if entry.syntax.is_batch)


def _offers(entries: "Iterable[Entry]") -> Offers:
    return [
        (each.migration_id, f"{each.type or 'unknown type'}, {each.status}") for each in entries
    ]
