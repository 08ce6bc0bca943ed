"""One call of the command: its streams and signals, and what its result and its errors become."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import (
    FAILURES_PAGE,
    ExitCode,
    MptToolError,
    ScriptFailedError,
    SeveralFailedError,
)
from mpt_tool.process.signals import Stop
from mpt_tool.project import Project, find_root, open_project
from mpt_tool.records import Origin
from mpt_tool.redaction import Redact, make_redact, secrets_in
from mpt_tool.settings import read_env_file, working_folder
from mpt_tool.view import documents, text
from mpt_tool.view.logs import start_logs, teller
from mpt_tool.view.results import Result
from mpt_tool.wording import LONGEST_REPEATED, printable, printable_lines, shortened

if TYPE_CHECKING:
    from mpt_tool.runner.context import Context, Reporter


@dataclass(frozen=True, kw_only=True)
class Output:
    """How much a command writes, and in which form: a field for each option."""

    as_json: bool = False
    as_csv: bool = False
    verbose: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Session:
    """A command at work: in which project, how it is to write, what stops it."""

    command: str
    project: Project
    output: Output
    redact: Redact
    stop: Stop

    def write(self, result: Result) -> None:
        """Write what the command came to, in the form that was asked for, and end it.

        It ends by the failure, unless a document tells that, or `typer.Exit` if the code is not 0.
        """
        exit_code = result.failure.exit_code if result.failure else result.exit_code
        if self.output.as_json:
            documents.write_json(self.command, documents.document(result.content), sys.stdout)
        elif self.output.as_csv:
            documents.write_csv(result.content, sys.stdout)
        else:
            text.write(result.content, sys.stdout)
            # Before what goes to stderr, where both end in one log.
            sys.stdout.flush()
            for message in result.said:
                _say(message, self.output, self.redact)
            if result.failure:
                raise result.failure
        if exit_code:
            raise typer.Exit(exit_code)

    def lock(self, wait: float | None) -> AbstractContextManager[None]:
        """Return a context that holds the store's lock, for which it waits so many seconds."""
        return self.project.repository.lock(self.origin, wait or 0, self.stop.lose_lock)

    def context(self, reporter: "Reporter") -> "Context":
        """Return what a run needs of the world around it."""
        from mpt_tool.runner.context import Context

        settings = self.project.settings
        limits = {
            MigrationTypeEnum.DATA: settings.data_time_limit,
            MigrationTypeEnum.SCHEMA: settings.schema_time_limit,
        }
        return Context(self.origin, now, self.redact, self.stop, limits, reporter)

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
            level = logging.WARNING if output.quiet else logging.INFO
            start_logs(logging.DEBUG if output.verbose else level, redact)
            yield Session(command, open_project(root, base=base, given=given), output, redact, stop)
    except MptToolError as error:
        _write_error(command, error, output, redact)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Aborted.", err=True)
        raise typer.Exit(stop.cause.exit_code if stop.cause else ExitCode.INTERRUPTED) from None


def now() -> datetime:
    """Return the moment, in UTC."""
    return datetime.now(UTC)


def _say(message: str, output: Output, redact: Redact) -> None:
    """Write a message for people."""
    if not (output.as_json or output.as_csv or output.quiet):
        typer.echo(printable(redact(message)))


def _write_error(command: str, error: MptToolError, output: Output, redact: Redact) -> None:
    message = reason = redact(str(error))
    if isinstance(error, ScriptFailedError | SeveralFailedError) and error.__cause__:
        from mpt_tool.clients.releases import hint_at_release
        from mpt_tool.process.tracebacks import script_traceback

        told = printable_lines(redact(script_traceback(error.__cause__)))
        typer.echo(told, err=True, nl=False)
        reason = shortened(message, LONGEST_REPEATED)
        if hint := hint_at_release(error.__cause__):
            typer.echo(hint, err=True)
    if output.as_json:
        documents.write_json(command, {"error": message}, sys.stdout)
    if error.topic:
        typer.echo(f"More about this: {FAILURES_PAGE}#{error.topic}", err=True)
    typer.echo(printable(f"Error running {command} command: {reason}"), err=True)
    typer.echo("Aborted.", err=True)
