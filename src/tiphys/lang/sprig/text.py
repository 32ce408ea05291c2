"""Text: cases, cutting, padding, quoting, words. Lengths and positions count bytes, as in Go."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from tiphys.lang.gobase64 import first_illegal
from tiphys.lang.gofmt import quote as go_quote
from tiphys.lang.gofmt import sprint
from tiphys.lang.gotext import SPACES, TRIMMED, from_utf8, utf8
from tiphys.lang.govalues import CallError, StringList, StringMap, refuse_count, refuse_size
from tiphys.lang.sprig.convert import strings, strval
from tiphys.lang.sprig.words import camel_case, lower_words

_BYTE_SPACES = frozenset(byte for byte in range(256) if chr(byte) in SPACES)


def upper(text: str) -> str:
    """strings.ToUpper: character by character, so that ß stays."""
    return text.upper() if text.isascii() else "".join(map(upper_character, text))


def lower(text: str) -> str:
    return text.lower() if text.isascii() else "".join(map(lower_character, text))


def upper_character(character: str) -> str:
    changed = character.upper()
    return changed if len(changed) == 1 else character


def lower_character(character: str) -> str:
    changed = character.lower()
    return changed if len(changed) == 1 else character


def title_character(character: str) -> str:
    changed = character.title()
    return changed if len(changed) == 1 else character


def title(text: str) -> str:
    """strings.Title: the first letter of every word; letters, digits and ``_`` make words."""
    parts, after_word = [], False
    for character in text:
        parts.append(character if after_word else title_character(character))
        after_word = not _is_separator(character)
    return "".join(parts)


def _is_separator(character: str) -> bool:
    if character.isascii():
        return not (character.isalnum() or character == "_")
    if character.isalpha() or character.isdecimal():
        return False
    return character in SPACES


def untitle(text: str) -> str:
    """The first letter of every word to lower case; only white space parts words here."""
    parts, after_word = [], False
    for character in text:
        parts.append(character if after_word else lower_character(character))
        after_word = character not in SPACES
    return "".join(parts)


def swapcase(text: str) -> str:
    """Upper to lower, lower to upper; lower after white space to title case."""
    parts, after_space = [], True
    for character in text:
        if character.isupper() or character.istitle():
            parts.append(lower_character(character))
            after_space = False
        elif character.islower():
            parts.append(title_character(character) if after_space else upper_character(character))
            after_space = False
        else:
            parts.append(character)
            after_space = character in SPACES
    return "".join(parts)


def substr(start: int, end: int, text: str) -> str:
    data = utf8(text)
    if start < 0:
        return from_utf8(_cut(data, 0, end))
    if end < 0 or end > len(data):
        return from_utf8(_cut(data, start, len(data)))
    return from_utf8(_cut(data, start, end))


def _cut(data: bytes, start: int, end: int) -> bytes:
    """``data[start:end]``, which Go refuses outside the bounds."""
    if end < 0 or end > len(data):
        shown = f":{end}] with length {len(data)}" if start == 0 and end > len(data) else f":{end}]"
        raise CallError(f"runtime error: slice bounds out of range [{shown}")
    if start > end:
        raise CallError(f"runtime error: slice bounds out of range [{start}:{end}]")
    return data[start:end]


def trunc(count: int, text: str) -> str:
    data = utf8(text)
    if count < 0 and len(data) + count > 0:
        return from_utf8(data[len(data) + count :])
    return from_utf8(data[:count]) if 0 <= count < len(data) else text


def repeat(count: int, text: str) -> str:
    if count < 0:
        raise CallError("strings: negative Repeat count")
    refuse_size("repeat", count * len(text))
    return text * count


def nospace(text: str) -> str:
    """Works on bytes and takes each for a character, as goutils does: what is not ASCII is mangled once it cuts."""
    data = utf8(text)
    kept = [byte for byte in data if byte not in _BYTE_SPACES]
    return text if len(kept) == len(data) else "".join(map(chr, kept))


def initials(text: str) -> str:
    """The first byte of every word, taken for a character."""
    found, after_gap = [], True
    for byte in utf8(text):
        if byte in _BYTE_SPACES:
            after_gap = True
        elif after_gap:
            found.append(chr(byte))
            after_gap = False
    return "".join(found)


def abbrev(width: int, text: str) -> str:
    return text if width < 4 else from_utf8(_abbreviated(utf8(text), 0, width))


def abbrevboth(left: int, right: int, text: str) -> str:
    return text if right < 4 or (left > 0 and right < 7) else from_utf8(_abbreviated(utf8(text), left, right))


def _abbreviated(data: bytes, offset: int, width: int) -> bytes:
    if width < 4:
        return b""
    if len(data) <= width:
        return data
    offset = min(offset, len(data))
    if len(data) - offset < width - 3:
        offset = len(data) - (width - 3)
    if offset <= 4:
        return data[: width - 3] + b"..."
    if width < 7:
        return b""
    if offset + width - 3 < len(data):
        return b"..." + _abbreviated(data[offset:], 0, width - 3)
    return b"..." + data[len(data) - (width - 3) :]


def wrap(width: int, text: str) -> str:
    return _wrapped(text, width, "\n", break_words=False)


def wrap_with(width: int, separator: str, text: str) -> str:
    return _wrapped(text, width, separator or "\n", break_words=True)


def _wrapped(text: str, width: int, separator: str, *, break_words: bool) -> str:
    """Lines of at most ``width`` bytes, broken at spaces; words that are longer are broken or stay whole."""
    data, gap, width, offset = utf8(text), utf8(separator), max(width, 1), 0
    refuse_size("wrap", len(data) + len(data) // width * len(gap))
    parts: list[bytes] = []
    while len(data) - offset > width:
        if data[offset : offset + 1] == b" ":
            offset += 1
            continue
        space = data.rfind(b" ", offset, offset + width + 1)
        if space < 0 and break_words:
            parts += (data[offset : offset + width], gap)
            offset += width
            continue
        if space < 0:
            space = data.find(b" ", offset + width)
        if space < 0:
            break
        parts += (data[offset:space], gap)
        offset = space + 1
    return from_utf8(b"".join(parts) + data[offset:])


def quote(*values: Any) -> str:
    return " ".join(go_quote(strval(value)) for value in values if value is not None)


def squote(*values: Any) -> str:
    return " ".join(f"'{sprint(value)}'" for value in values if value is not None)


def cat(*values: Any) -> str:
    return " ".join(sprint(value) for value in values if value is not None)


def indent(spaces: int, text: str) -> str:
    if spaces < 0:
        raise CallError("strings: negative Repeat count")
    refuse_size("indent", len(text) + spaces * (text.count("\n") + 1))
    pad = " " * spaces
    return pad + text.replace("\n", "\n" + pad)


def nindent(spaces: int, text: str) -> str:
    return "\n" + indent(spaces, text)


def replace(old: str, new: str, text: str) -> str:
    refuse_size("replace", len(text) + text.count(old) * max(0, len(new) - len(old)))
    return text.replace(old, new)


def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def join(separator: str, value: Any) -> str:
    parts = strings(value)
    refuse_size("join", sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def split_text(separator: str, text: str, count: int = -1) -> list[str]:
    """strings.SplitN: an empty separator splits into characters, a negative count means all."""
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    if count < 0 or count >= len(text):
        refuse_count("split", len(text))
        return list(text)
    return [*text[: count - 1], text[count - 1 :]]


def split(separator: str, text: str) -> StringMap:
    return StringMap((f"_{index}", part) for index, part in enumerate(split_text(separator, text)))


def splitn(separator: str, count: int, text: str) -> StringMap:
    return StringMap((f"_{index}", part) for index, part in enumerate(split_text(separator, text, count)))


def split_list(separator: str, text: str) -> StringList:
    return StringList(split_text(separator, text))


def trim_all(cutset: str, text: str) -> str:
    return text.strip(cutset) if cutset else text


_BASE32_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")


def b64dec(text: str) -> str:
    """The text behind the base64; where it is none, the words of Go's error, as sprig gives them."""
    data = utf8(text).replace(b"\r", b"").replace(b"\n", b"")
    try:
        return from_utf8(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return f"illegal base64 data at input byte {first_illegal(utf8(text))}"


def b64enc(text: str) -> str:
    return base64.b64encode(utf8(text)).decode()


def b32enc(text: str) -> str:
    return base64.b32encode(utf8(text)).decode()


def b32dec(text: str) -> str:
    data = utf8(text).replace(b"\r", b"").replace(b"\n", b"")
    try:
        return from_utf8(base64.b32decode(data))
    except (binascii.Error, ValueError):
        return f"illegal base32 data at input byte {_first_illegal_of_32(data)}"


def _first_illegal_of_32(data: bytes) -> int:
    """Where Go's decoder gives up: groups are of eight, padded to their end."""
    for start in range(0, len(data), 8):
        group = data[start : start + 8]
        for index, byte in enumerate(group):
            rest = data[start + index + 1 :]
            if byte == ord("=") and index >= 2 and len(rest) < 8:
                if len(rest) + index < 7:
                    return len(data)
                other = next((k for k, one in enumerate(rest[: 7 - index]) if one != ord("=")), None)
                return start + index if other is None else start + index + other
            if byte not in _BASE32_ALPHABET:
                return start + index
        if len(group) < 8:
            return start
    return len(data)


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "hello": ("-> string", lambda: "Hello!"),
    "abbrev": ("int, string -> string", abbrev),
    "abbrevboth": ("int, int, string -> string", abbrevboth),
    "trunc": ("int, string -> string", trunc),
    "trim": ("string -> string", lambda text: text.strip(TRIMMED)),
    "upper": ("string -> string", upper),
    "lower": ("string -> string", lower),
    "title": ("string -> string", title),
    "untitle": ("string -> string", untitle),
    "substr": ("int, int, string -> string", substr),
    "repeat": ("int, string -> string", repeat),
    "trimall": ("string, string -> string", trim_all),
    "trimAll": ("string, string -> string", trim_all),
    "trimSuffix": ("string, string -> string", lambda suffix, text: text.removesuffix(suffix)),
    "trimPrefix": ("string, string -> string", lambda prefix, text: text.removeprefix(prefix)),
    "nospace": ("string -> string", nospace),
    "initials": ("string -> string", initials),
    "swapcase": ("string -> string", swapcase),
    "snakecase": ("string -> string", lambda text: lower_words(text, "_")),
    "camelcase": ("string -> string", camel_case),
    "kebabcase": ("string -> string", lambda text: lower_words(text, "-")),
    "wrap": ("int, string -> string", wrap),
    "wrapWith": ("int, string, string -> string", wrap_with),
    "contains": ("string, string -> bool", lambda part, text: part in text),
    "hasPrefix": ("string, string -> bool", lambda prefix, text: text.startswith(prefix)),
    "hasSuffix": ("string, string -> bool", lambda suffix, text: text.endswith(suffix)),
    "quote": ("...any -> string", quote),
    "squote": ("...any -> string", squote),
    "cat": ("...any -> string", cat),
    "indent": ("int, string -> string", indent),
    "nindent": ("int, string -> string", nindent),
    "replace": ("string, string, string -> string", replace),
    "plural": ("string, string, int -> string", plural),
    "toString": ("any -> string", strval),
    "toStrings": ("any -> []string", strings),
    "split": ("string, string -> map[string]string", split),
    "splitn": ("string, int, string -> map[string]string", splitn),
    "splitList": ("string, string -> []string", split_list),
    "join": ("string, any -> string", join),
    "b64enc": ("string -> string", b64enc),
    "b64dec": ("string -> string", b64dec),
    "b32enc": ("string -> string", b32enc),
    "b32dec": ("string -> string", b32dec),
}
