"""Printing YAML the way sigs.k8s.io/yaml v1.6 does: keys in natural order, block style, lists flush with their key.

A value goes through its JSON text first, as in the original, so whole floats print as integers and NaN is refused.
Strings are plain where reading them back gives the same string, double-quoted where they would turn into something
else, single-quoted where an indicator is in the way, and literal blocks when they have lines. Long lines fold at the
first space after column 80.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cmp_to_key, lru_cache
from typing import Any, Final

from tiphys.lang import gofmt, gojson
from tiphys.lang.goyaml.errors import YamlError
from tiphys.lang.goyaml.scalars import PLAIN_HINTS, ScalarError, is_timestamp, resolve

DEPTH_MAX: Final = 10_000


def dump(value: Any) -> str:
    """The YAML text of plain values, ending in a line break. Raises `YamlError` for what JSON or YAML cannot hold."""
    out: list[str] = []
    if isinstance(value, (dict, list, tuple)) and value:
        _write_blocks(value, out)
    else:
        out.append(_line("", _flow(value, 0, "  ")))
    return "".join(out)


@dataclass
class _Block:
    """A mapping or list being written: its entries to come, their indentation, and what stands before the first."""

    entries: Iterator[Any]
    is_mapping: bool
    indent: str
    lead: str


def _write_blocks(value: Any, out: list[str]) -> None:
    stack = [_block(value, "", "")]
    while stack:
        block = stack[-1]
        entry = next(block.entries, _DONE)
        if entry is _DONE:
            stack.pop()
            continue
        lead, block.lead = block.lead, block.indent
        if block.is_mapping:
            inner = _write_pair(entry[0], entry[1], block.indent, lead, out)
        else:
            inner = _write_item(entry, block.indent, lead, out)
        if inner is not None:
            if len(stack) >= DEPTH_MAX:
                raise YamlError(0, 0, f"nested deeper than {DEPTH_MAX}")
            stack.append(inner)


_DONE: Final[Any] = object()


def _block(value: Any, indent: str, lead: str) -> _Block:
    if isinstance(value, dict):
        return _Block(iter([(key, value[key]) for key in _sorted(value)]), True, indent, lead)
    return _Block(iter(value), False, indent, lead)


def _write_pair(key: str, value: Any, indent: str, lead: str, out: list[str]) -> _Block | None:
    name, is_simple = _key(key, len(lead), indent + "  ")
    is_block = isinstance(value, (dict, list, tuple)) and len(value) > 0
    if not is_simple:
        out.append(_line(f"{lead}? ", name))
        if is_block:
            return _block(value, indent + "  ", indent + ": ")
        out.append(_line(f"{indent}: ", _flow(value, len(indent) + 2, indent + "  ")))
        return None
    if not is_block:
        out.append(_line(f"{lead}{name}: ", _flow(value, len(lead) + len(name) + 2, indent + "  ")))
        return None
    out.append(f"{lead}{name}:\n")
    inner = indent + "  " if isinstance(value, dict) else indent
    return _block(value, inner, inner)


def _write_item(value: Any, indent: str, lead: str, out: list[str]) -> _Block | None:
    if isinstance(value, (dict, list, tuple)) and value:
        return _block(value, indent + "  ", lead + "- ")
    out.append(_line(f"{lead}- ", _flow(value, len(lead) + 2, indent + "  ")))
    return None


def _line(start: str, text: str) -> str:
    """A finished line; a block scalar that keeps its last break brings its own."""
    return start + text if text[:1] == "|" and text[-1:] in _BREAKS else f"{start}{text}\n"


def _flow(value: Any, column: int, indent: str) -> str:
    """Anything that needs no block: a scalar, ``{}`` or ``[]``, written from ``column`` on."""
    if isinstance(value, str):
        return _string(value, column, indent)
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, (dict, list, tuple)):
        return "{}" if isinstance(value, dict) else "[]"
    raise YamlError(0, 0, f"json: unsupported type: {type(value).__name__}")


def _number(value: int | float) -> str:
    try:
        text = gojson.dumps(value)
    except gojson.GoJsonError as err:
        raise YamlError(0, 0, str(err)) from err
    if -(2**63) <= value < 2**64 and re.fullmatch("-?[0-9]+", text):
        return str(int(text))
    try:
        return gofmt.format_float(float(text))
    except OverflowError:
        return text


# Strings

_BREAKS: Final = ("\n", "\u2028", "\u2029")
_WIDTH: Final = 80
_EASY: Final = re.compile(r"[A-Za-z_/<(.0-9][A-Za-z0-9_./()<>=+@$%^;~|-]*")
# What YAML cannot hold even inside quotes: the original fails on it when it reads its own JSON text.
_FORBIDDEN: Final = re.compile("[\x7f-\x84\x86-\x9f\ufffe\uffff]")
_UNPRINTABLE: Final = re.compile("[^\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
_NEXT_LINES: Final = re.compile("[ ]*\x85([ \x85]*)")
_BASE_60: Final = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_INDICATOR_FIRST: Final = re.compile(r"""[#,\[\]{}&*!|>'"%@`]|[?:-](?:[ \t]|\Z)|---|\.\.\.""")
_INDICATOR_INSIDE: Final = re.compile(r":(?:[ \t]|\Z)|[ \t\n\u2028\u2029]#")
_SPACE_BEFORE_BREAK: Final = re.compile(" [\n\u2028\u2029]")
_SPACE_AFTER_BREAK: Final = re.compile("[\n\u2028\u2029] ")


def _string(text: str, column: int, indent: str) -> str:
    if len(text) <= 60 and _EASY.fullmatch(text):
        return _easy(text)
    text = _through_json(text)
    style = _style(text, is_key=False)
    return _WRITERS[style](text, column, indent)


@lru_cache(maxsize=4096)
def _easy(text: str) -> str:
    """A short text without spaces and awkward characters: plain, or quoted because it means something else."""
    return _WRITERS[_style(text, is_key=False)](text, 0, "")


def _key(key: object, column: int, indent: str) -> tuple[str, bool]:
    """A key's text, and whether it can stand on one line before its colon."""
    if not isinstance(key, str):
        raise YamlError(0, 0, f"json: a key must be a string, not {type(key).__name__}")
    if len(key) <= 60 and _EASY.fullmatch(key):
        return _easy(key), True
    text = _through_json(key)
    if len(text.encode()) > 128 or any(mark in text for mark in _BREAKS):
        return _WRITERS[_style(text, is_key=False)](text, column + 2, indent), False
    # keys never fold: no column is too far
    return _WRITERS[_style(text, is_key=True)](text, -(1 << 31), indent), True


def _style(text: str, *, is_key: bool) -> str:
    has_break = any(mark in text for mark in _BREAKS)
    is_special = _UNPRINTABLE.search(text) is not None
    space_break = _SPACE_BEFORE_BREAK.search(text) is not None
    if "\n" in text:
        block_allowed = not (is_special or space_break or text.endswith(" ") or is_key)
        return "literal" if block_allowed else "double"
    if not text or not _is_string(text):
        return "double"
    edges = (" ", *_BREAKS)
    is_plain = not (has_break or is_special or text.startswith(edges) or text.endswith(edges))
    if is_plain and not _INDICATOR_FIRST.match(text) and not _INDICATOR_INSIDE.search(text):
        return "plain"
    return "double" if is_special or space_break or _SPACE_AFTER_BREAK.search(text) else "single"


def _is_string(text: str) -> bool:
    """Whether a plain scalar of this text reads back as a string everywhere."""
    if text[0] not in PLAIN_HINTS:
        return True
    if _BASE_60.fullmatch(text) or is_timestamp(text):
        return False
    try:
        return isinstance(resolve(text), str)
    except ScalarError:
        return False


def _through_json(text: str) -> str:
    """What is left of a string after JSON and back: next-line characters fold like line breaks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = re.sub("[\ud800-\udfff]", "\ufffd", text)
    if forbidden := _FORBIDDEN.search(text):
        raise YamlError(0, 0, f"control characters are not allowed (#x{ord(forbidden[0]):04x})")
    return _NEXT_LINES.sub(lambda match: "\n" * match[1].count("\x85") or " ", text) if "\x85" in text else text


def _plain(text: str, column: int, indent: str) -> str:
    return text if column + len(text) <= _WIDTH or " " not in text else _folded(text, column, indent, "")


def _single(text: str, column: int, indent: str) -> str:
    quoted = text.replace("'", "''")
    if column + len(quoted) > _WIDTH or any(mark in text for mark in _BREAKS):
        quoted = _folded(text, column + 1, indent, "'")
    return f"'{quoted}'"


def _folded(text: str, column: int, indent: str, quote: str) -> str:
    """Breaks the line at single spaces beyond the width; in quotes not at the first or last character.

    Line and paragraph separators (only in quotes) stand as they are, and what follows them is indented.
    """
    out: list[str] = []
    after_space = after_break = False
    last = len(text.encode()) - 1 if quote else -1
    for index, character in enumerate(text):
        if character in _BREAKS:
            out.append(character)
            column, after_break = 0, True
        elif character != " ":
            piece = (indent if after_break else "") + (character * 2 if character == quote else character)
            out.append(piece)
            column, after_break = column + len(piece), False
        elif (
            column > _WIDTH
            and not after_space
            and text[index + 1 : index + 2] != " "
            and (not quote or 0 < len(text[:index].encode()) < last)
        ):
            out.append("\n" + indent)
            column = len(indent)
        else:
            out.append(" ")
            column += 1
        after_space = character == " "
    return "".join(out)


def _literal(text: str, _column: int, indent: str) -> str:
    hint = "2" if text[0] in (" ", *_BREAKS) else ""
    keeps_breaks = len(text) == 1 or text[-2] in _BREAKS
    chomp = "-" if text[-1] not in _BREAKS else "+" if keeps_breaks else ""
    body = re.sub("(^|[\n\u2028\u2029])(?=[^\n\u2028\u2029])", lambda match: match[1] + indent, text)
    return f"|{hint}{chomp}\n{body}"


_ESCAPES: Final = {
    "\0": "\\0",
    "\a": "\\a",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\v": "\\v",
    "\f": "\\f",
    "\r": "\\r",
    "\x1b": "\\e",
    '"': '\\"',
    "\\": "\\\\",
    "\x85": "\\N",
    "\xa0": "\\_",
    "\u2028": "\\L",
    "\u2029": "\\P",
}


def _double(text: str, column: int, indent: str) -> str:
    # the emitter asks whether the *text* starts with a byte order mark where it means the character
    escape_all = text.startswith("\ufeff")
    out = ['"']
    column += 1
    after_space = False
    last = len(text.encode()) - 1
    offset = 0
    for index, character in enumerate(text):
        if escape_all or character in _ALWAYS_ESCAPED or _UNPRINTABLE.match(character):
            piece, after_space = _escaped(character), False
        elif character != " ":
            piece, after_space = character, False
        elif column > _WIDTH and not after_space and 0 < offset < last:
            piece, after_space = "\n" + indent + ("\\" if text[index + 1] == " " else ""), True
            column = -1
        else:
            piece, after_space = " ", True
        out.append(piece)
        column += len(piece)
        offset += len(character.encode())
    return "".join(out) + '"'


_ALWAYS_ESCAPED: Final = frozenset('"\\\n\r\x85\u2028\u2029')


def _escaped(character: str) -> str:
    if (short := _ESCAPES.get(character)) is not None:
        return short
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= 0xFFFF else f"\\U{code:08X}"


_WRITERS: Final = {"plain": _plain, "single": _single, "double": _double, "literal": _literal}


# Keys


def _sorted(keys: Iterable[Any]) -> list[Any]:
    """Natural order: letters by code point after everything else, runs of digits by their value."""
    listed = list(keys)
    if all(isinstance(key, str) and key.isascii() and key.isalpha() for key in listed):
        return sorted(listed)
    return sorted(listed, key=cmp_to_key(_compare))


def _compare(a: Any, b: Any) -> int:
    if not isinstance(a, str) or not isinstance(b, str):
        raise YamlError(0, 0, "json: a key must be a string")
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return -1 if _is_less(a, b, index, left, right) else 1
    return len(a) - len(b)


def _is_less(a: str, b: str, index: int, left: str, right: str) -> bool:
    """Decides at the first difference, as keyList.Less does."""
    if left.isalpha() or right.isalpha():
        return left < right if left.isalpha() and right.isalpha() else right.isalpha()
    start = 1 if "0" in (left, right) and _follows_a_number(a, index) else 0
    a_number, a_end = _number_at(a, index, start)
    b_number, b_end = _number_at(b, index, start)
    if a_number != b_number:
        return a_number < b_number
    return a_end < b_end if a_end != b_end else left < right


def _follows_a_number(text: str, index: int) -> bool:
    """Whether the digits right before hold one that is not zero, so that a zero here counts."""
    while index > 0 and text[index - 1].isdecimal():
        index -= 1
        if text[index] != "0":
            return True
    return False


def _number_at(text: str, index: int, number: int) -> tuple[int, int]:
    while index < len(text) and text[index].isdecimal():
        number = number * 10 + ord(text[index]) - ord("0")
        index += 1
    return (number + 2**63) % 2**64 - 2**63, index
