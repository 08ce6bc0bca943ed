"""What a pipeline's log folds and marks, in the form of the service that runs the pipeline."""

import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mpt_tool.wording import printable, printable_lines

if TYPE_CHECKING:
    from mpt_tool.scripts.check import Finding


class ServiceEnum(StrEnum):
    """Who runs pipelines and has a form of its own for groups and marks in a log."""

    GITHUB = "GitHub Actions"
    GITLAB = "GitLab CI"
    AZURE = "Azure Pipelines"


# By what each sets to "true" in every job, and the variable with the folder of the checkout.
_SERVICES = {
    "GITHUB_ACTIONS": (ServiceEnum.GITHUB, "GITHUB_WORKSPACE"),
    "GITLAB_CI": (ServiceEnum.GITLAB, "CI_PROJECT_DIR"),
    "TF_BUILD": (ServiceEnum.AZURE, "BUILD_SOURCESDIRECTORY"),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """Something to be shown as an error, or else as a warning, and the place in a file."""

    message: str
    path: Path | None = None
    line: int | None = None
    is_error: bool = True


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The pipeline that a command runs in, and the folder whose files it shows."""

    service: ServiceEnum
    checkout: Path

    @contextmanager
    def group(self, name: str, stream: TextIO) -> Iterator[None]:
        """Fold what is written to the stream meanwhile."""
        name = printable(name)
        match self.service:
            case ServiceEnum.GITHUB:
                begin, end = f"::group::{name}", "::endgroup::"
            case ServiceEnum.AZURE:
                begin, end = f"##[group]{name}", "##[endgroup]"
            case ServiceEnum.GITLAB:
                section = secrets.token_hex(4)
                begin = f"\x1b[0Ksection_start:{int(time.time())}:{section}\r\x1b[0K{name}"
                end = f"\x1b[0Ksection_end:{int(time.time())}:{section}\r\x1b[0K"
        print(begin, file=stream, flush=True)
        try:
            yield
        finally:
            print(end, file=stream, flush=True)

    @contextmanager
    def taken_literally(self, stream: TextIO) -> Iterator[None]:
        """Keep GitHub from obeying what is written meanwhile: others wrote it."""
        is_obeyed = self.service is ServiceEnum.GITHUB
        token = secrets.token_hex(16)
        if is_obeyed:
            print(f"::stop-commands::{token}", file=stream, flush=True)
        try:
            yield
        finally:
            if is_obeyed:
                print(f"::{token}::", file=stream, flush=True)

    def write(self, marks: Iterable[Mark], stream: TextIO) -> None:
        """Write marks; GitLab has no form for any in a log."""
        for mark in marks:
            kind = "error" if mark.is_error else "warning"
            path = within(self.checkout, mark.path) if mark.path else ""
            line = str(mark.line or 1) if path else ""
            match self.service:
                case ServiceEnum.GITHUB:
                    places = [("file", path), ("line", line), ("title", "mpt-tool")]
                    told = ",".join(f"{key}={_escaped(v, '%', ':,')}" for key, v in places if v)
                    print(f"::{kind} {told}::{_escaped(mark.message, '%')}", file=stream)
                case ServiceEnum.AZURE:
                    places = [("type", kind), ("sourcepath", path), ("linenumber", line)]
                    told = "".join(f"{key}={_escaped(v, '%AZP', ';]')};" for key, v in places if v)
                    message = _escaped(mark.message, "%AZP")
                    print(f"##vso[task.logissue {told}]{message}", file=stream)


def pipeline_in(environment: Mapping[str, str]) -> Pipeline | None:
    """Return the pipeline that the environment tells of, if it is one whose form is known."""
    for variable, (service, checkout) in _SERVICES.items():
        if environment.get(variable, "").lower() == "true":
            return Pipeline(service, Path(environment.get(checkout) or Path.cwd()))
    return None


def marks_of(findings: "Sequence[Finding]", folder: Path) -> list[Mark]:
    """Return what is wrong with scripts of a folder as marks; what has no script is in no file."""
    return [
        Mark(each.message, path if path.suffix == ".py" else None, each.line)
        for each in findings
        for path in [folder / each.file]
    ]


def within(checkout: Path, path: Path) -> str:
    """Return a path as from the root of a checkout."""
    return Path(os.path.relpath(path.absolute(), checkout)).as_posix()


def code_quality(marks: Iterable[Mark], checkout: Path) -> list[dict[str, Any]]:
    """Return marks as a Code Quality report, which GitLab shows beside a merge request."""
    return [
        {
            "description": mark.message,
            "check_name": "migrations",
            "fingerprint": hashlib.sha256(f"{path} {mark.message}".encode()).hexdigest(),
            "severity": "major",
            "location": {"path": path, "lines": {"begin": mark.line or 1}},
        }
        for mark in marks
        for path in [within(checkout, mark.path or checkout)]
    ]


def _escaped(text: str, percent: str, besides: str = "") -> str:
    """Return a text as others may read it, with numbers for the characters that would end it."""
    numbers = {ord(each): f"%{ord(each):02X}" for each in f"\n{besides}"}
    return printable_lines(text).translate({**numbers, ord("%"): f"{percent}25"})
