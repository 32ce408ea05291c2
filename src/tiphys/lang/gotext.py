"""Which characters Go calls letters, digits and spaces; Python's own tests differ in a few places."""

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
