"""One call of the command: its streams and signals, and what its result and its errors become."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mpt_tool.enums import LogFormatEnum, MigrationTypeEnum
from mpt_tool.errors import (
    ExitCode,
    LockedError,
    MptToolError,
    ScriptFailedError,
    SettingsError,
    SeveralFailedError,
    StoppedError,
)
from mpt_tool.process.log import get_log
from mpt_tool.process.signals import Stop
from mpt_tool.project import Project, find_root, open_project
from mpt_tool.records import Origin
from mpt_tool.redaction import Redact, make_redact, secrets_in
from mpt_tool.settings import DASK, read_env_file, working_folder
from mpt_tool.storage.repository import StateRepository, Stoppable, warnings_of
from mpt_tool.view import documents, text
from mpt_tool.view.logs import start_logs, teller
from mpt_tool.view.pipelines import Mark, Pipeline, code_quality, marks_of, pipeline_in
from mpt_tool.view.results import Findings, Result
from mpt_tool.wording import LONGEST_REPEATED, printable, printable_lines, shortened

log = get_log(__name__)

if TYPE_CHECKING:
    from mpt_tool.reporting import Reporter
    from mpt_tool.runner.context import Context


@dataclass(frozen=True, kw_only=True)
class Output:
    """How much a command writes, and in which form: a field for each option."""

    as_json: bool = False
    as_csv: bool = False
    as_code_quality: bool = False
    verbose: bool = False
    quiet: bool = False
    no_annotations: bool = False
    log_format: LogFormatEnum | None = None

    @property
    def is_document(self) -> bool:
        """Whether stdout is for programs, so that nothing else may be on it."""
        return self.as_json or self.as_csv or self.as_code_quality

    @property
    def logs_json(self) -> bool:
        """Whether each line of the log, errors among them, is a JSON object."""
        return self.log_format is LogFormatEnum.JSON

    @property
    def pipeline(self) -> Pipeline | None:
        """The pipeline that the command runs in, if it is to mark and fold its log."""
        return None if self.no_annotations or self.logs_json else pipeline_in(os.environ)


@dataclass(frozen=True)
class Session:
    """A command at work: in which project, how it is to write, what stops it.

    `opened` is the project, or what is wrong with its settings.
    """

    command: str
    root: Path
    opened: Project | SettingsError
    output: Output
    redact: Redact
    stop: Stop

    @property
    def project(self) -> Project:
        """The project; `SettingsError` if a setting is wrong."""
        if isinstance(self.opened, SettingsError):
            raise self.opened
        return self.opened

    @cached_property
    def store(self) -> StateRepository:
        """The project's store, to be written to: what has to be known of it first is logged.

        `SettingsError` if a setting is wrong, `StorageError` if it cannot be written to.
        """
        repository = self.project.repository
        self.warn_of(repository)
        return repository

    def warn_of(self, repository: StateRepository) -> None:
        """Log what has to be known of a store first; `StorageError` if it cannot be written to."""
        for warning in warnings_of(repository):
            log.warning("%s", warning)

    def write(self, result: Result) -> None:
        """Write what the command came to, in the form that was asked for, and end it.

        The failure comes after what is reported, and before what is said besides.

        Raises:
            typer.Exit: the exit code is not 0.
        """
        exit_code = result.failure.exit_code if result.failure else result.exit_code
        if self.output.as_json:
            documents.write_json(self.command, documents.document(result.content), sys.stdout)
        elif self.output.as_csv:
            documents.write_csv(result.content, sys.stdout)
        elif self.output.as_code_quality:
            pipeline = pipeline_in(os.environ)
            checkout = pipeline.checkout if pipeline else self.project.root
            typer.echo(json.dumps(code_quality(self._marks(result), checkout), indent=2))
        else:
            text.write(result.content, sys.stdout)
            # Before what goes to stderr, where both end in one log.
            sys.stdout.flush()
            if self.output.pipeline:
                self.output.pipeline.write(self._marks(result), sys.stderr)
            if result.failure:
                folder = self.project.folder.absolute()
                _write_error(self.command, result.failure, self.output, self.redact, folder)
            for message in result.said:
                _say(message, self.output, self.redact)
        if exit_code:
            raise typer.Exit(exit_code)

    def _marks(self, result: Result) -> list[Mark]:
        found = result.content.findings if isinstance(result.content, Findings) else ()
        return marks_of(found, self.project.folder)

    def lock(self, wait: float | None) -> AbstractContextManager[None]:
        """Return a context that holds the lock of the project's store, as `lock_of` does."""
        return self.lock_of(self.store, wait)

    @contextmanager
    def lock_of(self, repository: StateRepository, wait: float | None) -> Iterator[None]:
        """Hold a store's lock, for which it waits so many seconds, and stop if that is asked."""
        with ExitStack() as held:
            held.enter_context(repository.lock(self.origin, wait or 0, self.stop.lose_lock))
            if isinstance(repository, Stoppable):
                held.enter_context(self.stop.asked_by(repository.is_asked_to_stop))
            yield

    def observed(
        self, command: str, shown: "Reporter", *, just_looks: bool = False
    ) -> AbstractContextManager["Reporter"]:
        """Return a context in which a run goes on, with the reporter to tell of it.

        Args:
            command: what runs migrations, as it was typed.
            shown: what shows it here.
            just_looks: whether it changes nothing, so that nobody is notified.
        """
        from mpt_tool.observers import observing
        from mpt_tool.observers.whereabouts import Whereabouts
        from mpt_tool.reporting import Run

        project, origin = self.project, self.origin
        where = Whereabouts(project.name, project.root, origin)
        run, settings = Run(command, just_looks), project.settings
        return observing(run, shown, settings, os.environ, where, self.redact, self._advice)

    def _advice(self) -> str:
        """Return what to type next after the run; nothing if the store does not tell now."""
        # Of its own: what it reads does not mix with what the run saves.
        project = replace(self.project)
        try:
            snapshot = project.repository.load()
            entries = project.told_ends(project.plan(project.scripts_if_any(), snapshot))
        except MptToolError:
            return ""
        return str(project.next_command(entries, snapshot.holder) or "")

    def context(self, reporter: "Reporter") -> "Context":
        """Return what a run needs of the world around it."""
        from mpt_tool.runner.context import Context

        settings = self.project.settings
        limits = {
            MigrationTypeEnum.DATA: settings.data_time_limit,
            MigrationTypeEnum.SCHEMA: settings.schema_time_limit,
        }
        return Context(
            self.origin,
            now,
            self.redact,
            self.stop,
            limits,
            reporter,
            batch_executor=settings.batch_executor.removeprefix(DASK),
        )

    @cached_property
    def origin(self) -> Origin:
        """Who makes a change: a run of its own, of this process."""
        import getpass
        import platform
        from importlib.metadata import version

        service_version = self.project.settings.service_version
        try:
            user = getpass.getuser()
        except (ImportError, KeyError, OSError):
            # A container may run as a user that has no name.
            user = str(os.getuid())
        return Origin(
            run_id=os.urandom(6).hex(),
            user=self.redact(user),
            host=self.redact(platform.node()),
            process=os.getpid(),
            version=service_version and self.redact(service_version),
            tool_version=version("mpt-tool"),
        )


