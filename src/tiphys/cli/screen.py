"""A block of lines at the bottom of a terminal that is redrawn in place; what is printed above it scrolls away.

Not a full-screen program: the scrollback stays, and the last state remains when the program ends. Only lines that
changed are written. The block never exceeds the terminal (the caller asks ``size`` and cuts), because a line that wraps
or scrolls cannot be found again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from tiphys.cli import columns

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_CLEAR_TO_END_OF_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"


class Screen:
    """Use as a context manager: the cursor is hidden inside and shown again whatever happens."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._block: list[str] = []

    def __enter__(self) -> Screen:
        self._stream.write(_HIDE_CURSOR)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.write(_SHOW_CURSOR)
        self._stream.flush()

    def size(self) -> os.terminal_size:
        """Columns and lines; 80 × 24 where nobody knows."""
        try:
            return os.get_terminal_size(self._stream.fileno())
        except OSError:
            return os.terminal_size((80, 24))

    def draw(self, lines: Sequence[str]) -> None:
        """Replaces the block; ``lines`` must fit the terminal's height less one."""
        self._write(self._change_to([columns.clip(line, self.size().columns) for line in lines]))

    def above(self, lines: Sequence[str]) -> None:
        """Prints lines that stay, above the block."""
        block = self._block
        self._write(self._change_to([]) + "".join(f"{line}\n" for line in lines) + self._change_to(block))

    def _change_to(self, lines: list[str]) -> str:
        """What must be written so that the block becomes ``lines``; the cursor stands below the block."""
        old, self._block = self._block, list(lines)
        same = 0
        while same < min(len(old), len(lines)) and old[same] == lines[same]:
            same += 1
        if same == len(old) == len(lines):
            return ""
        up = len(old) - same
        out = [f"\x1b[{up}A" if up else "", "\r"]
        for index in range(same, len(lines)):
            unchanged = index < len(old) and old[index] == lines[index]
            out.append("\n" if unchanged else f"{lines[index]}{_CLEAR_TO_END_OF_LINE}\n")
        if len(lines) < len(old):
            out.append(_CLEAR_BELOW)
        return "".join(out)

    def _write(self, text: str) -> None:
        if text:
            self._stream.write(text)
            self._stream.flush()
