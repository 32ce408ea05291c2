"""The builtins without a predicate, running.

Each takes evaluated arguments and returns a value or panics with the original's text. Those that build something big
say how much (``MEASURED``: they return the value and its size), which counts against the memory budget of a run.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable
from functools import cmp_to_key
from typing import Any

from tiphys.lang import durations
from tiphys.lang.expr.errors import Panic
from tiphys.lang.expr.jsontext import marshal_indent
from tiphys.lang.expr.operations import (
    as_string,
    elements,
    equal,
    fetch,
    get,
    is_number,
    less,
    more,
    refuse_length,
    shown,
    to_int,
)
from tiphys.lang.expr.values import AnyMap, Pair, PairList
from tiphys.lang.gofmt import sprint_s, type_name
from tiphys.lang.gojson_read import JsonSyntaxError, loads
from tiphys.lang.gosize import refuse_size
from tiphys.lang.gotext import TRIMMED, utf8
from tiphys.lang.govalues import IntList, StringList, float_to_int, kind_of, parse_float, parse_int, wrap64
from tiphys.lang.moments import Duration, Location, Time, TimeError, load_location, parse

MEMORY_BUDGET = 1_000_000
"""What a run may build: list elements, map entries, characters of repeat (the original's default)."""

_REPEAT_MAX = 1_000_000
_COMPARED_MAX = 100_000

Builtin = Callable[..., Any]


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list | dict | bytes | AnyMap):
        return len(value)
    raise Panic(f"invalid argument for len (type {type_name(value)})")


def _type(value: Any) -> str:
    if value is None:
        return "nil"
    name = type_name(value)
    if "." in name and not name.startswith(("*", "[", "map", "func")):
        return name
    kind = kind_of(value)
    for prefix, short in (("int", "int"), ("uint", "uint"), ("float", "float")):
        if kind.startswith(prefix):
            return short
    return {"slice": "array", "ptr": "unknown"}.get(kind, kind)


def _abs(value: Any) -> Any:
    if not is_number(value):
        raise Panic(f"invalid argument for abs (type {type_name(value)})")
    return (
        value if value >= 0 or value != value else type(value)(-value if isinstance(value, float) else wrap64(-value))
    )


def _rounding(name: str, apply: Callable[[float], float]) -> Builtin:
    def call(value: Any) -> float:
        if not is_number(value):
            raise Panic(f"invalid argument for {name} (type {type_name(value)})")
        number = float(value)
        return number if not math.isfinite(number) or number == 0 else math.copysign(apply(number), number)

    return call


def _round(value: float) -> float:
    whole = math.trunc(value)
    return float(whole) if abs(value - whole) < 0.5 else float(whole + (1 if value > 0 else -1))


def to_integer(value: Any) -> int:
    """int() and asInt()."""
    if isinstance(value, str):
        try:
            return parse_int(value)
        except ValueError:
            raise Panic(f"invalid operation: int({value})") from None
    if isinstance(value, float):
        return float_to_int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if value is None:
        raise Panic("reflect: call of reflect.Value.Type on zero Value")
    raise Panic(f"invalid operation: int({type_name(value)})")


def to_real(value: Any) -> float:
    """float() and asFloat()."""
    if isinstance(value, str):
        try:
            return parse_float(value)
        except ValueError:
            raise Panic(f"invalid operation: float({value})") from None
    if is_number(value):
        return float(value)
    raise Panic(f"invalid operation: float({type_name(value)})")


# Text.


def _trim(text: Any, cutset: Any = None) -> str:
    return as_string(text).strip(TRIMMED if cutset is None else as_string(cutset)) if cutset != "" else as_string(text)


def _trim_prefix(text: Any, prefix: Any = " ") -> str:
    return as_string(text).removeprefix(as_string(prefix))


def _trim_suffix(text: Any, suffix: Any = " ") -> str:
    return as_string(text).removesuffix(as_string(suffix))


def _upper(text: Any) -> str:
    if as_string(text).isascii():
        return str(text.upper())
    return "".join(up if len(up := one.upper()) == 1 else one for one in as_string(text))


def _lower(text: Any) -> str:
    if as_string(text).isascii():
        return str(text.lower())
    return "".join(low if len(low := one.lower()) == 1 else "i" if one == "İ" else one for one in as_string(text))


def _split(text: Any, separator: Any, count: Any = -1) -> StringList:
    return _parts(as_string(text), as_string(separator), to_int(count), keep=False)


def _split_after(text: Any, separator: Any, count: Any = -1) -> StringList:
    return _parts(as_string(text), as_string(separator), to_int(count), keep=True)


