"""``@pretty`` and ``@ugly``: tidwall/pretty's layout, which puts short arrays on one line.

Like the rest it works on text and keeps scalars as they are written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tiphys.lang.gjson.scanning import GjsonError, parse_float, unescape

DEPTH_MAX: Final = 120

_TOKEN: Final = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\]]|[0-9\-iI+N][^\0- ,:\]}]*|n(?!u)[^\0- ,:\]}]+|[tfn]', re.DOTALL
)
_WORDS: Final = {"t": ("true", 4), "f": ("false", 5), "n": ("null", 4)}


def ugly(json: str) -> str:
    """The text without the white space between its tokens."""
    return re.sub(r'("[^"\\]*(?:\\.[^"\\]*)*"?)|[\0- ]+', lambda match: match[1] or "", json, flags=re.DOTALL)


def pretty(json: str, *, width: int, prefix: str, indent: str, sort_keys: bool) -> str:
    """The text with one entry a line; arrays of scalars stay on one line while they fit into ``width`` columns."""
    writer = _Writer(json, width, prefix, indent, sort_keys)
    text, _ = writer.any(0, len(prefix), 0)
    return f"{prefix}{text}\n" if prefix or text else ""


@dataclass
class _Writer:
    json: str
    width: int
    prefix: str
    indent: str
    sort_keys: bool

    def any(self, at: int, column: int, depth: int) -> tuple[str, int]:
        """The value at or after ``at``, laid out from ``column`` on, and its end."""
        token = _TOKEN.search(self.json, at)
        if token is None:
            return "", len(self.json)
        text = token.group()
        if text in ("{", "["):
            return self._container(token.start(), column, depth)
        if text in ("}", "]"):
            return "", token.end()
        if text in _WORDS:
            word, length = _WORDS[text]
            return word, min(token.start() + length, len(self.json))
        return text, token.end()

    def _container(self, at: int, column: int, depth: int) -> tuple[str, int]:
        if depth > DEPTH_MAX:
            raise GjsonError(f"nested deeper than {DEPTH_MAX}")
        is_array = self.json[at] == "["
        room = self.width - column
        if is_array and self.width > 0 and room > 3:
            line = self._one_line(at, room, depth)
            if line is not None:
                return line
        start = f"\n{self.prefix}{self.indent * (depth + 1)}"
        items: list[tuple[str, str]] = []
        at = self._next_entry(at + 1, is_array)
        while at < len(self.json) and self.json[at] not in "]}":
            key, inner = "", len(self.prefix) + len(self.indent) * (depth + 1)
            # the line break counts as a column, unless it took the place of the space after a comma
            inner += not (is_array and items)
            if not is_array:
                string = _TOKEN.match(self.json, at)
                assert string is not None
                key, at = string.group(), string.end()
                inner += len(key) + 2
            value, at = self.any(at, inner, depth + 1)
            items.append((key, value))
            at = self._next_entry(at, is_array)
        if not is_array and self.sort_keys:
            items.sort(key=lambda item: (_rank(item[0]), _rank(item[1])))
        lines = [start + (f"{key}: {value}" if key else value) for key, value in items]
        close = f"\n{self.prefix}{self.indent * depth}" if lines else ""
        ending = "" if at >= len(self.json) else close + ("]" if is_array else "}")
        return ("[" if is_array else "{") + ",".join(lines) + ending, at + 1

    def _one_line(self, at: int, room: int, depth: int) -> tuple[str, int] | None:
        """An array on one line, or None when it is too long or has an object in it."""
        if depth > DEPTH_MAX:
            raise GjsonError(f"nested deeper than {DEPTH_MAX}")
        items: list[str] = []
        length = 2
        at = self._next_entry(at + 1, True)
        while at < len(self.json) and self.json[at] != "]":
            if self.json[at] == "{":
                return None
            if self.json[at] == "[":
                inner = self._one_line(at, room, depth + 1)
                if inner is None:
                    return None
                value, at = inner
            else:
                value, at = self.any(at, 0, depth)
            items.append(value)
            length += len(value.encode()) + 2
            if length - 2 > room:
                return None
            at = self._next_entry(at, True)
        # an array that does not end is not closed here either
        return f"[{', '.join(items)}" + ("]" if at < len(self.json) else ""), at + 1

    def _next_entry(self, at: int, is_array: bool) -> int:
        """The start of the next entry or of the closing bracket; everything between is passed over."""
        pattern = _ARRAY_ENTRY if is_array else _OBJECT_ENTRY
        match = pattern.search(self.json, at)
        return len(self.json) if match is None else match.start()


_ARRAY_ENTRY: Final = re.compile(r"[^\0- ,:}]")
_OBJECT_ENTRY: Final = re.compile(r'["}]')


def _rank(raw: str) -> tuple[int, float, str]:
    """Null before false, numbers, strings, true and containers; within a kind by value."""
    first = raw[:1]
    if first == '"':
        return (3, 0.0, unescape(raw[1:-1]))
    kinds = {"": 0, "n": 0, "f": 1, "t": 4, "[": 5, "{": 5}
    return (kinds[first], 0.0, raw) if first in kinds else (2, parse_float(raw), "")
