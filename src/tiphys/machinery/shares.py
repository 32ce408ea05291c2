"""Numbers or percentages (``IntOrString``): what 25% of 7 is, and how far a rolling update may go.

    value = number | digits "%"        as in ``maxSurge: 25%``

Source: apimachinery's util/intstr and the Deployment controller's ResolveFenceposts.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

IntOrString = int | str

_INT32: Final = range(-(1 << 31), 1 << 31)


class ShareError(ValueError):
    """The value is neither a number nor a percentage; the message is Kubernetes' own."""


def scaled(value: IntOrString, total: int, *, up: bool) -> int:
    """The number that ``value`` means out of ``total``; a percentage is rounded ``up`` or down. Raises ShareError."""
    if not isinstance(value, str):
        return value
    if not value.endswith("%"):
        raise ShareError("invalid value for IntOrString: invalid type: string is not a percentage")
    digits = value[:-1]
    if re.fullmatch(r"[+-]?[0-9]+", digits, re.ASCII) is None:
        why = f'strconv.Atoi: parsing "{digits}": invalid syntax'
        raise ShareError(f'invalid value for IntOrString: invalid value "{value}": {why}')
    product = int(digits) * total
    return -(-product // 100) if up else product // 100


def parse(text: str) -> IntOrString:
    """A number where the text is one that fits 32 bits, else the text itself."""
    if re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII) and int(text) in _INT32:
        return int(text)
    return text


def fenceposts(surge: IntOrString | None, unavailable: IntOrString | None, replicas: int) -> tuple[int, int]:
    """How many pods a rolling update may have too many, and too few. Never both 0. Raises ShareError."""
    more = scaled(surge or 0, replicas, up=True)
    fewer = scaled(unavailable or 0, replicas, up=False)
    # Both may come out as 0 by rounding; going on with one pod fewer is what keeps the update going.
    return (more, fewer) if more or fewer else (0, 1)


class RollingBounds(NamedTuple):
    """What a rolling update of a Deployment keeps to. ``unavailable`` never exceeds the replicas."""

    surge: int
    unavailable: int
    available_min: int

    @classmethod
    def of(cls, surge: IntOrString | None, unavailable: IntOrString | None, replicas: int) -> RollingBounds:
        """Raises ShareError."""
        more, fewer = fenceposts(surge, unavailable, replicas)
        fewer = min(fewer, replicas)
        return cls(more, fewer, replicas - fewer)


def read(value: Any) -> IntOrString:
    """A JSON value as an IntOrString; raises ShareError where it is neither."""
    if isinstance(value, str) or (type(value) is int and value in _INT32):
        return value
    kind = {bool: "bool", dict: "object", list: "array"}.get(type(value), f"number {value}")
    raise ShareError(f"json: cannot unmarshal {kind} into Go value of type int32")