@contextmanager
def session(
    command: str, output: Output, announcement: str, folder: Path | None
) -> Iterator[Session]:
    """Return a context in which a command works, in the root of the project.

    An error of ours becomes messages and, by `typer.Exit`, an exit code.

    Args:
        command: what messages call it.
        output: how it is to write.
        announcement: what is said for people before anything else.
        folder: the migrations folder, if it is to be another than the settings name.
    """
    redact, stop = make_redact(secrets_in(os.environ)), Stop(teller())
    migrations: Path | None = None
    try:
        root = find_root()
        redact = make_redact(secrets_in({**read_env_file(root), **os.environ}))
        if announcement:
            _say(announcement, output, redact)
        base = Path() if root == working_folder() else root
        given = folder.absolute() if folder and base == root else folder
        # Scripts find what they find when the command is typed in the root.
        os.chdir(root)
        with stop.listening():
            opened, log_format = _open(root, base, given), LogFormatEnum.TEXT
            if isinstance(opened, Project):
                migrations, log_format = opened.folder.absolute(), opened.settings.log_format
            output = replace(output, log_format=output.log_format or log_format)
            level = logging.WARNING if output.quiet else logging.INFO
            assert output.log_format
            start_logs(logging.DEBUG if output.verbose else level, redact, output.log_format)
            yield Session(command, root, opened, output, redact, stop)
    except MptToolError as error:
        _write_error(command, error, output, redact, migrations)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Aborted.", err=True)
        raise typer.Exit(stop.cause.exit_code if stop.cause else ExitCode.INTERRUPTED) from None


