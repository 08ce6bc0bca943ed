"""`mpt-tool status`: what goes on now, on one screen."""

import sys
from typing import TYPE_CHECKING

from mpt_tool.cli.command import command
from mpt_tool.cli.options import Rules
from mpt_tool.errors import ExitCode
from mpt_tool.process.signals import Interrupted
from mpt_tool.view.results import Result, Status

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session
    from mpt_tool.project import Project

RULES = Rules(excluding=[("--watch", "--json")])
WATCH = "show it anew every few seconds, until Ctrl-C."
# Between two looks: at files, or by a handful of requests.
_LOOK_SECONDS, _LOOK_SECONDS_BY_REQUEST = 2.0, 10.0


@command(RULES)
def status(session: "Session", watch: bool = RULES.flag("--watch", WATCH)) -> Result:
    """Show what runs, how far it is, and what to type next."""
    if watch:
        _watch(session)
        return Result()
    return Result(_look(session.project))


def _look(project: "Project") -> Status:
    """Return what goes on now."""
    from mpt_tool.cli.session import now

    snapshot = project.repository.load()
    entries = project.told_ends(project.plan(project.scripts_if_any(), snapshot))
    next_ = project.next_command(entries, snapshot.holder)
    return Status(now(), snapshot.holder, entries, project.last_failure(), next_, project.strays())


def _watch(session: "Session") -> None:
    """Show it again and again; Ctrl-C is the end of that, and no failure."""
    from mpt_tool.process.streams import is_stdout_read
    from mpt_tool.view.status import watch

    project = session.project
    seconds = _LOOK_SECONDS_BY_REQUEST if project.repository.is_remote else _LOOK_SECONDS
    try:
        with session.stop.untold():
            watch(lambda: _look(project), sys.stdout, seconds, is_stdout_read)
    except Interrupted as end:
        if end.exit_code != ExitCode.INTERRUPTED:
            raise
