"""Go's strings: their bytes, and which characters are letters, digits and spaces (Python differs in places)."""

from __future__ import annotations

SPACES = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))
"""unicode.IsSpace: str.isspace() without the separators U+001C to U+001F."""

TRIMMED = "".join(sorted(SPACES))
"""The argument for str.strip() that makes it strings.TrimSpace."""


def is_letter(character: str) -> bool:
    """unicode.IsLetter (categories L*)."""
    return character.isalpha()


def is_digit(character: str) -> bool:
    """unicode.IsDigit (category Nd): narrower than str.isdigit()."""
    return character.isdecimal()


def utf8(text: str) -> bytes:
    """The bytes of a Go string. Halves of surrogate pairs, which no Go string has, become bytes of their own."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def from_utf8(data: bytes) -> str:
    """The string of some bytes, whatever they are."""
    return data.decode("utf-8", "surrogateescape")
