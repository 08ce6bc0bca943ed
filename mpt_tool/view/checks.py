"""What `mpt-tool doctor` found, as people read it."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from textwrap import wrap
from typing import TextIO

from mpt_tool.enums import VerdictEnum
from mpt_tool.view.results import Examination
from mpt_tool.view.terminal import console_for, is_coloured, width_of
from mpt_tool.wording import printable

_STYLES = {VerdictEnum.RIGHT: "green", VerdictEnum.DOUBTFUL: "yellow", VerdictEnum.WRONG: "red"}
_VERDICT_WIDTH = max(map(len, VerdictEnum))
_INDENT = " " * (2 + _VERDICT_WIDTH + 2)


def write_checks(examination: Examination, stream: TextIO) -> None:
    """Write what was looked at below its subject, and at last how much is not right.

    On a terminal a line is folded to its width; elsewhere none is, however long.
    """
    lines = [*_lines(examination, width_of(stream)), *_summary(examination, width_of(stream))]
    if not is_coloured(stream):
        stream.writelines(f"{line}\n" for line, _ in lines)
        return
    from rich.text import Text

    console = console_for(stream, width_of(stream))
    for line, style in lines:
        text = Text(line)
        # The verdict alone, but all of a line that has none.
        text.stylize(style, 0, len(_INDENT) if line.startswith(" ") else None)
        console.print(text, soft_wrap=True)


def _lines(examination: Examination, width: int) -> Iterator[tuple[str, str]]:
    """Yield the lines of all checks, and how the beginning of each is to stand out."""
    for subject, checks in examination.checks.items():
        yield subject.capitalize(), "bold"
        for check in checks:
            first, *rest = _folded(f"{check.name}: {check.value}", width)
            yield f"  {check.verdict:{_VERDICT_WIDTH}}  {first}", _STYLES[check.verdict]
            rest += _folded(f"→ {check.advice}", width) if check.advice else []
            for line in rest:
                yield f"{_INDENT}{line}", ""


def _summary(examination: Examination, width: int) -> Iterator[tuple[str, str]]:
    """Yield what is not right, by name, and how much there is of each verdict."""
    checks = list(chain(*examination.checks.values()))
    yield "", ""
    for verdict in (VerdictEnum.WRONG, VerdictEnum.DOUBTFUL):
        names = dict.fromkeys(each.name for each in checks if each.verdict is verdict)
        told = f"{verdict.capitalize()}: {printable(', '.join(names))}"
        for line in wrap(told, width) if names else ():
            yield line, _STYLES[verdict]
    counts = Counter(each.verdict for each in checks)
    yield ", ".join(f"{counts[each]} {each}" for each in VerdictEnum) + ".", ""


def _folded(text: str, width: int) -> list[str]:
    """Return a text in lines that fit after the verdict; one that has no blank is broken."""
    return wrap(printable(text), max(20, width - len(_INDENT)), break_on_hyphens=False)
