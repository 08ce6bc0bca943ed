"""A project: its settings, store, scripts and plan, opened once for every command."""

import os
import stat
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mpt_tool.enums import MigrationStatusEnum, OutcomeEnum
from mpt_tool.errors import NoHistoryError, SettingsError, StorageError
from mpt_tool.process.log import get_log
from mpt_tool.records import Attempt, MigrationRecord
from mpt_tool.scripts import folder, plan
from mpt_tool.scripts.folder import Script
from mpt_tool.scripts.next_command import NextCommand, next_command
from mpt_tool.scripts.plan import Entry
from mpt_tool.scripts.syntax import checksum, read_syntax
from mpt_tool.scripts.targets import targets_in
from mpt_tool.settings import (
    PROJECT_FILE,
    Settings,
    load_settings,
    read_env_file,
    variable_names,
    variables,
    working_folder,
)
from mpt_tool.storage import open_repository
from mpt_tool.storage.local import STATE_FILE
from mpt_tool.storage.repository import (
    Holder,
    Snapshot,
    StateRepository,
    last_failure,
    newest_attempts,
)

log = get_log(__name__)


@dataclass(frozen=True)
class Project:
    """A project of an extension, opened by `open_project`.

    `folder` is that of the migrations: relative to the working folder where that is the root.
    `given_folder` is the same if it was given in place of the setting's.
    """

    root: Path
    folder: Path
    settings: Settings
    given_folder: Path | None = None

    @cached_property
    def repository(self) -> StateRepository:
        """The store that the settings name; `SettingsError` if one of them is wrong."""
        return open_repository(self.settings.storage_type, self.root)

    @property
    def name(self) -> str:
        """What the project calls itself in `pyproject.toml`, or else the name of its folder."""
        try:
            with (self.root / PROJECT_FILE).open("rb") as file:
                return str(tomllib.load(file)["project"]["name"])
        except (OSError, ValueError, TypeError, KeyError):
            return self.root.resolve().name

    def scripts(self) -> list[Script]:
        """Return the scripts in order of runs; `ScriptError` if a name leaves a doubt."""
        return folder.find_sound(self.folder, self.searched)

    def scripts_if_any(self) -> list[Script]:
        """Return all that the folder holds, in doubt or not; nothing if there is no folder."""
        return folder.find(self.folder) if os.path.lexists(self.folder) else []

    def strays(self) -> list[str]:
        """Return for each file what is odd that looks like a script but is not named like one."""
        return folder.strays(self.folder)

    @property
    def is_elsewhere(self) -> bool:
        """Whether the scripts are not where the settings lead to from the working folder."""
        return self.folder.is_absolute() or self.folder != self.settings.folder

    @property
    def searched(self) -> str:
        """Where migrations or state were searched in vain, for the end of a message."""
        if self.is_elsewhere or os.path.isdir(self.folder) or _is_marked(self.root):
            return ""
        nearest, *above = _searched(self.root)
        return f" (searched in {nearest}{f' and above, up to {above[-1]}' if above else ''})"

    def attempts(self) -> Iterable[Attempt]:
        """Return the history, the newest attempt first; nothing if the store keeps none."""
        try:
            return self.repository.attempts()
        except NoHistoryError as error:
            log.debug("%s", error)
            return []

    def attempts_if_any(self) -> Iterable[Attempt]:
        """Return the history; if it cannot be read, nothing, with a warning."""
        try:
            return self.attempts()
        except StorageError as error:
            log.warning("What was changed since it was applied cannot be told: %s", error)
            return []

    def last_failure(self) -> Attempt | None:
        """Return the newest attempt that failed, if there is any and the history can be read."""
        try:
            return last_failure(self.repository)
        except NoHistoryError as error:
            log.debug("%s", error)
        except StorageError as error:
            log.warning("What failed last cannot be told: %s", error)
        return None

    def store_notes(self, entries: Sequence[Entry], missing: Collection[str]) -> list[str]:
        """Return what the store lacks, of what is missing, that the migrations would use."""
        used = {"version"} if self.settings.service_version else set()
        pending = plan.pending(entries) if missing else []
        used |= {"checkpoint"} if any(entry.syntax.is_batch for entry in pending) else set()
        used |= {"targets"} if any(entry.syntax.targets for entry in pending) else set()
        return [
            f"the store has no column {column}, so that is not recorded; --init adds it"
            for column in sorted(used.intersection(missing))
        ]

    @cached_property
    def environment(self) -> Mapping[str, str]:
        """The variables that scripts find: those of the process, and what `.env` sets beside."""
        return {**read_env_file(self.root), **os.environ}

    def plan(
        self, scripts: Sequence[Script], snapshot: Snapshot, attempts: Iterable[Attempt] = ()
    ) -> list[Entry]:
        """Return the plan of scripts and records; imports no script.

        Args:
            scripts: what was found in the folder.
            snapshot: what is in the store.
            attempts: the history, the newest first, if what became of those that are applied is to
                be noted.
        """
        # Of those that are applied for whatever they are made for nothing is to be known.
        read = {
            script.migration_id: read_syntax(script.path, sums=bool(record and record.checkpoints))
            for script in scripts
            if not (record := snapshot.records.get(script.migration_id))
            or record.targets
            or not record.applied_at
        }
        targets = {
            migration_id: targets_in(syntax.targets, self.environment)
            for migration_id, syntax in read.items()
            if syntax.targets
        }
        records = {
            migration_id: record.over(targets.get(migration_id) or ())
            for migration_id, record in snapshot.records.items()
        }
        notes: dict[str, list[str]] = {key: [note] for key, note in snapshot.notes.items()}
        for migration_id, found in targets.items():
            if not (found or ((record := records.get(migration_id)) and record.applied_at)):
                listing = read[migration_id].targets
                notes.setdefault(migration_id, []).append(f"{listing} lists no target")
        newest, stopped = _ends(attempts)
        for script in scripts:
            of_targets = newest.get(script.migration_id)
            if of_targets and _is_changed(script, records.get(script.migration_id), of_targets):
                notes.setdefault(script.migration_id, []).append("changed since it was applied")
        outcomes = {
            migration_id: sum((Counter(each.outcomes) for each in of_targets), Counter[str]())
            for migration_id, of_targets in newest.items()
        }
        return plan.build(
            scripts, records, read, targets, notes, outcomes, stopped, snapshot.holder
        )

    def next_command(self, entries: Sequence[Entry], holder: Holder | None) -> NextCommand | None:
        """Return what to type next, of this plan and who holds the lock; None if nothing."""
        strays = () if entries else self.strays()
        return next_command(entries, holder, self.given_folder, strays)

    def told_ends(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries, of which those that failed tell whether they were stopped.

        Nothing is read if none failed; else the newest attempts alone, among which are those at
        what keeps others from their turn.
        """
        if not any(entry.status is MigrationStatusEnum.FAILED for entry in entries):
            return list(entries)
        try:
            _, stopped = _ends(newest_attempts(self.repository))
        except NoHistoryError as error:
            log.debug("%s", error)
            return list(entries)
        except StorageError as error:
            log.warning("Whether what failed was stopped cannot be told: %s", error)
            return list(entries)
        return [replace(each, stopped=stopped.get(each.migration_id, ())) for each in entries]

    def require_known(self, migration_id: str) -> None:
        """Raise `SelectionError` if no script, no record and no attempt has this id."""
        entries = self.plan(self.scripts_if_any(), self.repository.load())
        others = {entry.migration_id for entry in entries}
        others |= {attempt.migration_id for attempt in self.attempts()}
        if migration_id not in others:
            raise plan.unknown(migration_id, entries, others)


def open_project(root: Path, *, base: Path | None = None, given: Path | None = None) -> Project:
    """Return the project in a folder; `SettingsError` if a setting is wrong.

    Args:
        root: where its state, `.env` and `pyproject.toml` are.
        base: what the path of the migrations folder is to begin with; by default the root.
        given: the migrations folder, if it is to be another than the settings name.
    """
    settings = load_settings(Settings, root)
    folder = given or (root if base is None else base) / settings.folder
    return Project(root, folder, settings, given)


def find_root() -> Path:
    """Return the root of the project that the working folder belongs to.

    That is the nearest folder, from the working folder up, that holds the migrations, the state or
    the tool's table in `pyproject.toml`; the working folder itself if none does. The search ends at
    the root of a repository, and before a folder that is shared by all users, such as `/tmp`.
    Migrations that a folder above is configured with are the project of that one.
    """
    start = working_folder()
    candidates = list(_searched(start))
    for position, candidate in enumerate(candidates, start=1):
        if _has_table(candidate):
            return candidate
        found = _folder_in(candidate)
        if os.path.isdir(found):
            above = reversed(candidates[position:])
            return next((each for each in above if _is_configured_with(each, found)), candidate)
        if os.path.exists(candidate / STATE_FILE):
            return candidate
    return start


def _searched(start: Path) -> Iterator[Path]:
    """Yield the folders that may be the root, the nearest first."""
    for candidate in (start, *start.parents):
        if candidate != start and candidate.stat().st_mode & stat.S_ISVTX:
            return
        yield candidate
        if os.path.exists(candidate / ".git"):
            return


def _folder_in(candidate: Path) -> Path:
    """Return where the migrations of a folder would be.

    What the environment says of a place outside of the folder is no evidence for it.
    """
    name = variables(Settings, "folder")
    given = Path(os.environ.get(name, ""))
    is_within = given.parts and not given.is_absolute() and ".." not in given.parts
    return candidate / (given if is_within else read_env_file(candidate).get(name, "migrations"))


def _is_configured_with(candidate: Path, migrations: Path) -> bool:
    """Whether a folder has settings or the state, and this very folder of migrations."""
    ours = {name for field in Settings.model_fields for name in variable_names(Settings, field)}
    if not _is_marked(candidate) and ours.isdisjoint(read_env_file(candidate)):
        return False
    try:
        return migrations.samefile(candidate / load_settings(Settings, candidate).folder)
    except OSError:
        return False
    except SettingsError:
        # It is to be told.
        return True


def _is_marked(candidate: Path) -> bool:
    """Whether a folder has a table for the tool or the state."""
    return _has_table(candidate) or os.path.exists(candidate / STATE_FILE)


def _has_table(candidate: Path) -> bool:
    """Whether `pyproject.toml` has a table for the tool, or is broken, which is to be told."""
    try:
        with (candidate / PROJECT_FILE).open("rb") as file:
            tool = tomllib.load(file).get("tool")
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True
    return isinstance(tool, dict) and "mpt-tool" in tool


def _ends(
    attempts: Iterable[Attempt],
) -> tuple[dict[str, list[Attempt]], dict[str, list[str]]]:
    """Return how migrations ended that were attempted, each by migration id.

    Args:
        attempts: the history, the newest first.

    Returns:
        The last attempt for each target that applied it, newest first; and the targets whose last
        attempt of all was stopped, of a migration without targets the empty name.
    """
    newest: dict[str, dict[str, Attempt]] = {}
    last: dict[tuple[str, str], OutcomeEnum] = {}
    for attempt in attempts:
        migration_id, target = attempt.migration_id, attempt.target or ""
        # That some items were handled out of their turn leaves it as it was.
        if attempt.outcome is not OutcomeEnum.TRIED:
            last.setdefault((migration_id, target), attempt.outcome)
        if attempt.outcome in (OutcomeEnum.APPLIED, OutcomeEnum.FAKED):
            newest.setdefault(migration_id, {}).setdefault(target, attempt)
    stopped: dict[str, list[str]] = {}
    for (migration_id, target), outcome in last.items():
        if outcome is OutcomeEnum.STOPPED:
            stopped.setdefault(migration_id, []).append(target)
    return {migration_id: list(each.values()) for migration_id, each in newest.items()}, stopped


def _is_changed(script: Script, record: MigrationRecord | None, applied: Sequence[Attempt]) -> bool:
    """Whether a script is another than the one that was applied last."""
    known = applied[0].checksum
    is_applied = record is not None and record.applied_at is not None
    return is_applied and known is not None and known != checksum(script.path)
