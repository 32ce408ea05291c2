"""A small terminal: keeps what was written to it as styled characters, for tests and for pictures of a run.

It understands what tiphys writes: colours and bold, cursor up, clearing to the end of the line and of the screen. It
has no height: nothing scrolls away. Cells hold one character each, so wide characters are not for it.
"""

from __future__ import annotations

import io
import re
from typing import NamedTuple

_CODE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")


class Cell(NamedTuple):
    character: str
    colour: int = 39
    bold: bool = False


BLANK = Cell(" ")


class Terminal(io.StringIO):
    """``lines()`` is what a person would read, ``rows`` the same with styles."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[Cell]] = [[]]
        self._row = self._column = 0
        self._colour, self._bold = 39, False

    def write(self, text: str) -> int:
        at = 0
        while at < len(text):
            if text[at] == "\x1b" and (code := _CODE.match(text, at)):
                self._obey(code[1], code[2])
                at = code.end()
            else:
                self._type(text[at])
                at += 1
        return super().write(text)

    def lines(self) -> list[str]:
        seen = ["".join(cell.character for cell in row).rstrip() for row in self.rows]
        while seen and not seen[-1]:
            seen.pop()
        return seen

    def snapshot(self) -> list[list[Cell]]:
        return [list(row) for row in self.rows]

    def _obey(self, argument: str, letter: str) -> None:
        match letter:
            case "A":
                self._row -= int(argument or 1)
                assert self._row >= 0, "moved above the first line"
            case "K":
                del self.rows[self._row][self._column :]
            case "J":
                del self.rows[self._row][self._column :]
                del self.rows[self._row + 1 :]
            case "m":
                for number in map(int, argument.split(";") if argument else ["0"]):
                    self._style(number)

    def _style(self, number: int) -> None:
        if number == 0:
            self._colour, self._bold = 39, False
        elif number == 1:
            self._bold = True
        elif 30 <= number <= 39 or 90 <= number <= 97:
            self._colour = number

    def _type(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self.rows):
                self.rows.append([])
        else:
            row = self.rows[self._row]
            row.extend([BLANK] * (self._column + 1 - len(row)))
            row[self._column] = Cell(character, self._colour, self._bold)
            self._column += 1
