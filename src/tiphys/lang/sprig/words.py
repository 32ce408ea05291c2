"""snakecase, kebabcase and camelcase: where words begin and end (huandu/xstrings v1.5.0)."""

from __future__ import annotations

import unicodedata

from tiphys.lang.gotext import SPACES

_CJK = ((0x4E00, 0x9FCC), (0x3400, 0x4D85), (0x20000, 0x2B81D))

_INVALID, _NUMBER, _UPPER, _ALPHABET, _CONNECTOR, _PUNCTUATION, _OTHER = range(7)
_WORD_CHARACTERS = (_ALPHABET, _NUMBER)


def camel_case(text: str) -> str:
    """``http_server`` becomes ``HttpServer``; connectors at the beginning stay."""
    start = next((i for i, character in enumerate(text) if not _is_connector(character)), len(text))
    if start == len(text):
        return text + text[-1:]  # as upstream: what ends the loop is written once more
    out, current = list(text[:start]), _upper(text[start])
    shouting = text[start].isupper()
    for following in text[start + 1 :]:
        before, current = current, following
        if _is_connector(before) and _is_connector(current):
            out.append(before)
            continue
        if _is_connector(before):
            shouting = current.isupper()
            current = _upper(current)
            continue
        if shouting:
            if current.isupper():
                current = _lower(current)
            else:
                shouting = False
        out.append(before)
    out.append(current)
    return "".join(out)


def lower_words(text: str, connector: str) -> str:
    """``HTTPServer2Go`` becomes ``http-server2-go``."""
    if not text:
        return ""
    out: list[str] = []
    kind, word, rest = _next_word(text)
    while rest:
        if kind != _CONNECTOR:
            out.append(_lowered(kind, word, connector))
        before, last = kind, word
        kind, word, rest = _next_word(rest)
        if before == _NUMBER:
            while kind in _WORD_CHARACTERS:
                out.append(_lowered(kind, word, connector))
                kind, word, rest = _next_word(rest)
            if kind not in (_INVALID, _PUNCTUATION, _CONNECTOR):
                out.append(connector)
        elif before == _CONNECTOR:
            out.append(_lowered(before, last, connector))
        elif before != _PUNCTUATION:
            kind, word, rest = _after_letters(out, kind, word, rest, connector)
    out.append(_lowered(kind, word, connector))
    return "".join(out)


def _after_letters(out: list[str], kind: int, word: str, rest: str, connector: str) -> tuple[int, str, str]:
    """A number belongs to the letters before it unless lower-case letters follow (``bld4_floor``, ``http_2xx``)."""
    if kind != _NUMBER:
        if kind not in (_CONNECTOR, _PUNCTUATION):
            out.append(connector)
        return kind, word, rest
    if not rest:
        return kind, word, rest
    number = word
    kind, word, rest = _next_word(rest)
    if kind != _ALPHABET:
        out.append(_lowered(_NUMBER, number, connector))
        if kind not in (_CONNECTOR, _PUNCTUATION):
            out.append(connector)
        return kind, word, rest
    out += (connector, _lowered(_NUMBER, number, connector))
    while kind in _WORD_CHARACTERS:
        out.append(_lowered(kind, word, connector))
        kind, word, rest = _next_word(rest)
    if kind not in (_INVALID, _CONNECTOR, _PUNCTUATION):
        out.append(connector)
    return kind, word, rest


def _next_word(text: str) -> tuple[int, str, str]:
    if not text:
        return _INVALID, "", ""
    kind = _kind(text[0])
    end = _end_of_upper(text) if kind == _UPPER else _end(text, kind)
    return kind, text[:end], text[end:]


def _kind(character: str) -> int:
    if _is_connector(character):
        return _CONNECTOR
    if unicodedata.category(character)[0] == "P":
        return _PUNCTUATION
    if character.isupper() and unicodedata.category(character) == "Lu":
        return _UPPER
    if _is_alphabet(character):
        return _ALPHABET
    return _NUMBER if unicodedata.category(character)[0] == "N" else _OTHER


def _end(text: str, kind: int) -> int:
    return next((i for i, character in enumerate(text) if i and _kind(character) != kind), len(text))


def _end_of_upper(text: str) -> int:
    """``HTTPStatus`` is HTTP and Status; ``First`` is one word."""
    if len(text) == 1:
        return 1
    if _kind(text[1]) == _UPPER:
        end = next((i for i in range(2, len(text)) if _kind(text[i]) != _UPPER), len(text))
        return end - 1 if end < len(text) and _is_alphabet(text[end]) else end
    if _is_alphabet(text[1]):
        return next((i for i in range(2, len(text)) if _kind(text[i]) != _ALPHABET), len(text))
    return 1


def _is_connector(character: str) -> bool:
    return character in "-_" or character in SPACES


def _is_alphabet(character: str) -> bool:
    return character.isalpha() and not any(first <= ord(character) <= last for first, last in _CJK)


def _lowered(kind: int, word: str, connector: str) -> str:
    if kind not in (_UPPER, _CONNECTOR):
        return word
    return "".join(connector if _is_connector(character) else _lower(character) for character in word)


def _upper(character: str) -> str:
    changed = character.upper()
    return changed if len(changed) == 1 else character


def _lower(character: str) -> str:
    changed = character.lower()
    return changed if len(changed) == 1 else character
