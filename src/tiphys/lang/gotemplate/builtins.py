"""The functions that every template has: comparison, logic, printing, indexing, escaping.

Parameters of type ``reflect.Value`` get what is there, be it `NIL` or nothing (None); the others get plain values.
``and`` and ``or`` stop early and ``call`` knows names, so the compiler runs those three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiphys.lang import gosprintf, gourl
from tiphys.lang.gofmt import type_name
from tiphys.lang.gotemplate.state import NIL
from tiphys.lang.gotext import utf8
from tiphys.lang.govalues import CallError, Function, Uint8, function, is_list, kind_of

VALUE = "reflect.Value"
ESCAPED_HTML = {"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ESCAPED_JS = {
    "\\": r"\\", "'": r"\'", '"': r"\"", "<": r"\u003C", ">": r"\u003E", "&": r"\u0026", "=": r"\u003D",
}  # fmt: skip
_INTEGERS = frozenset(("int", "int8", "int16", "int32", "int64"))
_UNSIGNED = frozenset(("uint", "uint8", "uint16", "uint32", "uint64", "uintptr"))


def is_true(value: Any) -> bool:
    """What ``if`` thinks of a value: not nil, not zero, not empty; structs and pointers always are."""
    if value is None or value is NIL:
        return False
    if isinstance(value, bool | int | float | complex | str | bytes | list | tuple | dict):
        return bool(value)
    size = getattr(value, "__len__", None)
    return size is None or size() > 0


def printable(value: Any) -> Any:
    """What printing shows for a value: nothing is ``<no value>``."""
    return "<no value>" if value is None or value is NIL else value


def html(*values: Any) -> str:
    return "".join(ESCAPED_HTML.get(character, character) for character in _joined(values))


def js(*values: Any) -> str:
    return "".join(_js_character(character) for character in _joined(values))


def _js_character(character: str) -> str:
    if character in _ESCAPED_JS:
        return _ESCAPED_JS[character]
    if character < " ":
        return f"\\u00{ord(character):02X}"
    return character if character.isascii() or character.isprintable() else f"\\u{ord(character):04X}"


def urlquery(*values: Any) -> str:
    return gourl.escape(_joined(values), "query")


def _joined(values: tuple[Any, ...]) -> str:
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return gosprintf.sprint([printable(value) for value in values])


def length(item: Any) -> int:
    if item is NIL:
        raise CallError("len of nil pointer")
    if item is None:
        raise CallError("reflect: call of reflect.Value.Type on zero Value")
    if isinstance(item, str):
        return len(utf8(item))
    if is_list(item) or isinstance(item, dict):
        return len(item)
    raise CallError(f"len of type {type_name(item)}")


def index(item: Any, *indexes: Any) -> Any:
    """``index x 1 "a"`` is ``x[1]["a"]``; a key that a map lacks gives its zero value."""
    if item is None or item is NIL:
        raise CallError("index of untyped nil")
    for position in indexes:
        if item is NIL:
            raise CallError("index of nil pointer")
        position = None if position is NIL else position
        if isinstance(item, dict):
            item = _in_map(item, position)
        elif isinstance(item, str) or is_list(item):
            item = _at(item, position)
        else:
            raise CallError(f"can't index item of type {type_name(item)}")
    return item


def _in_map(mapping: dict[str, Any], key: Any) -> Any:
    if key is None:
        raise CallError("value is nil; should be of type string")
    if not isinstance(key, str):
        raise CallError(f"value has type {type_name(key)}; should be string")
    if key not in mapping:
        return "" if type_name(mapping) == "map[string]string" else NIL
    return element(mapping[key])


def _at(item: Any, position: Any) -> Any:
    data = utf8(item) if isinstance(item, str) else item
    at = _index(position, len(data))
    if at == len(data):
        raise CallError(f"reflect: {'string' if isinstance(item, str) else 'slice'} index out of range")
    return Uint8(data[at]) if isinstance(data, bytes) else element(data[at])


def element(value: Any) -> Any:
    """An entry of a container: nil there is a nil of type any."""
    return NIL if value is None else value


def _index(position: Any, limit: int) -> int:
    if position is None:
        raise CallError("cannot index slice/array with nil")
    if kind_of(position) not in _INTEGERS | _UNSIGNED:
        raise CallError(f"cannot index slice/array with type {type_name(position)}")
    if not 0 <= position <= limit:
        raise CallError(f"index out of range: {int(position)}")
    return int(position)


def slice_of(item: Any, *indexes: Any) -> Any:
    """``slice x 1 2`` is ``x[1:2]``."""
    if item is None or item is NIL:
        raise CallError("slice of untyped nil")
    if len(indexes) > 3:
        raise CallError(f"too many slice indexes: {len(indexes)}")
    if isinstance(item, str) and len(indexes) == 3:
        raise CallError("cannot 3-index slice a string")
    if not isinstance(item, str) and not is_list(item):
        raise CallError(f"can't slice item of type {type_name(item)}")
    data = utf8(item) if isinstance(item, str) else item
    bounds = [_index(position, len(data)) for position in indexes]
    limits = [*bounds, *(0, len(data), len(data))[len(bounds) :]]
    for low, high in ((limits[0], limits[1]), (limits[1], limits[2])):
        if low > high:
            raise CallError(f"invalid slice index: {low} > {high}")
    cut = data[limits[0] : limits[1]]
    return cut.decode("utf-8", "surrogateescape") if isinstance(item, str) else type(item)(cut)


def _basic_kind(value: Any) -> str:
    """The kinds that can be compared by value; empty for others."""
    kind = kind_of(None if value is NIL else value)
    if kind in _INTEGERS:
        return "int"
    if kind in _UNSIGNED:
        return "uint"
    return {"bool": "bool", "float64": "float", "float32": "float", "string": "string", "complex128": "complex"}.get(
        kind, ""
    )


def equal(first: Any, *others: Any) -> bool:
    """Whether the first equals any of the others."""
    first = None if first is NIL else first
    if not others:
        raise CallError("missing argument for comparison")
    return any(_equal(first, None if other is NIL else other) for other in others)


def _equal(left: Any, right: Any) -> bool:
    kinds = _basic_kind(left), _basic_kind(right)
    if kinds[0] != kinds[1]:
        if set(kinds) == {"int", "uint"}:
            return bool(left == right)
        if left is not None and right is not None:
            raise CallError(f"incompatible types for comparison: {type_name(left)} and {type_name(right)}")
        return False
    if kinds[0]:
        return bool(left == right)
    if left is None or right is None:
        return left is right
    if kind_of(left) != kind_of(right):
        shown = gosprintf.sprintf(
            "non-comparable types %s: %v, %s: %v", [left, type_name(left), type_name(right), right]
        )
        raise CallError(shown)
    if kind_of(right) in ("map", "slice", "func"):
        raise CallError(gosprintf.sprintf("non-comparable type %s: ", [right]) + type_name(right))
    return type(left) is type(right) and bool(left == right)


def less(left: Any, right: Any) -> bool:
    kinds = _basic_kind(left), _basic_kind(right)
    if not all(kinds):
        raise CallError("invalid type for comparison")
    if kinds[0] != kinds[1] and set(kinds) != {"int", "uint"}:
        raise CallError(f"incompatible types for comparison: {type_name(left)} and {type_name(right)}")
    if kinds[0] in ("bool", "complex"):
        raise CallError("invalid type for comparison")
    return utf8(left) < utf8(right) if kinds[0] == "string" else bool(left < right)


def less_or_equal(left: Any, right: Any) -> bool:
    return less(left, right) or equal(left, right)


def call_value(written: str, called: Any, *arguments: Any) -> Any:
    """The function ``call``: ``called`` is a function that is a value; ``written`` is how the template names it.

    Where it comes from a pipeline it has no name; then messages show what reflect prints for a value.
    """
    if not written:
        written = (
            called if isinstance(called, str) else f"<{type_name(called) if called is not None else 'invalid'} Value>"
        )
    if called is None or called is NIL:
        raise CallError("call of nil")
    if not isinstance(called, Function):
        raise CallError(f"non-function {written} of type {type_name(called)}")
    fixed = len(called.ins) - called.variadic
    if len(arguments) < fixed or (len(arguments) > fixed and not called.variadic):
        wanted = f"want at least {fixed}" if called.variadic else f"want {fixed}"
        raise CallError(f"wrong number of args for {written}: got {len(arguments)} {wanted}")
    kinds = [*called.ins[:fixed], *([called.ins[-1][2:]] * (len(arguments) - fixed) if called.variadic else [])]
    return called.call(*map(_prepared, range(len(arguments)), arguments, kinds))


def _prepared(position: int, value: Any, kind: str) -> Any:
    value = None if value is NIL else value
    if kind == "interface {}" or (value is not None and type_name(value) == kind):
        return value
    found = (
        f"has type {type_name(value)}; should be {kind}" if value is not None else f"is nil; should be of type {kind}"
    )
    raise CallError(f"arg {position}: value {found}")


def _run_by_the_compiler(*_: Any) -> Any:
    raise CallError("unreachable")


def _table() -> dict[str, tuple[tuple[str, ...], str, Callable[..., Any], bool]]:
    two = (VALUE, VALUE)
    one_and_more = (VALUE, f"[]{VALUE}")
    return {
        "and": (one_and_more, VALUE, _run_by_the_compiler, True),
        "or": (one_and_more, VALUE, _run_by_the_compiler, True),
        "call": (one_and_more, VALUE, _run_by_the_compiler, True),
        "index": (one_and_more, VALUE, index, True),
        "slice": (one_and_more, VALUE, slice_of, True),
        "len": ((VALUE,), "int", length, False),
        "not": ((VALUE,), "bool", lambda value: not is_true(value), False),
        "eq": (one_and_more, "bool", equal, True),
        "ne": (two, "bool", lambda left, right: not equal(left, right), False),
        "lt": (two, "bool", less, False),
        "le": (two, "bool", less_or_equal, False),
        "gt": (two, "bool", lambda left, right: not less_or_equal(left, right), False),
        "ge": (two, "bool", lambda left, right: not less(left, right), False),
    }


BUILTINS: Mapping[str, Function] = {
    **{name: Function(name, call, ins, out, variadic) for name, (ins, out, call, variadic) in _table().items()},
    "print": function("print", "...any -> string", lambda *values: gosprintf.sprint(values)),
    "println": function("println", "...any -> string", lambda *values: gosprintf.sprintln(values)),
    "printf": function("printf", "string, ...any -> string", lambda shape, *values: gosprintf.sprintf(shape, values)),
    "html": function("html", "...any -> string", html),
    "js": function("js", "...any -> string", js),
    "urlquery": function("urlquery", "...any -> string", urlquery),
}
