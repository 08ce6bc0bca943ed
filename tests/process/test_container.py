"""What outlasts a container, by the mounts that the system tells."""

from pathlib import Path

import pytest

from mpt_tool.process.container import innermost, parsed

POD = "/var/lib/kubelet/pods/1f2e/volumes"
MOUNTS = f"""\
27 1 254:0 / / rw,relatime - overlay overlay rw,lowerdir=/a
28 27 254:1 /data /app rw,relatime shared:1 - ext4 /dev/sdb rw
29 28 0:21 / /app/cache rw - tmpfs tmpfs rw
30 27 254:1 {POD}/kubernetes.io~empty-dir/state /state rw - ext4 /dev/sda rw
31 27 0:50 / /with\\040blank rw - nfs4 server:/export rw
32 27 254:0 /hidden /twice rw - ext4 /dev/sdc rw
33 27 0:22 / /twice rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "point", "word"),
    [
        ("/srv", "/", "in the container itself"),
        ("/app", "/app", ""),
        ("/app/migrations", "/app", ""),
        ("/application", "/", "in the container itself"),
        ("/app/cache/a", "/app/cache", "in memory"),
        ("/state", "/state", "with the pod"),
        ("/with blank/a", "/with blank", ""),
        ("/twice/a", "/twice", "in memory"),
    ],
)
def test_the_mount_that_a_path_is_in_tells_what_becomes_of_it(
    path: str, point: str, word: str
) -> None:
    mount = innermost(map(parsed, MOUNTS.splitlines()), Path(path))

    assert mount
    assert mount.point == Path(point)
    assert word in mount.loss
    assert bool(word) is bool(mount.loss)
