"""Lays out a table: fitted to the width of a terminal, and never cut elsewhere."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TextIO

from mpt_tool.view.terminal import is_coloured, width_of
from mpt_tool.wording import printable

EMPTY = "-"
_GAP = 2
_INDENT = "  "
_RULE = "─"
# Of less a text is not read beside other columns.
_LEAST_TEXT = 24

type Row = Mapping[str, str]
type Styled = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a table is made of, and what gives way first where a terminal is too narrow.

    Columns that are empty go first, then those that have the same in each row, which is told once.
    Then `text` is folded, or goes beneath its row; at last columns are left out. A `key` that is
    too long for any of that goes beneath its row, too. Nothing but `text` is ever broken, unless it
    is wider than the terminal.

    Args:
        columns: from left to right.
        key: the column that tells the rows apart.
        text: the column that holds sentences.
        first_to_go: which columns are left out, in this order.
        kept: which are shown even if they are empty, or the same in each row.
        coloured: the one that is shown in the colour of its row.
    """

    columns: Sequence[str]
    key: str
    text: str
    first_to_go: Sequence[str] = ()
    kept: Sequence[str] = ()
    coloured: str = ""


@dataclass(slots=True)
class Layout:
    """How a table fits a width.

    Args:
        widths: of the columns that stand beside each other.
        beneath: the columns that have lines of their own below a row.
        repeated: the columns that are told once.
        left_out: the columns there is no room for.
    """

    widths: dict[str, int]
    beneath: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How wide the columns are that stand beside each other."""
        return _total(self.widths.values())

    def shed(self, names: Iterable[str], to: list[str], width: int) -> None:
        """Take these columns out one after the other, until the others fit so many columns."""
        for name in names:
            if self.total > width and name in self.widths:
                del self.widths[name]
                to.append(name)


def write_table(shape: Shape, rows: Sequence[Row], colours: Sequence[str], stream: TextIO) -> None:
    """Write a table; nothing if it has no row.

    Args:
        shape: its columns.
        rows: a text for each column.
        colours: that of each row, as Rich names it; empty for none.
        stream: where it goes.
    """
    rows = [{name: printable(row[name]) for name in shape.columns} for row in rows]
    has_colour = is_coloured(stream)
    if not rows:
        return
    if has_colour or stream.isatty():
        styled = _styled if has_colour else _plain
        lines = _drawn(shape, rows, colours, width_of(stream), styled)
        if not (stream.encoding or "").lower().startswith("utf"):
            lines = (line.replace(_RULE, "-") for line in lines)
    else:
        lines = _aligned([shape.columns, *(list(row.values()) for row in rows)])
    stream.writelines(f"{line.rstrip()}\n" for line in lines)


def fitted(shape: Shape, rows: Sequence[Row], width: int) -> Layout:
    """Return how the rows of a table fit so many columns of a terminal."""
    cells = {name: {row[name] for row in rows} for name in shape.columns}
    layout = Layout({name: max(map(_width, {name, *cells[name]})) for name in shape.columns})
    in_order = dict.fromkeys(each for each in (*shape.first_to_go, *shape.columns) if each in cells)
    may_go = [each for each in in_order if each not in (shape.key, *shape.kept)]
    if layout.total > width:
        layout.shed((each for each in may_go if cells[each] == {EMPTY}), [], 0)
    same = [each for each in may_go if len(cells[each]) == 1 and each != shape.text]
    layout.shed(same, layout.repeated, width)
    if layout.total > width and shape.text in layout.widths:
        room = layout.widths[shape.text] - (layout.total - width)
        if room >= _LEAST_TEXT:
            layout.widths[shape.text] = room
    layout.shed([shape.text], layout.beneath, width)
    if _total([layout.widths[each] for each in (shape.key, *shape.kept)]) > width:
        layout.shed([shape.key], layout.beneath, width)
    layout.shed(shape.first_to_go, layout.left_out, width)
    # Where even what is kept has no room, it stands one below the other.
    layout.shed(shape.columns, layout.beneath, width)
    layout.beneath.sort(key=[shape.key, *shape.columns].index)
    return layout


def _drawn(
    shape: Shape,
    rows: Sequence[Row],
    colours: Sequence[str],
    width: int,
    styled: Styled,
) -> Iterator[str]:
    """Yield the lines of a table on a terminal; `styled` gives a text the style of this name."""
    layout = fitted(shape, rows, width)
    heading = {name: name for name in shape.columns}
    if shape.text in layout.beneath:
        # Nobody takes sentences for anything else.
        heading[shape.text] = EMPTY
    yield from _lines(heading, layout, width, dict.fromkeys(heading, "bold"), styled)
    yield _RULE * min(width, layout.total or width)
    for row, colour in zip(rows, colours, strict=True):
        styles = {shape.coloured: colour}
        yield from _lines(row, layout, width, styles, styled)
    for text in _told(layout, rows):
        for line in folded(text, width):
            yield styled(line, "dim")


def _told(layout: Layout, rows: Sequence[Row]) -> Iterator[str]:
    """Yield what is told below a table of these rows."""
    if layout.repeated:
        same = ", ".join(f"{name} {rows[0][name]}" for name in layout.repeated)
        yield f"{'In each row' if len(rows) > 1 else 'Besides'}: {same}."
    if layout.left_out:
        left_out = ", ".join(layout.left_out)
        yield f"No room for: {left_out}. A wider terminal, a pipe and --json show all."


def _lines(row: Row, layout: Layout, width: int, styles: Row, styled: Styled) -> Iterator[str]:
    """Yield the lines of one row; `styles` are those of its columns, by name."""
    cells_folded = [folded(row[name], size) for name, size in layout.widths.items()]
    for pieces in zip_longest(*cells_folded, fillvalue=""):
        cells = (
            styled(piece, styles.get(name, "")) + " " * (size - _width(piece))
            for (name, size), piece in zip(layout.widths.items(), pieces, strict=True)
        )
        yield (" " * _GAP).join(cells)
    for name in layout.beneath:
        if row[name] != EMPTY:
            for piece in folded(row[name], width - len(_INDENT)):
                yield _INDENT + styled(piece, styles.get(name, ""))


def folded(text: str, width: int) -> list[str]:
    """Return a text in lines of so many columns: broken at blanks, else where a line is full."""
    if _width(text) <= width:
        return [text]
    from rich.console import Console
    from rich.text import Text

    width = max(1, width)
    lines = Text(text).wrap(Console(width=width), width, overflow="fold")
    return [line.plain.rstrip() for line in lines]


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield (" " * _GAP).join(cells)


def _total(widths: Collection[int]) -> int:
    return sum(widths) + _GAP * max(0, len(widths) - 1)


def _width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _styled(text: str, style: str) -> str:
    from rich.style import Style

    return Style.parse(style).render(text) if style else text


def _plain(text: str, _style: str) -> str:
    return text
