"""gjson paths (tidwall/gjson v1.19): values out of JSON text without reading the text as a whole.

    path       = component (("." | "|") component)*  | multipath | "@" modifier [":" argument] | "!" literal
    component  = key with * ? and "\\" escapes | index | "#" | query | "#." path over all elements
    query      = "#(" [path] [op value] ")" ["#"]     op: == != < <= > >= % (like) !% ; value "~true" …: truthiness
    multipath  = "[" path ("," path)* "]"  |  "{" [name ":"] path ("," …)* "}"
    modifier   = pretty ugly reverse this flatten join valid keys values tostr fromstr group dig
    ".." path  = the text as JSON lines

Nothing is ever wrong in this language: broken documents and odd paths find something or nothing, the way the original
does. Only the limits (`GjsonError`) stop a search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tiphys.lang.gjson.getting import DEPTH_MAX, PATH_LENGTH_MAX, Search
from tiphys.lang.gjson.modifiers import entries, is_true
from tiphys.lang.gjson.scanning import GjsonError, Value, printed

__all__ = ["GjsonError", "Result", "get"]


def get(json: str, path: str) -> Result:
    """What ``path`` finds in the text; `Result.exists` says whether it found anything."""
    if len(path) > PATH_LENGTH_MAX:
        raise GjsonError(f"path of {len(path)} characters is longer than {PATH_LENGTH_MAX}")
    return Result(Search().get(json, path))


@dataclass(frozen=True)
class Result:
    """A found value, readable as gjson's Result: every conversion gives something for every kind."""

    _value: Value

    @property
    def exists(self) -> bool:
        """Whether anything was found; a JSON null exists."""
        return self._value.exists

    @property
    def kind(self) -> str:
        """Null, False, Number, String, True or JSON (a container)."""
        return self._value.kind

    @property
    def raw(self) -> str:
        """The value as it stands in the text."""
        return self._value.raw

    def __str__(self) -> str:
        return printed(self._value)

    def __bool__(self) -> bool:
        return is_true(self._value)

    def __int__(self) -> int:
        """Int(): an int64; 0 for what is no number."""
        value = self._value
        if value.kind == "True":
            return 1
        if value.kind == "String":
            return _int64(value.text) or 0
        if value.kind != "Number":
            return 0
        if -_SAFE <= value.number <= _SAFE:
            return int(value.number)
        exact = _int64(value.raw)
        if exact is not None:
            return exact
        # what a processor makes of floats beyond int64
        return int(value.number) if abs(value.number) < 2**63 else -(2**63)

    @property
    def value(self) -> Any:
        """Plain data; all numbers are floats, and of keys that come twice the first counts."""
        return _plain(self._value, 0)

    def __iter__(self) -> Iterator[Result]:
        """The elements of an array or the values of an object; a scalar itself."""
        return (Result(item) for _, item in entries(self._value))


_SAFE: Final = 2.0**53 - 1


def _int64(text: str) -> int | None:
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 4000:
        return None
    return (int(text) + 2**63) % 2**64 - 2**63


def _plain(value: Value, depth: int) -> Any:
    if value.kind == "JSON":
        if depth > DEPTH_MAX:
            raise GjsonError(f"nested deeper than {DEPTH_MAX}")
        if value.is_array:
            return [_plain(item, depth + 1) for _, item in entries(value, stops_at_end=True)]
        found: dict[str, Any] = {}
        for key, item in entries(value, stops_at_end=True):
            found.setdefault(key.text, _plain(item, depth + 1))
        return found
    return {"String": value.text, "Number": value.number, "True": True, "False": False}.get(value.kind)
