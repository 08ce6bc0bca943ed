"""`mpt-tool doctor`: what is right, what is wrong, and what to do."""

from dataclasses import replace
from typing import TYPE_CHECKING

from mpt_tool.cli.command import command
from mpt_tool.enums import VerdictEnum
from mpt_tool.errors import ExitCode
from mpt_tool.view.results import Examination, Result

if TYPE_CHECKING:
    from mpt_tool.cli.session import Session


@command()
def doctor(session: "Session") -> Result:
    """Say what is wrong with settings, store, versions; what to do."""
    from mpt_tool.doctor.examine import examine

    redact = session.redact
    checks = {
        subject: [
            replace(each, value=redact(each.value), advice=redact(each.advice)) for each in found
        ]
        for subject, found in examine(session.root, lambda: session.project).items()
    }
    is_wrong = any(each.verdict is VerdictEnum.WRONG for found in checks.values() for each in found)
    return Result(Examination(checks), exit_code=ExitCode.FAILED if is_wrong else ExitCode.DONE)
