"""The pages of the documentation as tests read them: their sections and blocks of code."""

import re
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
PAGES = sorted(
    path
    for folder, pattern in ((".", "*.md"), ("docs", "**/*.md"), ("examples", "**/*.md"))
    for path in (REPOSITORY / folder).glob(pattern)
)

_FENCE = re.compile(r"^( *)```(\w*)([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# A number, a date or a time of day.
_NUMBER = re.compile(r"\d[\d:.,TZ+-]*")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page.

    Args:
        language: what stands behind its fence, if anything does.
        text: its lines.
        title: the name of the file that it is shown as, if it is shown as one.
        line: the number of its first line.
    """

    language: str
    text: str
    title: str = ""
    line: int = 0


def page(name: str) -> Path:
    """Return the page of this name, in whichever folder of docs/ it is."""
    [path] = DOCS.rglob(f"{name}.md")
    return path


def text_of(name: str) -> str:
    """Return the text of the page of this name."""
    return page(name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next one that is not below it."""
    found, *further = _headings_from(text, heading)
    end = next((each.start() for each in further if each[1] <= found[1]), len(text))
    return text[found.end() : end]


def headings(text: str) -> list[str]:
    """Return the headings of a text."""
    return [found[2] for found in _HEADING.finditer(_without_code(text))]


def _headings_from(text: str, heading: str) -> list[re.Match[str]]:
    found = list(_HEADING.finditer(_without_code(text)))
    first = next(number for number, each in enumerate(found) if each[2] == heading)
    return found[first:]


def _without_code(text: str) -> str:
    """Return a text of the same length, in which a comment in a block is no heading."""
    return _FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def blocks(text: str) -> list[Block]:
    """Return the blocks of code of a text, in their order."""
    return [
        Block(
            language=found[2],
            text=re.sub(f"^{found[1]}", "", found[4], flags=re.MULTILINE),
            title="".join(re.findall(r'title="([^"]*)"', found[3])),
            line=text.count("\n", 0, found.start()) + 2,
        )
        for found in _FENCE.finditer(text)
    ]


def python_in(text: str, heading: str = "") -> list[str]:
    """Return the blocks of Python of a text, or of its section with this heading."""
    part = section(text, heading) if heading else text
    return [block.text for block in blocks(part) if block.language == "python"]


def commands(block: str) -> list[str]:
    """Return the commands of a block for a shell, a continued one in one line."""
    lines = block.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def assert_shown(shown: str, written: str) -> None:
    """Assert that what a page shows was written: each of its lines, in that order.

    `…` on the page stands for anything, a number for any number, a space for any width.
    """
    lines = [" ".join(line.split()) for line in written.splitlines()]
    for line in filter(str.strip, shown.splitlines()):
        place = next((n for n, each in enumerate(lines) if _form(line).fullmatch(each)), None)
        assert place is not None, f"{line!r} was not written, but:\n{written}"
        del lines[: place + 1]


def _form(line: str) -> re.Pattern[str]:
    """Return the form of what may stand in place of a line."""
    form = re.escape(" ".join(line.split())).replace("\\ ", " ").replace("\\-", "-")
    return re.compile(re.sub(" ?… ?", ".*", _NUMBER.sub(r"[\\d:.,TZ+-]+", form)))
