"""A local state in a container: whether it outlasts that is told before anything is done."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.project import COMMAND, HISTORY_FILE, LOCK_FILE, STATE_FILE, Project, Result, record

from mpt_tool.errors import StorageError
from mpt_tool.process.container import loss_of
from mpt_tool.storage.local import LocalRepository

IN_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "STORAGE_EPHEMERAL": "false"}
IN_THE_CONTAINER = "in the container itself, and gone with it"
ALONE = "is mounted as a single file: what belongs beside it, such as the lock, would be"
BATCH = """
from mpt_tool.migration import BatchDataMigration
class Migration(BatchDataMigration):
    def items(self, after):
        return range(after or 0, 3)
    def cursor(self, item):
        return item + 1
    def find(self, cursor):
        return cursor - 1
    def process(self, item):
        pass
"""


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """The root of a file system that tells it is a container without any volume."""
    return told_system(tmp_path / "system", "/ / rw - overlay overlay rw")


def told_system(root: Path, *mounts: str) -> Path:
    """Write what the system and Docker tell in a container with these mounts."""
    lines = "".join(f"{number} 1 0:1 {each}\n" for number, each in enumerate(mounts))
    table = root / "proc/self/mountinfo"
    table.parent.mkdir(parents=True)
    table.write_text(lines)
    (root / ".dockerenv").touch()
    return root


@pytest.mark.parametrize("sign", [".dockerenv", "run/.containerenv", "KUBERNETES_SERVICE_HOST"])
def test_a_container_is_known_by_its_signs_and_what_is_in_it_is_lost(
    system: Path, sign: str
) -> None:
    environment = {sign: "10.0.0.1"} if sign.isupper() else {}
    (system / ".dockerenv").unlink()
    assert loss_of(Path("/app/state"), {}, system) == ""

    if not environment:
        (system / sign).parent.mkdir(exist_ok=True)
        (system / sign).touch()

    assert loss_of(Path("/app/state"), environment, system) == IN_THE_CONTAINER


def test_whoever_writes_is_told_unless_it_is_meant(tmp_path: Path, system: Path) -> None:
    [warning] = LocalRepository(tmp_path, system=system).warnings()

    assert warning.startswith(f"The state {tmp_path / STATE_FILE} is {IN_THE_CONTAINER}: ")
    assert not LocalRepository(tmp_path, system=system, is_ephemeral=True).warnings()


def test_a_state_on_a_volume_is_not_warned_of(tmp_path: Path) -> None:
    volume = f"/data {tmp_path} rw - ext4 /dev/sdb rw"
    system = told_system(tmp_path / "system", "/ / rw - overlay overlay rw", volume)

    assert not LocalRepository(tmp_path, system=system).warnings()


@pytest.mark.parametrize("is_ephemeral", [False, True])
def test_a_state_file_that_is_a_mount_is_refused(tmp_path: Path, is_ephemeral: bool) -> None:
    file = f"/data/state.json {tmp_path / STATE_FILE} rw - ext4 /dev/sdb rw"
    system = told_system(tmp_path / "system", "/ / rw - overlay overlay rw", file)
    repository = LocalRepository(tmp_path, system=system, is_ephemeral=is_ephemeral)

    with pytest.raises(StorageError, match=ALONE):
        repository.warnings()


def test_a_file_of_sqlite_is_as_lost_as_that_of_the_local_store(project: Project) -> None:
    project.script("first")
    environment = IN_POD | {"STORAGE_TYPE": "sql", "STORAGE_DATABASE_URL": "sqlite:///state.db"}

    created, ran = (
        project.run("migrate", action, env=environment) for action in ("--init", "--data")
    )
    examined = project.run("doctor", env=environment)

    for result in (created, ran):
        assert result.exit_code == 0
        assert f"{project.root / 'state.db'} is {IN_THE_CONTAINER}" in result.stderr.splitlines()[0]
    assert re.search(rf"wrong +mount: {project.root} is {IN_THE_CONTAINER}", examined.stdout)


@pytest.mark.parametrize(
    "command",
    ["migrate --data", "migrate --fake first", "batch second --only 1", "migrate --init"],
)
def test_every_command_that_writes_says_first_that_the_state_is_lost(
    project: Project, command: str
) -> None:
    project.script("first", body="self.log.info('first runs')")
    project.file("migrations/2_second.py", BATCH)

    result = project.run(*command.split(), env=IN_POD)

    assert result.exit_code == 0, result
    first, *others = result.stderr.splitlines()
    assert f" - WARNING - The state {project.state_file} is " in first
    assert f"{IN_THE_CONTAINER}: whatever is applied would run again. Mount a volume" in first
    assert IN_THE_CONTAINER not in "".join(others)


def test_a_run_that_may_wait_and_finds_nothing_pending_says_it_too(project: Project) -> None:
    project.script("first")
    project.write_state(record("first", started_at="2026-01-13", applied_at="2026-01-13"))

    result = project.run("migrate", "--data", "--wait", "5", env=IN_POD)

    assert result.exit_code == 0
    assert result.stderr.count(IN_THE_CONTAINER) == 1


def test_commands_that_read_say_nothing_of_it(project: Project) -> None:
    project.script("first")

    for command in ("migrate --list", "status", "pending", "history", "migrate --data --dry-run"):
        assert IN_THE_CONTAINER not in project.run(*command.split(), env=IN_POD).stderr


@pytest.mark.parametrize("is_meant", [False, True])
def test_a_strict_check_objects_to_a_state_that_is_lost(project: Project, is_meant: bool) -> None:
    project.script("first")
    meant = {"STORAGE_EPHEMERAL": str(is_meant)}

    strict = project.run("migrate", "--check", "--strict", "--json", env=IN_POD | meant)
    plain = project.run("migrate", "--check", env=IN_POD)

    objections = [each for each in strict.json()["findings"] if each["file"] == "store"]
    assert (strict.exit_code, len(objections)) == ((0, 0) if is_meant else (1, 1))
    assert is_meant or IN_THE_CONTAINER in objections[0]["message"]
    assert plain.exit_code == 0


def mounted(project: Project, mount: str, *arguments: str) -> Result:
    """Run the command in a container in which something was mounted first."""
    command = shlex.join([COMMAND, *arguments])
    # Out of the folder and in again: in it, what was there before would be seen.
    typed = f"mount {mount} && cd / && cd {project.root} && exec {command}"
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or project.execute([*isolated, f"mount {mount}"]).exit_code:
        pytest.skip("this system lets nobody mount anything")
    return project.execute([*isolated, typed], env=IN_POD)


def test_a_folder_that_is_mounted_holds_the_state_by_a_link(project: Project) -> None:
    project.script("first")
    project.file("elsewhere/.keep", "")
    (project.root / "volume").mkdir()
    project.state_file.symlink_to(f"volume/{STATE_FILE}")

    result = mounted(project, "--bind elsewhere volume", "migrate", "--data")

    assert result.exit_code == 0, result
    assert "WARNING" not in result.stderr
    kept = {each.name for each in (project.root / "elsewhere").iterdir()}
    assert kept >= {STATE_FILE, HISTORY_FILE, LOCK_FILE}


def test_a_state_file_that_is_really_mounted_is_read_but_not_written(project: Project) -> None:
    project.script("first", body="print('ran')")
    project.write_state()
    project.file("elsewhere.json", "{}")
    bind = f"--bind elsewhere.json {STATE_FILE}"

    ran, shown, checked = (
        mounted(project, bind, *words.split())
        for words in ("migrate --data", "migrate --list", "migrate --check --strict")
    )

    assert (ran.exit_code, shown.exit_code, checked.exit_code) == (1, 0, 1)
    assert f"Error running data command: {project.state_file} {ALONE}" in ran.stderr
    assert "Mount a folder, and let it be a link into that\n" in ran.stderr
    assert "ran" not in ran.stdout.splitlines()
    assert (project.root / "elsewhere.json").read_text() == "{}"
    assert ALONE in checked.stderr
