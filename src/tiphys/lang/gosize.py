"""How big a built value is, before something walks it.

Lists that hold each other many times (``let a = [1, 1]; let b = [a, a]; …``) take no memory until they are printed or
compared, and then all of it. What walks a value of unknown origin asks here first.
"""

from __future__ import annotations

from typing import Any

LEVELS_MAX = 200
"""Lists and maps in each other."""
ELEMENTS_MAX = 1_000_000
CHARACTERS_MAX = 10_000_000


class TooBig(ValueError):
    """A value that nobody wants printed."""


def refuse_size(value: Any) -> None:
    """Raises TooBig for a value nested too deep, or with too many elements or characters. Quick for scalars."""
    if type(value) in _SCALARS:
        return
    elements = characters = 0
    level = [value]
    for _ in range(LEVELS_MAX):
        deeper: list[Any] = []
        for one in level:
            if isinstance(one, str):
                characters += len(one)
            elif isinstance(one, _LISTS):
                elements += len(one)
                deeper.extend(one if elements <= ELEMENTS_MAX else ())
            elif isinstance(one, dict) or hasattr(one, "items"):
                elements += len(one)
                for key, inner in one.items():
                    deeper += (key, inner)
            if elements > ELEMENTS_MAX or characters > CHARACTERS_MAX:
                raise TooBig("memory budget exceeded")
        if not deeper:
            return
        level = deeper
    raise TooBig("recursion depth exceeded")


_LISTS = (list, tuple)
_SCALARS = frozenset((str, int, float, bool, type(None), bytes))
