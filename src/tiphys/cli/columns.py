"""Text in columns, as the tools of this field print it (the rules of Go's text/tabwriter).

A line is a list of cells. Every cell but the last of a line belongs to a column; a column's width is that of the widest
cell in *adjacent* lines that have it, plus padding. The last cell of a line hangs free: it widens nothing and gets no
blanks after it. Hence a line that should be filled up to its end has an empty last cell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import combining, east_asian_width

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def align(lines: Sequence[Sequence[str]], padding: int = 2) -> list[str]:
    """The lines as text. Cells may carry colours (they take no room)."""
    widths: list[list[int]] = [[0] * max(0, len(cells) - 1) for cells in lines]
    deepest = max((len(w) for w in widths), default=0)
    for column in range(deepest):
        start = 0
        while start < len(lines):
            if len(widths[start]) <= column:
                start += 1
                continue
            end = start
            while end < len(lines) and len(widths[end]) > column:
                end += 1
            block = max(width(lines[i][column]) for i in range(start, end)) + padding
            for i in range(start, end):
                widths[i][column] = block
            start = end
    return [_line(cells, sizes) for cells, sizes in zip(lines, widths, strict=True)]


def width(text: str) -> int:
    """Places that ``text`` takes on a terminal: colours none, wide East Asian characters two, combining marks none."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    return sum(_places(character) for character in _STYLE.sub("", text))


def clip(text: str, places: int) -> str:
    """``text`` cut to ``places``, colours kept and closed; what is cut shows as an ellipsis."""
    if width(text) <= places:
        return text
    out: list[str] = []
    left = places - 1
    for part in re.split(r"(\x1b\[[0-9;]*m)", text):
        if part.startswith("\x1b["):
            out.append(part)
            continue
        for character in part:
            left -= _places(character)
            if left < 0:
                break
            out.append(character)
        if left < 0:
            break
    return "".join(out) + ("\x1b[0m" if "\x1b" in text else "") + "…"


def _line(cells: Sequence[str], sizes: Sequence[int]) -> str:
    padded = [cell + " " * (size - width(cell)) for cell, size in zip(cells, sizes, strict=False)]
    return "".join([*padded, *cells[len(sizes) :]])


def _places(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1
