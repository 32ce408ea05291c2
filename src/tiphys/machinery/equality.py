"""Equality of JSON values: like Python's, except that ``1``, ``1.0`` and ``true`` are three different things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def same(left: Any, right: Any) -> bool:
    """True where both would be written as the same JSON; any ``Mapping`` is an object."""
    if left is right:
        return True
    return bool(left == right) and _same_types(left, right)


def _same_types(left: Any, right: Any) -> bool:
    """Looks again at values that Python calls equal."""
    kind = type(left)  # the exact types first: asking for an abstract one is slow
    if kind is str:
        return True
    if kind is dict or (kind not in _SCALARS and isinstance(left, Mapping)):
        return all(value is right[key] or _same_types(value, right[key]) for key, value in left.items())
    if isinstance(left, list | tuple):
        return all(one is other or _same_types(one, other) for one, other in zip(left, right, strict=True))
    return kind is type(right)


_SCALARS = frozenset((int, float, bool, type(None), list, tuple))
