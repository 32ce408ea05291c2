"""A parsed and compiled template, and the cache of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from tiphys.lang.gotemplate.builtins import BUILTINS
from tiphys.lang.gotemplate.compiler import Compiler
from tiphys.lang.gotemplate.errors import OptionError
from tiphys.lang.gotemplate.parser import parse
from tiphys.lang.gotemplate.state import State
from tiphys.lang.govalues import Function

MISSING_KEY = {
    "missingkey=default": "default",
    "missingkey=invalid": "default",
    "missingkey=zero": "zero",
    "missingkey=error": "error",
}

_CACHED_TEMPLATES = 1_024
_CACHED_LENGTH_MAX = 65_536


class Functions:
    """Functions under their names; compared by identity, so that templates compiled with them can be cached."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self.functions = MappingProxyType(dict(functions))

    def __contains__(self, name: object) -> bool:
        return name in self.functions or name in BUILTINS


NO_FUNCTIONS = Functions({})


class Template:
    """A text ready to be executed; raises `ParseError` where it is no template."""

    def __init__(self, text: str, name: str = "base", functions: Functions = NO_FUNCTIONS) -> None:
        self.text = text
        self.name = name
        self._bodies = Compiler(functions.functions).compile(parse(name, text, functions))

    def execute(self, data: Any, options: Iterable[str] = ()) -> str:
        """The text with ``data`` put in. Raises `ExecError`, and `OptionError` for an option that there is not.

        Data is plain JSON, or values of ``tiphys.lang.govalues``.
        """
        state = State(self.name, self.text, missing_key(options), data)
        try:
            self._bodies[self.name](state, data)
        except RecursionError:
            raise state.error("nested too deeply") from None
        return "".join(state.out)


def missing_key(options: Iterable[str]) -> str:
    """What a missing entry of a map means: default, zero or error. The last option wins."""
    found = "default"
    for option in options:
        if option not in MISSING_KEY:
            raise OptionError(f"unrecognized option: {option}")
        found = MISSING_KEY[option]
    return found


def compile(text: str, name: str = "base", functions: Functions = NO_FUNCTIONS) -> Template:
    """The template of a text; texts of ordinary size come from a cache. Raises `ParseError`."""
    return _cached(text, name, functions) if len(text) <= _CACHED_LENGTH_MAX else Template(text, name, functions)


_cached = lru_cache(maxsize=_CACHED_TEMPLATES)(Template)