def _open(root: Path, base: Path, given: Path | None) -> Project | SettingsError:
    """Return the project, or what is wrong with its settings, which only the doctor looks past."""
    try:
        return open_project(root, base=base, given=given)
    except SettingsError as error:
        return error


def now() -> datetime:
    """Return the moment, in UTC."""
    return datetime.now(UTC)


def _say(message: str, output: Output, redact: Redact) -> None:
    """Write a message for people."""
    if not (output.is_document or output.quiet):
        typer.echo(printable(redact(message)))


def _write_error(
    command: str, error: MptToolError, output: Output, redact: Redact, migrations: Path | None
) -> None:
    """Write an error in the form of the output, and where it arose in the folder of migrations.

    A stop that was asked for and cost nothing is told as what it is.
    """
    message = reason = redact(str(error))
    traceback, hints = "", list[str]()
    if isinstance(error, ScriptFailedError | SeveralFailedError) and error.__cause__:
        from mpt_tool.clients.releases import hint_at_release
        from mpt_tool.process.tracebacks import script_traceback

        traceback = redact(script_traceback(error.__cause__))
        reason = shortened(message, LONGEST_REPEATED)
        hints += [hint] if (hint := hint_at_release(error.__cause__)) else []
    if output.as_json:
        documents.write_json(command, {"error": message}, sys.stdout)
    if error.topic:
        hints.append(f"More about this: mpt-tool explain {error.topic}")
    is_stop = isinstance(error, StoppedError) and error.is_asked_for
    ended = reason if is_stop else f"Error running {command} command: {reason}"
    if output.logs_json:
        level = logging.INFO if is_stop else logging.ERROR
        log.log(level, "%s", ". ".join([ended, *hints]), extra={"traceback": traceback})
        return
    if traceback:
        with output.pipeline.taken_literally(sys.stderr) if output.pipeline else nullcontext():
            typer.echo(printable_lines(traceback), err=True, nl=False)
    for hint in hints:
        typer.echo(hint, err=True)
    if output.pipeline:
        output.pipeline.write(_marks(error, message, migrations), sys.stderr)
    typer.echo(printable(ended), err=True)
    if not is_stop:
        typer.echo("Aborted.", err=True)
    if error.then:
        _say(f"Next: {error.then}", output, redact)


def _marks(error: MptToolError, message: str, migrations: Path | None) -> list[Mark]:
    """Return what a pipeline is to show of an error; a warning, where it only has to go on."""
    from mpt_tool.process.tracebacks import places_in

    goes_on = isinstance(error, StoppedError | LockedError)
    is_error = not (goes_on and error.exit_code == ExitCode.TRY_LATER)
    places = places_in(error, migrations) if migrations else []
    if not places:
        return [Mark(message, is_error=is_error)]
    return [Mark(message, *place, is_error=is_error) for place in places]
