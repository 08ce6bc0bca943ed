"""What is right and what is wrong with the files of the local store; none is opened."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mpt_tool.checks import Check, doubtful, right, wrong
from mpt_tool.process.container import container, mount_of

# Below that, what a run keeps may find no room.
_LITTLE_ROOM = 10 * 1024 * 1024


def checks_of_files(
    state: Path, others: Sequence[Path], *, is_ephemeral: bool = False
) -> Iterator[Check]:
    """Yield whether the state can be written, by this user, and whether it lasts.

    Args:
        state: the file of the state, which need not be there.
        others: the files beside it that are written, which need not be there either.
        is_ephemeral: whether the state is meant to be lost with the container that it is in.
    """
    folder = state.parent
    if not folder.is_dir():
        advice = "Create the folder, or mend the link that the state file is"
        yield wrong("state folder", f"{folder} is not there", advice)
        return
    yield _writing(state)
    for path in (state, *others):
        if path.exists() and not os.access(path, os.R_OK | os.W_OK):
            advice = f"Give it to {_user()}: another user may have written it"
            yield wrong(path.name, f"{_user()} cannot read and write it", advice)
    yield from _lasting(state, is_ephemeral=is_ephemeral)


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


def _lasting(state: Path, *, is_ephemeral: bool) -> Iterator[Check]:
    """Yield whether the state outlasts the container, if this is one."""
    mount = mount_of(state)
    if mount and mount.point == state:
        advice = "Mount its folder instead of the file, and let the state file be a link into it"
        yield wrong("mount", f"{state} is mounted as a single file, and cannot be replaced", advice)
    elif mount and container(os.environ):
        if not mount.loss:
            yield right("mount", f"{mount.point} ({mount.kind}), which outlasts the container")
        elif is_ephemeral:
            yield right("mount", f"{state.parent} is {mount.loss}, as is meant")
        else:
            advice = (
                "Mount a volume there, or set STORAGE_TYPE to another store: without the state,"
                " whatever is applied would run again"
            )
            yield wrong("mount", f"{state.parent} is {mount.loss}", advice)


def _user() -> str:
    # Windows has no numbers of users.
    return f"user {os.getuid()}" if hasattr(os, "getuid") else "this user"
