"""What builtins take and give, as far as types tell before anything runs.

Three sorts: builtins with a predicate (their results), builtins with fixed overloads (tried in order, the last one's
complaint is shown), and builtins with a rule of their own. Results deliberately forget what an array's elements were:
rules see Go's types only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tiphys.lang.expr.types import (
    ANY,
    ANY_MAP,
    BOOL,
    BY_NAME,
    DURATION,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LOCATION,
    SLICE,
    STRING,
    STRINGS,
    TIME,
    Type,
    function,
)

Rule = Callable[[str, list[Type]], Type]


class Mismatch(ValueError):
    """Arguments that a builtin does not take."""


def _or_error(one: Type) -> Type:
    """The same function with an error as second result, which only shows in its name."""
    ins = one.name.removesuffix(f" {one.out.name}") if one.out else one.name
    return replace(one, name=f"{ins} ({one.out.name if one.out else ''}, error)")


ANY_FUNCTION = _or_error(function((SLICE,), ANY, variadic=True))

BOOL_PREDICATES = frozenset(
    ("all", "none", "any", "one", "filter", "count", "find", "findIndex", "findLast", "findLastIndex")
)
PREDICATE_RESULTS: dict[str, Type | None] = {
    **dict.fromkeys(("all", "none", "any", "one"), BOOL),
    **dict.fromkeys(("count", "findIndex", "findLastIndex"), INT),
    **dict.fromkeys(("filter", "map", "find", "findLast", "groupBy", "sortBy", "sum", "reduce")),
}

_S, _SS, _SSS = (STRING,), (STRING, STRING), (STRING, STRING, STRING)

OVERLOADS: dict[str, tuple[Type, ...]] = {
    "type": (function((ANY,), STRING),),
    "string": (function((ANY,), STRING),),
    "trim": (function(_S, STRING), function(_SS, STRING)),
    **dict.fromkeys(("trimPrefix", "trimSuffix"), (function(_SS, STRING), function(_S, STRING))),
    **dict.fromkeys(("upper", "lower", "toBase64", "fromBase64"), (function(_S, STRING),)),
    **dict.fromkeys(("split", "splitAfter"), (function(_SS, STRINGS), function((*_SS, INT), STRINGS))),
    "replace": (function((*_SSS, INT), STRING), function(_SSS, STRING)),
    "repeat": (function((STRING, INT), STRING),),
    "join": (
        function((STRINGS, STRING), STRING),
        function((SLICE, STRING), STRING),
        function((SLICE,), STRING),
        function((STRINGS, STRING), STRING),
        function((STRINGS,), STRING),
    ),
    **dict.fromkeys(("indexOf", "lastIndexOf"), (function(_SS, INT),)),
    **dict.fromkeys(("hasPrefix", "hasSuffix"), (function(_SS, BOOL),)),
    "toJSON": (function((ANY,), STRING),),
    "fromJSON": (function(_S, ANY),),
    "duration": (_or_error(function(_S, DURATION)),),
    "timezone": (_or_error(function(_S, LOCATION)),),
    "sort": (
        *(function((one, STRING), SLICE) for one in (SLICE, INTS, FLOATS, STRINGS)),
        *(function((one,), SLICE) for one in (SLICE, FLOATS, STRINGS, INTS)),
    ),
    **dict.fromkeys(
        ("bitand", "bitor", "bitxor", "bitnand", "bitshl", "bitshr", "bitushr"), (function((INT, INT), INT),)
    ),
    "bitnot": (function((INT,), INT),),
}


def _shown(one: Type) -> str:
    return "%!s(<nil>)" if one.is_nil else ("interface {}" if one.is_unknown else one.name)


def _one(arguments: list[Type]) -> Type:
    if len(arguments) != 1:
        raise Mismatch(f"invalid number of arguments (expected 1, got {len(arguments)})")
    return arguments[0]


def _is_plain_number(one: Type) -> bool:
    # Kinds count here, not types: a time.Duration passes as the int64 that it is.
    return one.kind in ("int", "int64", "uint8", "float64")


def _len(name: str, arguments: list[Type]) -> Type:
    one = _one(arguments)
    if one.is_unknown or one.kind in ("array", "map", "slice", "string"):
        return INT
    raise Mismatch(f"invalid argument for len (type {_shown(one)})")


def _abs(name: str, arguments: list[Type]) -> Type:
    one = _one(arguments)
    if one.is_unknown or _is_plain_number(one):
        return ANY if one.is_unknown else one
    raise Mismatch(f"invalid argument for abs (type {_shown(one)})")


def _round(name: str, arguments: list[Type]) -> Type:
    one = _one(arguments)
    if one.is_unknown or _is_plain_number(one):
        return FLOAT
    raise Mismatch(f"invalid argument for {name} (type {_shown(one)})")


def _converted(result: Type) -> Rule:
    def rule(name: str, arguments: list[Type]) -> Type:
        one = _one(arguments)
        if one.is_unknown or _is_plain_number(one) or one.kind == "string":
            return result
        raise Mismatch(f"invalid argument for {name} (type {_shown(one)})")

    return rule


def _aggregate(name: str, arguments: list[Type]) -> Type:
    if not arguments:
        raise Mismatch(f"not enough arguments to call {name}")
    for one in arguments:
        if one.is_unknown or one.is_array:
            return ANY
        if not _is_plain_number(one):
            raise Mismatch(f"invalid argument for {name} (type {_shown(one)})")
    return arguments[0]


def _now(name: str, arguments: list[Type]) -> Type:
    if not arguments or (len(arguments) == 1 and arguments[0] is LOCATION):
        return TIME
    raise Mismatch(f"invalid number of arguments (expected 0, got {len(arguments)})")


def _date(name: str, arguments: list[Type]) -> Type:
    if not arguments:
        raise Mismatch("invalid number of arguments (expected at least 1, got 0)")
    rest = arguments[1:] if arguments[0] is LOCATION else arguments
    if len(rest) > 3:
        raise Mismatch(f"invalid number of arguments (expected at most 3, got {len(rest)})")
    return TIME


def _element(name: str, arguments: list[Type]) -> Type:
    one = _one(arguments)
    if one.is_unknown:
        return ANY
    if one.is_array:
        return (BY_NAME.get(one.name) or SLICE).element_type()
    raise Mismatch(f"cannot get {name} element from {_shown(one)}")


def _take(name: str, arguments: list[Type]) -> Type:
    if len(arguments) != 2:
        raise Mismatch(f"invalid number of arguments (expected 2, got {len(arguments)})")
    source, count = arguments
    if not (source.is_unknown or source.is_array):
        raise Mismatch(f"cannot take from {_shown(source)}")
    if not (count.is_unknown or count.kind in ("int", "int64")):
        raise Mismatch(f"cannot take {_shown(count)} elements")
    return BY_NAME.get(source.name, ANY)


def _of_map(verb: str) -> Rule:
    def rule(name: str, arguments: list[Type]) -> Type:
        one = _one(arguments)
        if one.is_unknown or one.kind == "map":
            return SLICE
        raise Mismatch(verb.format(_shown(one)))

    return rule


def _of_array(verb: str, result: Type) -> Rule:
    def rule(name: str, arguments: list[Type]) -> Type:
        one = _one(arguments)
        if one.is_unknown or one.is_array:
            return result
        raise Mismatch(verb.format(_shown(one)))

    return rule


def _concat(name: str, arguments: list[Type]) -> Type:
    if not arguments:
        raise Mismatch("invalid number of arguments (expected at least 1, got 0)")
    for one in arguments:
        if not (one.is_unknown or one.is_array):
            raise Mismatch(f"cannot concat {_shown(one)}")
    return SLICE


RULES: dict[str, Rule] = {
    "len": _len,
    "abs": _abs,
    **dict.fromkeys(("ceil", "floor", "round"), _round),
    "int": _converted(INT),
    "float": _converted(FLOAT),
    **dict.fromkeys(("max", "min", "mean", "median"), _aggregate),
    "now": _now,
    "date": _date,
    **dict.fromkeys(("first", "last"), _element),
    "take": _take,
    "keys": _of_map("cannot get keys from {}"),
    "values": _of_map("cannot get values from {}"),
    "toPairs": _of_map("cannot transform {} to pairs"),
    "fromPairs": _of_array("cannot transform {} from pairs", ANY_MAP),
    "reverse": _of_array("cannot reverse {}", SLICE),
    "uniq": _of_array("cannot uniq {}", SLICE),
    "flatten": _of_array("cannot flatten {}", SLICE),
    "concat": _concat,
}
