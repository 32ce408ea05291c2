"""find and findAll: what a regular expression (RE2) matches."""

from __future__ import annotations

from tiphys.lang.cel.declarations import Functions, member
from tiphys.lang.cel.types import INT, STRING, list_of
from tiphys.lang.cel.values import Failure
from tiphys.lang.goregexp import RegexpError, compile_pattern


def _find(text: str, pattern: str) -> str | Failure:
    try:
        match = compile_pattern(pattern).search(text)
    except RegexpError as err:
        return Failure(f"Illegal regex: {err}")
    return "" if match is None else str(match[0])


def _find_all(text: str, pattern: str, most: int = -1) -> list[str] | Failure:
    try:
        matches = compile_pattern(pattern).finditer(text)
    except RegexpError as err:
        return Failure(f"Illegal regex: {err}")
    found: list[str] = []
    for match in matches:
        if 0 <= most <= len(found):
            break
        found.append(match[0])
    return found


FUNCTIONS: Functions = {
    "find": (member("string_find_string", (STRING, STRING), STRING, _find),),
    "findAll": (
        member("string_find_all_string", (STRING, STRING), list_of(STRING), _find_all),
        member("string_find_all_string_int", (STRING, STRING, INT), list_of(STRING), _find_all),
    ),
}
