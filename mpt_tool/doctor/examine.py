"""Looks at all subjects, at what is far away side by side, and ends within seconds."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from mpt_tool.checks import Check, Checked, doubtful, right, wrong
from mpt_tool.doctor.machine import checks_of_machine
from mpt_tool.doctor.notifications import checks_of_notifications
from mpt_tool.doctor.platform import checks_of_platform
from mpt_tool.doctor.settings import checks_of_files, checks_of_settings
from mpt_tool.doctor.sources import find_values
from mpt_tool.doctor.versions import checks_of_versions
from mpt_tool.errors import MptToolError, ScriptError, SettingsError
from mpt_tool.process.signals import start_aside
from mpt_tool.project import Project
from mpt_tool.scripts.check import check
from mpt_tool.scripts.folder import find
from mpt_tool.settings import Settings
from mpt_tool.storage import settings_of
from mpt_tool.wording import so_many

# For the store and the platform, whatever becomes of the network.
LIMIT_SECONDS = 12.0

_FIRST_THE_SETTINGS = "Correct the settings that are wrong, then look again"

type Look = Callable[[], Iterable[Check]]


def examine(root: Path, opened: Callable[[], Project]) -> Mapping[str, Sequence[Check]]:
    """Return what is right and what is wrong, by subject; writes nothing, imports no script.

    Args:
        root: the project's root, which is the working folder.
        opened: returns the project; `SettingsError` if a setting is wrong.
    """
    ends_at = time.monotonic() + LIMIT_SECONDS
    far = {
        "store": _begun(partial(_store, opened)),
        "platform": _begun(partial(checks_of_platform, root)),
    }
    near: dict[str, Look] = {
        "project": partial(_project, root, opened),
        "settings": partial(_settings, root),
        "machine": partial(checks_of_machine, root),
        "versions": checks_of_versions,
    }
    found = {subject: list(look()) for subject, look in near.items()}
    found |= {subject: list(_arrived(checks, ends_at)) for subject, checks in far.items()}
    # What is least likely to be wrong comes first: the end stays on the screen.
    order = ("versions", "machine", "project", "settings", "store", "platform")
    return {subject: found[subject] for subject in order}


def storage_type(root: Path) -> str:
    """Return which store is named, whatever else is wrong with the settings."""
    default = str(Settings.model_fields["storage_type"].default)
    found = find_values(Settings, root)["storage_type"]
    return str(found[0].value).strip() if found else default


def _settings(root: Path) -> Iterator[Check]:
    yield from checks_of_settings(root, storage_type(root))
    yield from checks_of_notifications(root)


def _project(root: Path, opened: Callable[[], Project]) -> Iterator[Check]:
    """Yield the root, the files of settings, and the folder of the migrations."""
    yield right("root", str(root))
    yield from checks_of_files(root, storage_type(root))
    try:
        project = opened()
    except SettingsError:
        yield doubtful("migrations", "not looked for", _FIRST_THE_SETTINGS)
        return
    yield _folder(project)
    for stray in project.strays():
        yield doubtful("file", stray, "Rename it; or leave it, if it is no migration")


def _folder(project: Project) -> Check:
    """Return how it is with the folder of the migrations, and with the scripts in it."""
    folder = project.folder
    try:
        scripts = find(folder, project.searched)
    except ScriptError as error:
        advice = "Let this user read it"
        if not folder.is_dir():
            advice = "Change to the project's root, or set MPT_TOOL_FOLDER; or create a migration:"
            advice = f"{advice} mpt-tool migrate --new-data NAME"
        return wrong("migrations", str(error), advice)
    try:
        project.scripts()
    except ScriptError as error:
        advice = "Rename the file; mpt-tool migrate --check names each that is to be renamed"
        return wrong("migrations", str(error), advice)
    if findings := len(check(scripts)):
        advice = "Look at what is wrong with them: mpt-tool migrate --check"
        objections = f"{findings} {'objection' if findings == 1 else 'objections'}"
        return doubtful("migrations", f"{folder}, {objections}", advice)
    if not scripts:
        advice = "Create one: mpt-tool migrate --new-data NAME"
        return doubtful("migrations", f"{folder} holds no migration", advice)
    count = f"{len(scripts)} {'script' if len(scripts) == 1 else 'scripts'}"
    return right("migrations", f"{folder}, {count}")


def _store(opened: Callable[[], Project]) -> Iterator[Check]:
    """Yield what the store tells of itself; of one that does not, whether it can be read."""
    name = ""
    try:
        project = opened()
        name = project.settings.storage_type
        store = project.repository
    except SettingsError as error:
        if name and settings_of(name) is None:
            yield wrong("store", str(error), "Correct it, or install what brings that store")
        else:
            # The lines of the settings say it.
            yield doubtful("store", "not opened", _FIRST_THE_SETTINGS)
        return
    yield right("store", name)
    if isinstance(store, Checked):
        yield from store.checks()
        return
    try:
        count = len(store.load().records)
    except MptToolError as error:
        yield wrong("state", str(error), "Ask those who made this store")
    else:
        yield right("state", so_many(count, "record"))


def _begun(look: Look) -> SimpleQueue[Check | None]:
    """Begin to look, in a thread that nothing waits for, and return where the checks arrive.

    None comes last. Not by an executor: the end of the process would wait for its threads.
    """
    arriving = SimpleQueue[Check | None]()

    def work() -> None:
        try:
            for each in look():
                arriving.put(each)
        except Exception as error:  # noqa: BLE001 - a store may be anybody's
            told = f"{type(error).__name__}: {error}"
            arriving.put(wrong("examination", told, "It ended here: tell those who made it"))
        arriving.put(None)

    start_aside(Thread(target=work, daemon=True))
    return arriving


def _arrived(arriving: SimpleQueue[Check | None], ends_at: float) -> Iterator[Check]:
    """Yield what arrives until then."""
    while True:
        try:
            check = arriving.get(timeout=max(0, ends_at - time.monotonic()))
        except Empty:
            advice = "Check the network, name servers and proxies"
            yield wrong("answer", f"none within {LIMIT_SECONDS:.0f} s", advice)
            return
        if check is None:
            return
        yield check
