"""libyaml's parse events, with our errors and the checks that Go's port of the parser makes and libyaml does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import yaml
from yaml._yaml import CParser

from tiphys.lang.goyaml.errors import YamlError

SIZE_MAX: Final = 32 * 1024 * 1024
"""Longest text that is read, in characters or bytes."""

DEPTH_MAX: Final = 1_000
"""Deepest nesting. Go stops at 10,000, but libyaml's scanner gets slow (it is quadratic) long before."""

Next = Callable[[], Any]


def events(text: str | bytes) -> Next:
    """A function that gives the next event and raises `YamlError`."""
    if len(text) > SIZE_MAX:
        raise YamlError(0, 0, f"document of {len(text)} bytes is longer than {SIZE_MAX}")
    try:
        # an empty text has no line for an error to be on
        get: Next = CParser(text or "\n").get_event
    except (yaml.YAMLError, UnicodeEncodeError) as err:
        raise error_from(err) from err
    return get


def error_from(err: Exception) -> YamlError:
    """Our error for one of PyYAML's."""
    if isinstance(err, UnicodeEncodeError):
        return YamlError(0, 0, "lone surrogates are no Unicode text")
    if isinstance(err, yaml.reader.ReaderError):
        return YamlError(0, 0, f"{err.reason} (#x{_code(err.character):04x} at position {err.position})")
    mark = getattr(err, "problem_mark", None) or getattr(err, "context_mark", None)
    problem = getattr(err, "problem", None) or str(err)
    return YamlError(mark.line + 1, mark.column + 1, problem) if mark is not None else YamlError(0, 0, problem)


def error_at(event: Any, message: str) -> YamlError:
    mark = event.start_mark
    return YamlError(mark.line + 1, mark.column + 1, message)


def check_start(event: Any) -> None:
    """go-yaml v2 knows %YAML 1.1 only."""
    if event.version not in (None, (1, 1)):
        raise error_at(event, "found incompatible YAML document")


def check_escapes(event: Any, text: str | bytes) -> None:
    """Go refuses ``\\/`` in double quotes, libyaml reads it. Called only for texts that contain the two characters."""
    if event.style != '"' or "/" not in event.value:
        return
    source = text if isinstance(text, str) else text.decode("utf-8", "replace")
    written = source[event.start_mark.index : event.end_mark.index]
    if re.search(r"(?<!\\)(?:\\\\)*\\/", written):
        raise error_at(event, "found unknown escape character")


def _code(character: object) -> int:
    return character if isinstance(character, int) else ord(str(character)[:1] or "\0")
