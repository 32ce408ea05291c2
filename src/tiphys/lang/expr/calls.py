"""Calling a value: functions of the environment and methods, with Go's complaints about what does not fit.

Go calls functions of a few dozen common signatures directly and all others through reflection; the two complain
differently about an argument whose type only showed at run time, and both texts are kept.
"""

from __future__ import annotations

from typing import Any

from tiphys.lang.expr.errors import Panic
from tiphys.lang.expr.operations import conversion
from tiphys.lang.gofmt import type_name
from tiphys.lang.gosize import refuse_size
from tiphys.lang.govalues import CallError, Function

_ZERO = {"string": "", "int": 0, "int64": 0, "float64": 0.0, "bool": False}
_DIRECT = frozenset(
    f"func({ins}) {out}"
    for ins, out in (
        ("string", "string"),
        ("time.Time", "bool"),
        ("time.Time", "time.Duration"),
        ("time.Duration", "time.Duration"),
        ("time.Duration", "time.Time"),
    )
)


def call_function(function: Any, arguments: list[Any], *, known: bool) -> Any:
    """``function(*arguments)`` after checking their number and types. Panics as Go does.

    ``known`` says that the checker knew the function's type, without which Go never calls directly.
    """
    if function is None:
        raise Panic("invalid operation: cannot call nil")
    if not isinstance(function, Function):
        raise Panic(f"invalid operation: cannot call non-function of type {type_name(function)}")
    fixed = len(function.ins) - function.variadic
    if function.variadic and len(arguments) < fixed:
        raise Panic(f"invalid number of arguments: expected at least {fixed}, got {len(arguments)}")
    if not function.variadic and len(arguments) != fixed:
        raise Panic(f"invalid number of arguments: expected {fixed}, got {len(arguments)}")
    for index, value in enumerate(arguments):
        wanted = function.ins[index] if index < fixed else function.ins[-1][2:]
        if wanted != "interface {}":
            arguments[index] = _fitting(function, value, wanted, known)
    for value in arguments:
        refuse_size(value)
    try:
        return function.call(*arguments)
    except CallError as err:
        raise Panic(str(err)) from err


def _fitting(function: Function, value: Any, wanted: str, known: bool) -> Any:
    if value is None:
        return _ZERO.get(wanted)
    found = type_name(value)
    if found == wanted:
        return value
    if known and function.go_type in _DIRECT:
        raise Panic(conversion(value, wanted))
    raise Panic(f"reflect: Call using {found} as type {wanted}")
