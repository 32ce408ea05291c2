"""What a template becomes, piece by piece."""

from __future__ import annotations

import re

# Escapes of Go's strconv.Quote that JSON does not know; everything else that it writes is good inside a JSON string.
_NOT_JSON = re.compile(r"\\[xavU]|\\\\")


class Output:
    """Collects pieces. ``harmless`` stays true while none of them can harm the JSON around it."""

    __slots__ = ("_pieces", "harmless")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.harmless = True

    def keep(self, text: str) -> None:
        """Adds text of the template itself."""
        self._pieces.append(text)

    def insert(self, quoted: str) -> None:
        """Adds the inside of a string that was quoted as Go quotes."""
        if "\\" in quoted and any(found != "\\\\" for found in _NOT_JSON.findall(quoted)):
            self.harmless = False
        self._pieces.append(quoted)

    def text(self) -> str:
        return "".join(self._pieces)
