"""What is right and what is wrong with the files of a store; none is opened."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpt_tool.checks import Check, doubtful, right, wrong
from mpt_tool.storage.outlasting import StateFile

# Below that, what a run keeps may find no room.
_LITTLE_ROOM = 10 * 1024 * 1024


def checks_of_files(file: StateFile, others: Sequence[Path]) -> Iterator[Check]:
    """Yield whether the state can be written, by this user, and whether it lasts.

    Args:
        file: that of the state, which need not be there.
        others: the files beside it that are written, which need not be there either.
    """
    state, folder = file.path, file.path.parent
    if not folder.is_dir():
        advice = "Create the folder, or mend the link that the state file is"
        yield wrong("state folder", f"{folder} is not there", advice)
        return
    yield _writing(state)
    for path in (state, *others):
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            advice = f"Give it to {_user()}: another user may have written it"
            yield wrong(path.name, f"{_user()} cannot read and write it", advice)
    yield from file.checks()


def _writing(state: Path) -> Check:
    """Return whether the state can be replaced in its folder."""
    folder = state.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return wrong(
            "state folder",
            f"{_user()} cannot write to {folder}",
            f"Make it writable for {_user()}, or let {state.name} be a link to a file elsewhere",
        )
    free = shutil.disk_usage(folder).free
    if free < _LITTLE_ROOM:
        advice = "Make room on the disk: a record that finds none is not kept"
        return doubtful("state folder", f"{free:,} bytes are free in {folder}", advice)
    return right("state folder", f"{_user()} can write to {folder}")


def _user() -> str:
    # Windows has no numbers of users.
    return f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
