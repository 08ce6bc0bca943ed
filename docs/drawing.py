"""Draws what a terminal shows as SVG that needs nothing from elsewhere, for light and for dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

import pyte

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
FONT_SIZE = 14
CELL, LINE = 8.4, 20
# Of the first line's baseline below the top of the line.
BASELINE = 15
PADDING, TITLE = 16, 36
# How long the last frame of a film stays, in seconds.
REST = 4


@dataclass(frozen=True, slots=True)
class Scheme:
    """The colours of a terminal, by the names that pyte gives them."""

    page: str
    border: str
    colours: Mapping[str, str]


SCHEMES = {
    "light": Scheme(
        "#ffffff",
        "#d0d7de",
        {
            "default": "#1f2328",
            "muted": "#6e7781",
            "red": "#cf222e",
            "green": "#1a7f37",
            "brown": "#8a5a00",
            "blue": "#0969da",
            "magenta": "#8250df",
            "cyan": "#1b7c83",
        },
    ),
    "dark": Scheme(
        "#0d1117",
        "#30363d",
        {
            "default": "#e6edf3",
            "muted": "#8b949e",
            "red": "#ff7b72",
            "green": "#56d364",
            "brown": "#e3b341",
            "blue": "#79c0ff",
            "magenta": "#d2a8ff",
            "cyan": "#56d4dd",
        },
    ),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of one look that stand side by side, from a column on."""

    column: int
    text: str
    colour: str
    is_bold: bool


type Line = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What a screen shows from a moment on, in seconds."""

    at: float
    lines: tuple[Line, ...]


def lines_of(screen: pyte.Screen) -> tuple[Line, ...]:
    """Return what the screen shows, down to the last line that has any text."""
    lines = [_line(screen, row) for row in range(screen.lines)]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _line(screen: pyte.Screen, row: int) -> Line:
    cells = [screen.buffer[row][column] for column in range(screen.columns)]
    pieces, column = [], 0
    for (colour, is_bold), of_look in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in of_look)
        if text.strip():
            start = column + len(text) - len(text.lstrip())
            pieces.append(Piece(start, text.strip(), colour, is_bold))
        column += len(text)
    return tuple(pieces)


def draw(frames: Sequence[Frame], columns: int, title: str, scheme: Scheme) -> str:
    """Return the picture of one frame, or the film of several.

    Args:
        frames: what was shown, in order.
        columns: how wide the terminal is.
        title: what stands in the bar above it.
        scheme: the colours.
    """
    rows = max(len(frame.lines) for frame in frames)
    width = round(columns * CELL + 2 * PADDING)
    height = TITLE + rows * LINE + PADDING
    length = frames[-1].at + REST
    spans = _spans(frames, rows, length)
    style = [f"text {{ font: {FONT_SIZE}px {FONT}; white-space: pre; }}"]
    style += [".b { font-weight: 700; }", *_animations(spans, length)]
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    label = f'role="img" aria-label="{escape(title)}"'
    look = f'rx="8" fill="{scheme.page}" stroke="{scheme.border}"'
    above = f'text-anchor="middle" fill="{scheme.colours["muted"]}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}>',
        f"<style>{' '.join(style)}</style>",
        f'<rect x=".5" y=".5" width="{width - 1}" height="{height - 1}" {look}/>',
        *(f'<circle cx="{18 + 18 * n}" cy="18" r="5.5" fill="{scheme.border}"/>' for n in range(3)),
        f'<text x="{width / 2}" y="23" {above}>{escape(title)}</text>',
    ]
    for name, (row, line, *_) in spans.items():
        y = TITLE + row * LINE + BASELINE
        texts = "".join(_text(piece, y, scheme) for piece in line)
        parts.append(f'<g class="{name}">{texts}</g>' if frames[1:] else texts)
    return "\n".join([*parts, "</svg>", ""])


def _text(piece: Piece, y: float, scheme: Scheme) -> str:
    x, length = PADDING + piece.column * CELL, len(piece.text) * CELL
    colour = scheme.colours.get(piece.colour.removeprefix("bright"), scheme.colours["default"])
    bold = ' class="b"' if piece.is_bold else ""
    return (
        f'<text x="{x:.1f}" y="{y}" textLength="{length:.1f}" fill="{colour}"{bold}>'
        f"{escape(piece.text)}</text>"
    )


def _spans(
    frames: Sequence[Frame], rows: int, length: float
) -> dict[str, tuple[int, Line, float, float]]:
    """Return each line with its row and from when to when it stays as it is, by a name of it."""
    spans = []
    ends = [*(frame.at for frame in frames[1:]), length]
    for row in range(rows):
        shown = [frame.lines[row] if row < len(frame.lines) else () for frame in frames]
        number = 0
        for line, same in groupby(shown):
            count = len(list(same))
            if line:
                spans.append((row, line, frames[number].at, ends[number + count - 1]))
            number += count
    return {f"l{number}": span for number, span in enumerate(spans)}


def _animations(spans: Mapping[str, tuple[int, Line, float, float]], length: float) -> list[str]:
    """Return what shows each line that is not there all the time when it is; for those who want
    nothing to move, the end."""
    rules, at_rest = [], []
    for name, (_, _, begin, end) in spans.items():
        if (begin, end) == (0, length):
            continue
        shown = [(0, begin == 0), (begin / length, True), (end / length, False)]
        steps = {
            f"{100 * at:.2f}%": "visible" if is_shown else "hidden"
            for at, is_shown in shown
            if at < 1
        }
        frames = " ".join(f"{at} {{ visibility: {value}; }}" for at, value in steps.items())
        rules.append(f"@keyframes {name} {{ {frames} }}")
        rules.append(f".{name} {{ animation: {name} {length:.1f}s step-end infinite; }}")
        visible = "visible" if end == length else "hidden"
        at_rest.append(f".{name} {{ animation: none; visibility: {visible}; }}")
    if at_rest:
        rules.append(f"@media (prefers-reduced-motion: reduce) {{ {' '.join(at_rest)} }}")
    return rules
