"""Wildcard patterns of gjson: ``*`` any characters, ``?`` any one, ``\\`` takes the next one literally."""

from __future__ import annotations


def matches(text: str, pattern: str) -> bool:
    """Whether the whole text fits. Takes at most len(text) * len(pattern) steps."""
    wanted = _tokens(pattern)
    if wanted is None:
        return False
    at = position = 0
    star, resume = -1, 0
    while at < len(text):
        token = wanted[position] if position < len(wanted) else None
        if token == _STAR:
            star, resume = position, at
            position += 1
        elif token is not None and token in (_ANY, text[at]):
            position += 1
            at += 1
        elif star >= 0:
            resume += 1
            at, position = resume, star + 1
        else:
            return False
    return all(token == _STAR for token in wanted[position:])


_STAR = "star"
_ANY = "any"


def _tokens(pattern: str) -> list[str] | None:
    """Characters and the two wildcards; None for a pattern that ends in a lone backslash and so fits nothing."""
    tokens: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character == "\\":
            literal = next(characters, None)
            if literal is None:
                return None
            tokens.append(literal)
        else:
            tokens.append({"*": _STAR, "?": _ANY}.get(character, character))
    return tokens
