"""Whether the file that a state is in outlasts the container that it is in."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from mpt_tool.checks import Check, right, wrong
from mpt_tool.errors import StorageError
from mpt_tool.process.container import container, loss_of, mount_of
from mpt_tool.settings import Section, load_settings, variable

_ROOT = Path("/")
_ALONE = (
    "is mounted as a single file: what belongs beside it, such as the lock, would be that of this"
    " container alone"
)
_MOUNT_FOLDER = "Mount a folder, and let it be a link into that"
_LOST = "whatever is applied would run again"


class _FileSettings(Section):
    shares_table: ClassVar[bool] = True

    storage_ephemeral: Annotated[bool, variable("STORAGE_EPHEMERAL")] = False


@dataclass(frozen=True, slots=True)
class StateFile:
    """The file of a store.

    Args:
        path: where it is, without links.
        is_ephemeral: whether it is meant to be lost with the container.
        system: the root of the file system that tells whether this is one, and what is mounted.
    """

    path: Path
    is_ephemeral: bool = False
    system: Path = _ROOT

    def warnings(self) -> Sequence[str]:
        """Return what becomes of the state, if it does not outlast the container.

        Raises:
            StorageError: the file is a mount of its own. It cannot be replaced, and written in
                place it could be left half written; and the lock and whatever else is beside it
                would be in the container, where no other sees it.
        """
        if self._is_alone:
            raise StorageError(f"{self.path} {_ALONE}. {_MOUNT_FOLDER}")
        loss = "" if self.is_ephemeral else loss_of(self.path, os.environ, self.system)
        advice = (
            "Mount a volume at its folder, or set STORAGE_TYPE to another store; if it is meant to"
            " be lost, set STORAGE_EPHEMERAL=true"
        )
        return [f"The state {self.path} is {loss}: {_LOST}. {advice}"] if loss else []

    def checks(self) -> Iterator[Check]:
        """Yield the same for the doctor; nothing outside of any container."""
        mount = mount_of(self.path, self.system)
        if self._is_alone:
            yield wrong("mount", f"{self.path} {_ALONE}", _MOUNT_FOLDER)
        elif mount and container(os.environ, self.system):
            if not mount.loss:
                yield right("mount", f"{mount.point} ({mount.kind}), which outlasts the container")
            elif self.is_ephemeral:
                yield right("mount", f"{self.path.parent} is {mount.loss}, as is meant")
            else:
                advice = "Mount a volume there, or set STORAGE_TYPE to another store"
                yield wrong("mount", f"{self.path.parent} is {mount.loss}: {_LOST}", advice)

    @property
    def _is_alone(self) -> bool:
        mount = mount_of(self.path, self.system)
        return mount is not None and mount.point == self.path


def is_ephemeral(root: Path) -> bool:
    """Whether the project in `root` means its state to be lost; `SettingsError` if one is wrong."""
    return load_settings(_FileSettings, root).storage_ephemeral
