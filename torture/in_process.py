"""Runs the command in this process, as fast as many thousand inputs need."""

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mpt_tool.cli import main
from mpt_tool.clients.rehearsal import rehearsal_now, write_nothing
from mpt_tool.process.log import get_log


@dataclass(frozen=True, slots=True)
class Ending:
    """How the command ended.

    Args:
        exit_code: what it exited with; None if it did not exit but raise.
        error: what it raised instead.
        output: what it wrote to stdout and stderr.
    """

    exit_code: int | None
    error: BaseException | None
    output: str


def run(arguments: Sequence[str], root: Path, environment: Mapping[str, str]) -> Ending:
    """Run `mpt-tool` in a folder with these variables and no others."""
    with (
        _streams() as output,
        contextlib.chdir(root),
        _replaced(arguments, environment),
        _logging_put_back(),
        _writing_put_back(),
    ):
        exit_code, error = _main()
        sys.stdout.flush()
        sys.stderr.flush()
        output.seek(0)
        return Ending(exit_code, error, output.read().decode(errors="replace"))


def _main() -> tuple[int | None, BaseException | None]:
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0), None
    except BaseException as error:  # noqa: BLE001 - whatever it is, it should not have come here
        return None, error
    return 0, None


@contextlib.contextmanager
def _streams() -> Iterator[IO[bytes]]:
    """Let stdout and stderr end in one file, encoded as Python does it for a command."""
    with (
        tempfile.TemporaryFile() as file,
        open(file.fileno(), "w", encoding="utf-8", closefd=False) as stdout,
        open(
            file.fileno(), "w", encoding="utf-8", errors="backslashreplace", closefd=False
        ) as stderr,
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        yield file


@contextlib.contextmanager
def _replaced(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    own_arguments, own_environment = sys.argv, dict(os.environ)
    sys.argv = ["mpt-tool", *arguments]
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        sys.argv = own_arguments
        os.environ.clear()
        os.environ.update(own_environment)


@contextlib.contextmanager
def _logging_put_back() -> Iterator[None]:
    """Put back what a command leaves as it is, for its process ends with it."""
    own, root, make = get_log(), logging.root, logging.getLogRecordFactory()
    kept = own.handlers, own.level, root.handlers[:], root.level, logging.raiseExceptions
    hooks = threading.excepthook, sys.unraisablehook
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        logging.setLogRecordFactory(make)
        logging.captureWarnings(capture=False)
        own.handlers, own_level, root.handlers, root_level, logging.raiseExceptions = kept
        own.setLevel(own_level)
        root.setLevel(root_level)


@contextlib.contextmanager
def _writing_put_back() -> Iterator[None]:
    """Let clients write again, which a dry run keeps them from until its process ends."""
    kept = rehearsal_now()
    try:
        yield
    finally:
        write_nothing(kept)