def _parts(text: str, separator: str, count: int, *, keep: bool) -> StringList:
    if count == 0:
        return StringList()
    if separator == "":
        characters = list(text)
        if 0 < count < len(characters):
            characters[count - 1 :] = ["".join(characters[count - 1 :])]
        return StringList(characters)
    found = text.split(separator, count - 1 if count > 0 else -1)
    return StringList([one + separator for one in found[:-1]] + found[-1:] if keep else found)


def _replace(text: Any, old: Any, new: Any, count: Any = -1) -> str:
    source, before, after, times = as_string(text), as_string(old), as_string(new), to_int(count)
    if len(after) > len(before):
        found = source.count(before)
        refuse_length(len(source) + (len(after) - len(before)) * (found if times < 0 else min(found, times)))
    return source.replace(before, after, times)


def _repeat(text: Any, count: Any) -> tuple[str, int]:
    times, source = to_int(count), as_string(text)
    if times < 0:
        raise Panic(f"invalid argument for repeat (expected positive integer, got {times})")
    if times > _REPEAT_MAX or len(source) * times >= MEMORY_BUDGET:
        raise Panic("memory budget exceeded")
    return source * times, len(utf8(source)) * times


def _join(values: Any, glue: Any = "") -> str:
    joint = as_string(glue)
    if type(values) is not list and not isinstance(values, StringList):
        name = "%!s(<nil>)" if values is None else type_name(values)
        raise Panic(f"invalid argument for join (type {name})")
    parts = list(map(as_string, values))
    refuse_length(sum(map(len, parts)) + len(joint) * len(parts))
    return joint.join(parts)


def _index_of(text: Any, part: Any) -> int:
    return utf8(as_string(text)).find(utf8(as_string(part)))


def _last_index_of(text: Any, part: Any) -> int:
    return utf8(as_string(text)).rfind(utf8(as_string(part)))


def _has_prefix(text: Any, prefix: Any) -> bool:
    return as_string(text).startswith(as_string(prefix))


def _has_suffix(text: Any, suffix: Any) -> bool:
    return as_string(text).endswith(as_string(suffix))


# Numbers.


def _extreme(name: str, beats: Callable[[Any, Any], bool]) -> Builtin:
    def call(*arguments: Any, depth: int = 0) -> Any:
        if depth == 0:
            refuse_size(arguments)
        best: Any = None
        for argument in arguments:
            if isinstance(argument, list | bytes):
                best = _best_of(elements(argument), best, depth)
            elif isinstance(argument, int | float) and not isinstance(argument, bool):
                best = argument if best is None or beats(best, argument) else best
            elif len(arguments) == 1:
                return argument
            else:
                raise Panic(f"invalid argument for {name} (type {type_name(argument)})")
        return best

    def _best_of(values: list[Any], best: Any, depth: int) -> Any:
        for value in values:
            if isinstance(value, list | bytes):
                value = call(value, depth=depth + 1)
                if value is None:
                    continue
            elif not is_number(value):
                raise Panic(f"invalid argument for {name} (type {type_name(value)})")
            if best is None or beats(best, value):
                best = value
        return best

    return call


def _numbers(name: str, arguments: Any, depth: int = 0) -> list[float]:
    if depth == 0:
        refuse_size(arguments)
    found: list[float] = []
    for argument in arguments:
        if isinstance(argument, list | bytes):
            found.extend(_numbers(name, elements(argument), depth + 1))
        elif isinstance(argument, int | float) and not isinstance(argument, bool):
            found.append(float(argument))
        else:
            raise Panic(f"invalid argument for {name} (type {type_name(argument)})")
    return found


def _mean(*arguments: Any) -> float:
    values = _numbers("mean", arguments)
    total = 0.0
    for value in values:  # not fsum or sum(): the rounding must be that of adding one by one
        total += value
    return total / len(values) if values else 0.0


def _median(*arguments: Any) -> float:
    values = sorted(_numbers("median", arguments))
    if not values:
        return 0.0
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def _bits(name: str, apply: Callable[[int, int], int]) -> Builtin:
    def call(x: Any, y: Any) -> int:
        return wrap64(apply(_bit_operand(name, x), _bit_operand(name, y)))

    return call


def _bit_operand(name: str, value: Any) -> int:
    if not is_number(value) or isinstance(value, float):
        raise Panic(f"cannot use {type_name(value)} as argument (type int) to call {name}")
    return int(value)


