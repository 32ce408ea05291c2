"""A terminal for tests: keeps what was written as lines, and understands the few codes that ``Screen`` uses."""

from __future__ import annotations

import io
import re

_CODE = re.compile(r"\x1b\[(\??\d*(?:;\d+)*)([A-Za-z])")


class Terminal(io.StringIO):
    """Endless in height; ``lines()`` is what a person would see, without colours."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[str] = [""]
        self._row = self._column = 0

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
        seen = [row.rstrip() for row in self._rows]
        while seen and not seen[-1]:
            seen.pop()
        return seen

    def _obey(self, argument: str, letter: str) -> None:
        if letter == "A":
            self._row -= int(argument or 1)
            assert self._row >= 0, "moved above the first line"
        elif letter == "K":
            self._rows[self._row] = self._rows[self._row][: self._column]
        elif letter == "J":
            self._rows[self._row] = self._rows[self._row][: self._column]
            del self._rows[self._row + 1 :]

    def _type(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row, self._column = self._row + 1, 0
            if self._row == len(self._rows):
                self._rows.append("")
        else:
            row = self._rows[self._row].ljust(self._column)
            self._rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
            self._column += 1
