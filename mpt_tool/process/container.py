"""Whether the process is in a container, and what outlasts that: the mounts."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_MOUNTS = "proc/self/mountinfo"
# What engines leave in a container, and the variable that Kubernetes sets in each.
_SIGNS = {"Docker": ".dockerenv", "Podman": "run/.containerenv"}
_KUBERNETES = "KUBERNETES_SERVICE_HOST"
_IN_MEMORY = ("tmpfs", "ramfs")
# A volume of Kubernetes that goes with the pod.
_OF_A_POD = "kubernetes.io~empty-dir"
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system as it is mounted.

    Args:
        point: where.
        source: which of its folders is seen there.
        kind: `ext4`, `tmpfs` and so on.
    """

    point: Path
    source: str
    kind: str

    @property
    def loss(self) -> str:
        """When all that is in it is lost; nothing if it outlasts a container."""
        if self.kind in _IN_MEMORY:
            return "in memory, and gone with the container"
        if _OF_A_POD in self.source:
            return "an emptyDir, and gone with the pod"
        if self.point == Path("/"):
            return "in the container itself, and gone with it"
        return ""


def container(environment: Mapping[str, str], root: Path = _ROOT) -> str:
    """Return what kind of container the process is in; nothing outside of any.

    Args:
        environment: its variables.
        root: of the file system in which engines leave their signs.
    """
    if _KUBERNETES in environment:
        return "Kubernetes"
    return next((name for name, sign in _SIGNS.items() if (root / sign).exists()), "")


def mount_of(path: Path, root: Path = _ROOT) -> Mount | None:
    """Return the mount that a path is in, or is; None if this system does not tell.

    Args:
        path: anywhere; what it names need not be there.
        root: of the file system in which the mounts are told.
    """
    try:
        lines = (root / _MOUNTS).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return innermost(map(parsed, lines.splitlines()), Path(os.path.realpath(path)))


def loss_of(path: Path, environment: Mapping[str, str], root: Path = _ROOT) -> str:
    """Return when what a path names is lost with the container; nothing if it outlasts it.

    Nor is anything lost where there is no container. The arguments are as above.
    """
    mount = mount_of(path, root) if container(environment, root) else None
    return mount.loss if mount else ""


def innermost(mounts: Iterable[Mount], path: Path) -> Mount | None:
    """Return that mount of those above a path, or at it, which is the last to hide the others."""
    found = None
    for mount in mounts:
        is_above = path == mount.point or mount.point in path.parents
        if is_above and (found is None or len(mount.point.parts) >= len(found.point.parts)):
            found = mount
    return found


def parsed(line: str) -> Mount:
    """Return the mount that a line of `/proc/self/mountinfo` is about."""
    about, _, kind = line.partition(" - ")
    source, point = (_ESCAPED.sub(_unescaped, part) for part in about.split()[3:5])
    return Mount(Path(point), source, kind.split()[0])


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
