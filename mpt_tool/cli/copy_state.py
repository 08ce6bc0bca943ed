"""`mpt-tool copy-state`: copies the state from one store to another."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from mpt_tool.cli import completion
from mpt_tool.cli.command import command
from mpt_tool.cli.options import ANY
from mpt_tool.errors import LockedError, SettingsError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.view.results import Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session

log = get_log(__name__)

_INITIALIZE = "mpt-tool migrate --init"
_store = partial(ANY.option, default=..., metavar="STORE", autocompletion=completion.stores)
_ANNOUNCEMENT = {"copy_state": "Copying the state from {from_} to {to}..."}


@command(forms={}, announcements=_ANNOUNCEMENT)
def copy_state(
    session: "Session",
    from_: str = _store("--from", "the store that is copied."),
    to: str = _store("--to", "the store that it is copied to."),
    merge: bool = ANY.flag("--merge", "add what a store lacks that has records."),
    dry_run: bool = ANY.flag("--dry-run", "show what would be copied; change nothing."),
    wait: float | None = ANY.option(
        "--wait", "wait so long for each lock.", min=0, metavar="SECONDS"
    ),
) -> Result:
    """Copy records, history and failed items to another store."""
    from mpt_tool.storage import open_repository
    from mpt_tool.storage.copying import keep, plan_copy, read, require_copied

    if from_ == to:
        raise SettingsError(f"--from and --to are both {to}: name two stores")
    source = open_repository(from_, session.root, "--from")
    target = open_repository(to, session.root, "--to")
    with ExitStack() as held:
        if not dry_run:
            session.warn_of(target)
            # In one order, so that two that copy to and fro do not wait for each other.
            for name, repository in sorted({from_: source, to: target}.items()):
                with _about(name):
                    held.enter_context(session.lock_of(repository, wait))
        with _about(from_):
            found = read(from_, source)
        with _about(to):
            there = read(to, target, found)
        copy = plan_copy(found, there, merges=merge)
        if dry_run:
            return Result(said=[f"Would copy {copy} from {from_} to {to}."])
        log.info("Copying %s%s", copy, "" if copy.is_all_of(found) else f", which {to} lacks")
        keep(copy, target)
        # Opened anew: nothing is taken for kept that is only remembered.
        again = open_repository(to, session.root, "--to")
        require_copied(found, copy, read(to, again, found))
    return Result(
        said=[
            f"Copied {copy}, and read all of it back.",
            f"Set STORAGE_TYPE={to} to go on with it; {from_} stays as it is.",
        ]
    )


@contextmanager
def _about(store: str) -> Iterator[None]:
    """Name the store in what is wrong with it, and in the command that creates it."""
    try:
        yield
    except (LockedError, StorageError) as error:
        told = str(error).replace(_INITIALIZE, f"STORAGE_TYPE={store} {_INITIALIZE}")
        raise type(error)(f"{store}: {told}", error.topic) from error
