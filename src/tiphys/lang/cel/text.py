"""The string extension (version 2): charAt, indexOf, join, replace, split, substring, trim, quote, format …

Positions count characters. Only what that version has is here; ``reverse`` came later.
"""

from __future__ import annotations

from typing import Any

from tiphys.lang.cel.declarations import Functions, member, plain
from tiphys.lang.cel.formatting import formatted
from tiphys.lang.cel.types import DYN, INT, STRING, list_of
from tiphys.lang.cel.values import Failure

_SPACE = " \t\n\v\f\r\x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
_QUOTED = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)
_UPPER = str.maketrans("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
RESULT_LENGTH_MAX = 32_000_000
"""Characters a replacement may make: one unit of cost per ten characters of the input does not bound the output."""


def _out_of_range(at: int) -> Failure:
    return Failure(f"index out of range: {at}")


def _char_at(text: str, at: int) -> str | Failure:
    if at == len(text):
        return ""
    return text[at] if 0 <= at < len(text) else _out_of_range(at)


def _index_of(text: str, part: str, start: int = 0) -> int | Failure:
    if part == "" and start == 0:
        return 0
    if start < 0 or start >= max(len(text), 1):
        return start if part == "" and start == len(text) else _out_of_range(start)
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int | Failure:
    if start is None:
        return text.rfind(part)
    if part == "" and start == len(text):
        return start
    if start < 0 or start >= max(len(text), 1):
        return _out_of_range(start)
    return text.rfind(part, 0, start + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str | Failure:
    if end is None:
        return text[start:] if 0 <= start <= len(text) else _out_of_range(start)
    if start > end:
        return Failure(f"invalid substring range. start: {start}, end: {end}")
    if not 0 <= start <= len(text):
        return _out_of_range(start)
    return text[start:end] if 0 <= end <= len(text) else _out_of_range(end)


def _replace(text: str, old: str, new: str, most: int = -1) -> str | Failure:
    count = text.count(old) if most < 0 else min(text.count(old), most)
    if len(text) + count * (len(new) - len(old)) > RESULT_LENGTH_MAX:
        return Failure(f"replace: more than {RESULT_LENGTH_MAX} characters")
    return text.replace(old, new, most)


def _split(text: str, separator: str, most: int = -1) -> list[str]:
    if most == 0:
        return []
    if not separator:
        cut = len(text) if most < 0 else min(most - 1, len(text))
        rest = text[cut:]
        return [*text[:cut], rest] if rest else list(text)
    return text.split(separator, -1 if most < 0 else most - 1)


def _join(parts: list[Any], separator: str = "") -> str | Failure:
    for found in parts:
        if not isinstance(found, str):
            return Failure(f"join: invalid input: {found}")
    return separator.join(parts)


TEXT: Functions = {
    "charAt": (member("string_char_at_int", (STRING, INT), STRING, _char_at),),
    "indexOf": (
        member("string_index_of_string", (STRING, STRING), INT, _index_of),
        member("string_index_of_string_int", (STRING, STRING, INT), INT, _index_of),
    ),
    "lastIndexOf": (
        member("string_last_index_of_string", (STRING, STRING), INT, _last_index_of),
        member("string_last_index_of_string_int", (STRING, STRING, INT), INT, _last_index_of),
    ),
    "lowerAscii": (member("string_lower_ascii", (STRING,), STRING, lambda text: text.translate(_LOWER)),),
    "upperAscii": (member("string_upper_ascii", (STRING,), STRING, lambda text: text.translate(_UPPER)),),
    "replace": (
        member("string_replace_string_string", (STRING, STRING, STRING), STRING, _replace),
        member("string_replace_string_string_int", (STRING, STRING, STRING, INT), STRING, _replace),
    ),
    "split": (
        member("string_split_string", (STRING, STRING), list_of(STRING), _split),
        member("string_split_string_int", (STRING, STRING, INT), list_of(STRING), _split),
    ),
    "substring": (
        member("string_substring_int", (STRING, INT), STRING, _substring),
        member("string_substring_int_int", (STRING, INT, INT), STRING, _substring),
    ),
    "trim": (member("string_trim", (STRING,), STRING, lambda text: text.strip(_SPACE)),),
    "join": (
        member("list_join", (list_of(STRING),), STRING, _join),
        member("list_join_string", (list_of(STRING), STRING), STRING, _join),
    ),
    "strings.quote": (plain("strings_quote", (STRING,), STRING, lambda text: f'"{text.translate(_QUOTED)}"'),),
    "format": (member("string_format", (STRING, list_of(DYN)), STRING, formatted),),
}