def _shift(apply: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def call(x: int, y: int) -> int:
        if y < 0:
            raise Panic(f"invalid operation: negative shift count {y} (type int)")
        return apply(x, min(y, 64))

    return call


def _bit_not(value: Any) -> int:
    return ~_bit_operand("bitnot", value)


# Encodings and times.


def _from_json(text: Any) -> Any:
    try:
        return loads(as_string(text))
    except JsonSyntaxError as err:
        raise Panic(str(err)) from err


def _to_base64(text: Any) -> str:
    return base64.b64encode(utf8(as_string(text))).decode()


def _from_base64(text: Any) -> str:
    data = as_string(text)
    compact = data.replace("\r", "").replace("\n", "")
    try:
        return base64.b64decode(compact, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        raise Panic(f"illegal base64 data at input byte {_bad_base64(data)}") from None


def _bad_base64(data: str) -> int:
    """Where Go's decoder stops: the first character that cannot be there, or the end."""
    alphabet = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
    count = 0
    for at, character in enumerate(data):
        if character in "\r\n":
            continue
        if character == "=" and count % 4 >= 2:
            padding = data[at:].replace("\r", "").replace("\n", "")
            needed = 4 - count % 4
            if padding[:needed] == "=" * needed:
                return at + needed
            return len(data) if len(padding) < needed else at + 1
        if character not in alphabet:
            return at
        count += 1
    return len(data) - count % 4 if count % 4 else len(data)


def _duration(text: Any) -> Duration:
    try:
        return Duration(durations.parse(as_string(text)))
    except durations.DurationError as err:
        raise Panic(str(err)) from err


_DATE_LAYOUTS = (
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    "2006-01-02T15:04:05Z07:00",
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
)


def _date(*arguments: Any) -> Time:
    zone = arguments[0] if isinstance(arguments[0], Location) else None
    rest = arguments[1:] if zone is not None else arguments
    if not rest:
        raise Panic("runtime error: index out of range [0] with length 0")
    text = as_string(rest[0])
    try:
        if len(rest) == 3:
            return parse(as_string(rest[1]), text, _timezone(rest[2]))
        if len(rest) == 2:
            return parse(as_string(rest[1]), text, *([zone] if zone else []))
    except TimeError as err:
        raise Panic(str(err)) from err
    for layout in _DATE_LAYOUTS:
        try:
            return parse(layout, text, *([zone] if zone else []))
        except TimeError:
            continue
    raise Panic(f"invalid date {text}")


def _timezone(name: Any) -> Location:
    try:
        return load_location(as_string(name))
    except LookupError as err:
        raise Panic(str(err.args[0])) from err


# Lists and maps.


def _first(values: Any) -> Any:
    try:
        return fetch(values, 0)
    except Panic:
        return None


def _last(values: Any) -> Any:
    try:
        return fetch(values, -1)
    except Panic:
        return None


def _list_of(values: Any, complaint: str) -> list[Any]:
    if isinstance(values, list):
        return values
    if isinstance(values, bytes):
        return elements(values)
    raise Panic(complaint.format(kind_of(values)))


def _take(values: Any, count: Any) -> Any:
    source = _list_of(values, "cannot take from {}")
    if not isinstance(count, int) or isinstance(count, bool):
        raise Panic(f"cannot take {kind_of(count)} elements")
    if count < 0:
        raise Panic("reflect.Value.Slice: slice index out of bounds")
    return type(source)(source[: int(count)])


def _entries(value: Any, complaint: str) -> list[tuple[Any, Any]]:
    if isinstance(value, dict | AnyMap):
        return list(value.items())
    raise Panic(complaint.format(kind_of(value)))


def _keys(value: Any) -> list[Any]:
    return [key for key, _ in _entries(value, "cannot get keys from {}")]


def _values(value: Any) -> list[Any]:
    return [one for _, one in _entries(value, "cannot get values from {}")]


def _to_pairs(value: Any) -> PairList:
    return PairList(Pair(entry) for entry in _entries(value, "cannot transform {} to pairs"))


def _from_pairs(values: Any) -> AnyMap:
    if not isinstance(values, list | bytes):
        text = "<invalid reflect.Value>" if values is None else sprint_s(values)
        raise Panic(f"cannot transform {text} from pairs")
    found = AnyMap()
    for one in elements(values):
        pair = elements(one) if isinstance(one, bytes) else one
        if not isinstance(pair, list):
            raise Panic(f"invalid pair {shown(pair)}")
        if len(pair) != 2:
            raise Panic(f"invalid pair length {shown(pair)}")
        if isinstance(pair[0], list | dict | AnyMap | bytes):
            raise Panic(f"runtime error: hash of unhashable type {type_name(pair[0])}")
        found.set(pair[0], pair[1])
    return found


def _reverse(values: Any) -> tuple[list[Any], int]:
    found = list(reversed(_list_of(values, "cannot reverse {}")))
    return found, len(found)


def _uniq(values: Any) -> list[Any]:
    found: list[Any] = []
    plain: dict[type, set[Any]] = {str: set(), float: set()}  # equal only to their like: no comparing each with each
    others: list[Any] = []
    compared = 0
    for value in _list_of(values, "cannot uniq {}"):
        known = plain.get(float if is_number(value) else type(value))
        if known is not None:
            if value not in known or value != value:
                known.add(value)
                found.append(value)
        elif not any(equal(value, other) for other in others):
            compared += len(others)
            if compared > _COMPARED_MAX:
                raise Panic("memory budget exceeded")
            others.append(value)
            found.append(value)
    return found


def _concat(*arguments: Any) -> tuple[list[Any], int]:
    found: list[Any] = []
    for argument in arguments:
        found.extend(_list_of(argument, "cannot concat {}"))
    return found, len(found)


def _flatten(values: Any) -> tuple[list[Any], int]:
    refuse_size(values)
    found: list[Any] = []
    _flatten_into(found, _list_of(values, "cannot flatten {}"))
    return found, len(found)


def _flatten_into(found: list[Any], values: list[Any]) -> None:
    for value in values:
        if isinstance(value, list | bytes):
            _flatten_into(found, elements(value))
        else:
            found.append(value)


def _sort(values: Any, order: Any = "asc") -> tuple[list[Any], int]:
    if not isinstance(order, str):
        raise Panic(f"sort order argument must be a string (got {type_name(order)})")
    if order not in ("asc", "desc"):
        raise Panic(f"invalid order {order}, expected asc or desc")
    # Lists of other element types sort to nothing in the original.
    known = type(values) is list or isinstance(values, IntList | StringList)
    found = sorted_by(list(values), list(values), descending=order == "desc") if known else []
    return found, len(found)


def sorted_by(values: list[Any], keys: list[Any], *, descending: bool) -> list[Any]:
    """The values in the order of their keys. Stable, which Go's sort is not; ties therefore keep their order."""

    def compare(a: tuple[Any, Any], b: tuple[Any, Any]) -> int:
        if descending:
            a, b = b, a
        return -1 if less(a[0], b[0]) else 1 if less(b[0], a[0]) else 0

    pairs = list(zip(keys, values, strict=True))
    if len(pairs) == 1:
        return values
    plain = _plain_key(keys)
    if plain is not None:
        return [value for _, value in sorted(pairs, key=lambda pair: plain(pair[0]), reverse=descending)]
    return [value for _, value in sorted(pairs, key=cmp_to_key(compare))]


def _plain_key(keys: list[Any]) -> Callable[[Any], Any] | None:
    """How to sort keys of one kind without calling back for each comparison."""
    kinds = set(map(type, keys))
    if kinds == {str}:
        return _same if all(map(str.isascii, keys)) else utf8
    if kinds <= {int, float} and not any(key != key for key in keys):
        return _same
    return None


def _same(key: Any) -> Any:
    return key


MEASURED: dict[str, Callable[..., tuple[Any, int]]] = {
    "repeat": _repeat,
    "reverse": _reverse,
    "concat": _concat,
    "flatten": _flatten,
    "sort": _sort,
}

PLAIN: dict[str, Builtin] = {
    "len": _length,
    "type": _type,
    "abs": _abs,
    "ceil": _rounding("ceil", lambda value: float(math.ceil(value))),
    "floor": _rounding("floor", lambda value: float(math.floor(value))),
    "round": _rounding("round", _round),
    "int": to_integer,
    "float": to_real,
    "string": shown,
    "trim": _trim,
    "trimPrefix": _trim_prefix,
    "trimSuffix": _trim_suffix,
    "upper": _upper,
    "lower": _lower,
    "split": _split,
    "splitAfter": _split_after,
    "replace": _replace,
    "join": _join,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "hasPrefix": _has_prefix,
    "hasSuffix": _has_suffix,
    "max": _extreme("max", less),
    "min": _extreme("min", more),
    "mean": _mean,
    "median": _median,
    "toJSON": marshal_indent,
    "fromJSON": _from_json,
    "toBase64": _to_base64,
    "fromBase64": _from_base64,
    "duration": _duration,
    "date": _date,
    "timezone": _timezone,
    "first": _first,
    "last": _last,
    "get": get,
    "take": _take,
    "keys": _keys,
    "values": _values,
    "toPairs": _to_pairs,
    "fromPairs": _from_pairs,
    "uniq": _uniq,
    "bitand": _bits("bitand", lambda x, y: x & y),
    "bitor": _bits("bitor", lambda x, y: x | y),
    "bitxor": _bits("bitxor", lambda x, y: x ^ y),
    "bitnand": _bits("bitnand", lambda x, y: x & ~y),
    "bitshl": _bits("bitshl", _shift(lambda x, y: x << y)),
    "bitshr": _bits("bitshr", _shift(lambda x, y: x >> y)),
    "bitushr": _bits("bitushr", _shift(lambda x, y: (x % (1 << 64)) >> y)),
    "bitnot": _bit_not,
}
"""Every builtin but those with a predicate, those in MEASURED, and now(), whose answer the run is given."""
