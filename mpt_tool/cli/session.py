"""One call of the command: its streams and signals, and what its errors become."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mpt_tool.enums import MigrationTypeEnum
from mpt_tool.errors import (
    ExitCode,
    MptToolError,
    ScriptFailedError,
)
from mpt_tool.project import Project
from mpt_tool.wording import printable, printable_lines

if TYPE_CHECKING:
    from mpt_tool.records import Origin
    from mpt_tool.redaction import Redact
    from mpt_tool.runner.context import Context, Reporter


def _redact_environment() -> "Redact":
    from mpt_tool.redaction import make_redact, secrets_in
    from mpt_tool.settings import read_env_file

    return make_redact(secrets_in({**read_env_file(Path()), **os.environ}))


@dataclass(frozen=True, slots=True)
class Output:
    """How much a command writes, in which form, and what hides secrets in it."""

    as_json: bool
    verbose: bool
    quiet: bool
    redact: "Redact" = field(default_factory=_redact_environment)

    @property
    def log_level(self) -> int:
        """The level from which on events are logged."""
        if self.verbose:
            return logging.DEBUG
        return logging.WARNING if self.quiet else logging.INFO

    def say(self, message: str) -> None:
        """Write a message for people."""
        if not (self.as_json or self.quiet):
            typer.echo(printable(self.redact(message)))


@contextmanager
def action(command: str, output: Output) -> Iterator[Project]:
    """Set up what an action needs, and turn an error of ours into messages and an exit code.

    Raises:
        typer.Exit: the action failed; the messages are written.
    """
    from mpt_tool.process.signals import Stop
    from mpt_tool.settings import Settings, load_settings, working_folder
    from mpt_tool.view.logs import start_logs, teller

    redact, stop = output.redact, Stop(teller())
    try:
        with stop.listening():
            start_logs(output.log_level, redact)
            root = working_folder()
            yield Project(root, load_settings(Settings, root), redact, stop)
    except MptToolError as error:
        from mpt_tool.view import tables

        if isinstance(error, ScriptFailedError) and error.__cause__:
            from mpt_tool.clients.releases import hint_at_release
            from mpt_tool.process.tracebacks import script_traceback

            told = printable_lines(redact(script_traceback(error.__cause__)))
            typer.echo(told, err=True, nl=False)
            if hint := hint_at_release(error.__cause__):
                typer.echo(hint, err=True)
        if output.as_json:
            tables.json_document(command, {"error": redact(str(error))}, sys.stdout)
        message = redact(f"Error running {command} command: {error}")
        typer.echo(printable(message), err=True)
        typer.echo("Aborted.", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("Aborted.", err=True)
        raise typer.Exit(stop.cause.exit_code if stop.cause else ExitCode.INTERRUPTED) from None


def now() -> datetime:
    """Return the moment, in UTC."""
    return datetime.now(UTC)


def make_origin(project: Project) -> "Origin":
    """Return who makes a change: a run of its own, of this process."""
    import getpass
    import platform
    from importlib.metadata import version

    from mpt_tool.records import Origin

    redact, service_version = project.redact, project.settings.service_version
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container may run as a user that has no name.
        user = str(os.getuid())
    return Origin(
        run_id=os.urandom(6).hex(),
        user=redact(user),
        host=redact(platform.node()),
        process=os.getpid(),
        version=redact(service_version) if service_version else service_version,
        tool_version=version("mpt-tool"),
    )


def make_context(project: Project, reporter: "Reporter") -> "Context":
    """Return what a run needs of the world around it."""
    from mpt_tool.runner.context import Context

    settings = project.settings
    limits = {
        MigrationTypeEnum.DATA: settings.data_time_limit,
        MigrationTypeEnum.SCHEMA: settings.schema_time_limit,
    }
    origin = make_origin(project)
    return Context(origin, now, project.redact, project.stop, limits, reporter)
