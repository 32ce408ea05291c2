"""Regular expressions: Go's matching (google-re2) and Go's rules for all matches, replacing and splitting."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from tiphys.lang.gofmt import quote
from tiphys.lang.goregexp import RegexpError, compile_pattern
from tiphys.lang.govalues import CallError, StringList, refuse_count, refuse_size

_REFERENCE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


def _compiled(pattern: str) -> Any:
    try:
        return compile_pattern(pattern)
    except RegexpError as err:
        raise CallError(str(err)) from None


def _matches(pattern: str, text: str, count: int = -1) -> Iterator[Any]:
    """All matches that do not overlap; an empty one right after another match does not count."""
    end, found = -1, 0
    for match in _search_all(_compiled(pattern), text):
        if found == count:
            return
        if match.start() == match.end() == end:
            continue
        end = match.end()
        found += 1
        refuse_count("regex", found)
        yield match


def _search_all(compiled: Any, text: str) -> Iterator[Any]:
    """Bytes that are not UTF-8 match as U+FFFD; positions are those in ``text``, which still has the bytes."""
    return iter(compiled.finditer(_NOT_UTF8.sub("\ufffd", text)))


def regex_match(pattern: str, text: str) -> bool:
    try:
        return must_regex_match(pattern, text)
    except CallError:
        return False


def must_regex_match(pattern: str, text: str) -> bool:
    return next(_matches(pattern, text), None) is not None


def regex_find(pattern: str, text: str) -> str:
    match = next(_matches(pattern, text), None)
    return text[match.start() : match.end()] if match else ""


def regex_find_all(pattern: str, text: str, count: int) -> StringList:
    return StringList(text[match.start() : match.end()] for match in _matches(pattern, text, count))


def regex_replace_all(pattern: str, text: str, template: str) -> str:
    """``$1`` and ``${name}`` stand for groups, ``$$`` for ``$``; a group that there is not is empty."""
    return _replaced(pattern, text, lambda match: _REFERENCE.sub(lambda found: _group(match, found), template))


def _group(match: Any, found: re.Match[str]) -> str:
    name = found[1] or found[2]
    if name is None:
        return "$"
    if name.isdecimal():
        return (match[int(name)] or "") if int(name) <= match.re.groups else ""
    return (match[name] or "") if name in match.re.groupindex else ""


def regex_replace_all_literal(pattern: str, text: str, replacement: str) -> str:
    return _replaced(pattern, text, lambda match: replacement)


def _replaced(pattern: str, text: str, replacement: Callable[[Any], str]) -> str:
    parts: list[str] = []
    position, size = 0, len(text)
    for match in _matches(pattern, text):
        new = replacement(match)
        size += len(new)
        refuse_size("regexReplaceAll", size)
        parts += (text[position : match.start()], new)
        position = match.end()
    return "".join(parts) + text[position:]


def regex_split(pattern: str, text: str, count: int) -> StringList:
    found = StringList()
    _compiled(pattern)
    if count == 0:
        return found
    if pattern and not text:
        return StringList([""])
    begin = end = 0
    for match in _matches(pattern, text, count):
        if 0 < count == len(found) + 1:
            break
        end = match.start()
        if match.end() != 0:
            found.append(text[begin:end])
        begin = match.end()
    if end != len(text):
        found.append(text[begin:])
    return found


def _back_quoted(text: str) -> str:
    """As regexp shows a pattern: in backquotes where that is possible."""
    plain = all(character == "\t" or (character.isprintable() and character != "`") for character in text)
    return f"`{text}`" if plain else quote(text)


def _panicking(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function without ``must`` before its name: in Go it panics, with more words, for a bad pattern."""

    def run(pattern: str, *arguments: Any) -> Any:
        try:
            _compiled(pattern)
        except CallError as err:
            raise CallError(f"regexp: Compile({_back_quoted(pattern)}): {err}") from None
        return call(pattern, *arguments)

    return run


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "regexMatch": ("string, string -> bool", regex_match),
    "mustRegexMatch": ("string, string -> bool", must_regex_match),
    "regexQuoteMeta": ("string -> string", lambda text: _META.sub(r"\\\g<0>", text)),
}
for _name, _signature, _call in (
    ("regexFindAll", "string, string, int -> []string", regex_find_all),
    ("regexFind", "string, string -> string", regex_find),
    ("regexReplaceAll", "string, string, string -> string", regex_replace_all),
    ("regexReplaceAllLiteral", "string, string, string -> string", regex_replace_all_literal),
    ("regexSplit", "string, string, int -> []string", regex_split),
):
    TABLE[_name] = (_signature, _panicking(_call))
    TABLE[f"mustR{_name[1:]}"] = (_signature, _call)
