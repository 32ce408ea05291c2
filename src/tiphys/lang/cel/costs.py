"""What the calls of an evaluation cost: cel-go's rules, and Kubernetes' for its own functions.

A cost is a whole number of units. Walking a string costs a tenth of a unit per character, a pattern a quarter per
character of its own, a function that is not named here one unit. Wording the rules as functions of (arguments, result)
lets the program choose one per call while it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tiphys.lang.cel.operators import keys, lookup
from tiphys.lang.cel.values import Opaque, Optional, Record, size_of

Cost = Callable[[tuple[Any, ...], Any], int]

LIST_CREATION = 10
MAP_CREATION = 30
FORMAT_REGEX = "regex_size_max"


def rule(function: str, overload: str) -> Cost | int:
    """The rule for a call; a plain number when it is always the same. ``overload`` is empty when several may run."""
    found = _FUNCTIONS.get(function)
    if found is None:
        return _OVERLOADS.get(overload, 1)
    chosen: Cost | int = found(overload) if function in _BY_OVERLOAD else found
    return chosen


def tenth(size: int) -> int:
    """A tenth, rounded up: what walking a string costs."""
    return -(-size // 10)


def pattern_cost(text: int, pattern: int) -> int:
    """Matching a text of one length with a pattern of the other."""
    return tenth(text + 1) * -(-pattern // 4)


def traversal(value: Any) -> int:
    """Walking a value as a tree; strings count whole tenths of their bytes."""
    if isinstance(value, str):
        return int(len(value.encode("utf-8", "surrogatepass")) * 0.1)
    if isinstance(value, bytes):
        return int(len(value) * 0.1)
    if isinstance(value, list):
        return sum(map(traversal, value))
    if isinstance(value, dict | Record):
        return sum(traversal(key) + traversal(lookup(value, key)) for key in keys(value))
    return 1


def _size(value: Any) -> int:
    return size_of(value.value) if isinstance(value, Optional) and value.has_value else size_of(value)


def _first(args: tuple[Any, ...], result: Any) -> int:
    return tenth(size_of(args[0]))


def _first_twice(args: tuple[Any, ...], result: Any) -> int:
    return tenth(size_of(args[0]) * 2)


def _result_twice(args: tuple[Any, ...], result: Any) -> int:
    return tenth(size_of(result) * 2)


def _traversal(args: tuple[Any, ...], result: Any) -> int:
    return traversal(args[0])


def _search(args: tuple[Any, ...], result: Any) -> int:
    return pattern_cost(size_of(args[0]), size_of(args[1]))


def _smaller(args: tuple[Any, ...], result: Any) -> int:
    return tenth(min(_size(args[0]), _size(args[1])))


def _equality(args: tuple[Any, ...], result: Any) -> int:
    return 1 if isinstance(args[0], Opaque) else _smaller(args, result)


def _both(args: tuple[Any, ...], result: Any) -> int:
    return tenth(_size(args[0]) + _size(args[1]))


def _contains(args: tuple[Any, ...], result: Any) -> int:
    return tenth(_size(args[0])) * tenth(_size(args[1]))


def _in_list(args: tuple[Any, ...], result: Any) -> int:
    return _size(args[1])


def _sets(factor: int) -> Cost:
    return lambda args, result: 1 + size_of(args[0]) * size_of(args[1]) * factor


def _validate(args: tuple[Any, ...], result: Any) -> int:
    return pattern_cost(size_of(args[1]), getattr(args[0], FORMAT_REGEX, 0))


def _contains_ip(is_text: bool) -> Cost:
    return lambda args, result: tenth(2 * size_of(args[0])) + (tenth(size_of(args[1])) if is_text else 0)


def _contains_cidr(is_text: bool) -> Cost:
    def cost(args: tuple[Any, ...], result: Any) -> int:
        size = size_of(args[0])
        return tenth(2 * size) + tenth(size) + 1 + (tenth(size_of(args[1])) if is_text else 0)

    return cost


_OVERLOADS: dict[str, Cost | int] = {
    **dict.fromkeys(("starts_with_string", "ends_with_string"), lambda args, result: tenth(_size(args[0]))),
    **dict.fromkeys(("string_to_bytes", "bytes_to_string", "strings_quote", "string_format"), _first),
    "in_list": _in_list,
    **dict.fromkeys(("add_string", "add_bytes"), _both),
    "matches_string": _search,
    "contains_string": _contains,
    "equals": _smaller,
    "not_equals": _smaller,
    **{
        f"{name}_{kind}": _smaller
        for name in ("less", "less_equals", "greater", "greater_equals")
        for kind in ("string", "bytes")
    },
}
_BY_OVERLOAD: frozenset[str] = frozenset(("ip", "containsIP", "containsCIDR"))
_FUNCTIONS: dict[str, Any] = {
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _traversal),
    **dict.fromkeys(("url", "lowerAscii", "upperAscii", "substring", "trim"), _first),
    **dict.fromkeys(("replace", "split", "ip.isCanonical"), _first_twice),
    "join": _result_twice,
    **dict.fromkeys(("find", "findAll"), _search),
    **dict.fromkeys(("cidr", "isIP", "isCIDR", "quantity", "isQuantity", "semver", "isSemver"), _first),
    "ip": lambda overload: 1 if overload == "cidr_ip" else _first,
    "containsIP": lambda overload: _contains_ip(overload == "cidr_contains_ip_string"),
    "containsCIDR": lambda overload: _contains_cidr(overload == "cidr_contains_cidr_string"),
    "validate": _validate,
    "_==_": _equality,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}
