"""Helm's language of ``--set``: assignments into a tree of values (helm pkg/strvals).

    expression = assignment { "," assignment }
    assignment = path "=" ( value | "{" value { "," value } "}" )
    path       = key { "." key | "[" number "]" }

A backslash takes the meaning from the character behind it. Unless strings are wanted, a value that reads ``true``,
``false``, ``null`` or a whole number is one; null removes the key. ``a[2]=x`` fills the list up with nulls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import Any

INDEX_MAX = 65536
LEVELS_MAX = 30
LISTS_MAX = 100
"""Levels of lists within lists and their members; Helm knows no bound."""

# More digits are never an int64, and Python refuses to read very many.
_INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")


class StrvalsError(ValueError):
    """An expression that cannot be carried out, in Helm's words."""


def assign(into: MutableMapping[str, Any], expression: str) -> None:
    """Carries out ``--set``. Raises `StrvalsError`; ``into`` may then be half changed."""
    _Parser(expression, typed).run(into)


def assign_strings(into: MutableMapping[str, Any], expression: str) -> None:
    """Carries out ``--set-string``: every value stays text."""
    _Parser(expression, str).run(into)


def assign_files(into: MutableMapping[str, Any], expression: str, content: Callable[[str], str]) -> None:
    """Carries out ``--set-file``: every value is the name of a file, and ``content`` reads it."""
    _Parser(expression, content, whole=True).run(into)


def typed(text: str) -> Any:
    """The value that a text stands for: bool, None, int or the text itself."""
    words: dict[str, Any] = {"true": True, "false": False, "null": None, "0": 0}
    if text.lower() in words and (text == text.lower() or text.lower() in ("true", "false", "null")):
        return words[text.lower()]
    if text[:1] != "0" and _INTEGER.fullmatch(text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    return text


class _End(Exception):
    """The text ended where a path goes on."""


class _Parser:
    def __init__(self, text: str, value: Callable[[str], Any], *, whole: bool = False) -> None:
        self.text = text
        self.at = 0
        self.value = value
        self.whole = whole
        """Whether a value is taken as one name, braces included."""

    def run(self, into: MutableMapping[str, Any]) -> None:
        """An expression that ends in the middle of a path is let pass, as Helm does."""
        try:
            while self.at < len(self.text):
                self._member(into, 0)
        except _End:
            pass

    def _until(self, stops: str) -> tuple[str, str]:
        """Text up to one of the characters, which is consumed; ``""`` is the end."""
        found: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character in stops:
                return "".join(found), character
            if character == "\\":
                character = self.text[self.at : self.at + 1]
                self.at += 1
            found.append(character)
        return "".join(found), ""

    def _member(self, into: MutableMapping[str, Any], level: int) -> None:
        key, stop = self._until(".=,[")
        if stop == "=":
            self._set(into, key)
        elif stop == "[":
            self._list_member(into, key, level)
        elif stop == ".":
            self._nested(into, key, level)
        elif key or stop:
            raise StrvalsError(f"key {_quoted(key)} has no value" + (" (cannot end with ,)" if stop else ""))
        elif level:
            raise _End

    def _set(self, into: MutableMapping[str, Any], key: str) -> None:
        value = self._value()
        if key:
            into[key] = value

    def _nested(self, into: MutableMapping[str, Any], key: str, level: int) -> None:
        if level + 1 > LEVELS_MAX:
            raise StrvalsError(
                f"value name nested level is greater than maximum supported nested level of {LEVELS_MAX}"
            )
        inner = into.get(key, {})
        if not isinstance(inner, dict):
            raise StrvalsError(f"key {_quoted(key)} is no map")
        self._member(inner, level + 1)
        if not inner:
            raise StrvalsError(f"key map {_quoted(key)} has no value")
        if key:
            into[key] = inner

    def _list_member(self, into: MutableMapping[str, Any], key: str, level: int) -> None:
        held = into.get(key, [])
        if not isinstance(held, list):
            raise StrvalsError(f"key {_quoted(key)} is no list")
        items = self._item(list(held), self._index(), level)
        if key:
            into[key] = items

    def _index(self) -> int:
        text, stop = self._until("]")
        if not stop:
            raise _End
        if not _INTEGER.fullmatch(text):
            raise StrvalsError(f"error parsing index: {_quoted(text)} is no number")
        return int(text)

    def _item(self, items: list[Any], index: int, level: int) -> list[Any]:
        if level > LISTS_MAX:
            raise StrvalsError(f"lists are nested deeper than the maximum supported nested level of {LISTS_MAX}")
        if index < 0:
            raise StrvalsError("negative %d index not allowed".replace("%d", str(index)))
        if index > INDEX_MAX:
            raise StrvalsError(f"index of {index} is greater than maximum supported index of {INDEX_MAX}")
        items.extend([None] * (index + 1 - len(items)))
        before, stop = self._until("[.=")
        if before:
            raise StrvalsError(f"unexpected data at end of array index: {_quoted(before)}")
        if stop == "=":
            items[index] = self._value()
        elif stop == "[":
            inner = items[index]
            if inner is not None and not isinstance(inner, list):
                raise StrvalsError(f"item {index} is no list")
            items[index] = self._item(inner or [], self._index(), level + 1)
        elif stop == ".":
            inner = items[index] if isinstance(items[index], dict) else {}
            self._member(inner, level + 1)
            items[index] = inner
        return items

    def _value(self) -> Any:
        if not self.whole and self.text[self.at : self.at + 1] == "{":
            self.at += 1
            return self._list()
        return self.value(self._until(",")[0])

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while True:
            text, stop = self._until(",}")
            if not stop:
                raise StrvalsError("list must terminate with '}'")
            found.append(self.value(text))
            if stop == "}":
                break
        if self.text[self.at : self.at + 1] == ",":
            self.at += 1
        return found


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
