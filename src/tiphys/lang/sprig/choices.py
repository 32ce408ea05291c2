"""Defaults, JSON, and what a value is."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from tiphys.lang import gojson, gojson_read
from tiphys.lang.gofmt import type_name
from tiphys.lang.govalues import CallError, deep_equal, kind_of
from tiphys.lang.moments import Time, format_time
from tiphys.lang.sprig.convert import is_empty
from tiphys.lang.sprig.maps import DEPTH_MAX
from tiphys.lang.sprig.semver import Version

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[\]|\{\}|[\[\]{}:,]|[^"\[\]{}:,]+')


def default(fallback: Any, *given: Any) -> Any:
    return fallback if not given or is_empty(given[0]) else given[0]


def coalesce(*values: Any) -> Any:
    return next((value for value in values if not is_empty(value)), None)


def ternary(when_true: Any, when_false: Any, choice: bool) -> Any:
    return when_true if choice else when_false


def must_from_json(text: str) -> Any:
    try:
        return gojson_read.loads(text)
    except gojson_read.JsonSyntaxError as err:
        raise CallError(str(err)) from None


def from_json(text: str) -> Any:
    try:
        return gojson_read.loads(text)
    except gojson_read.JsonSyntaxError:
        return None


def must_to_json(value: Any) -> str:
    return _dumps(value)


def must_to_pretty_json(value: Any) -> str:
    return indent(_dumps(value), "  ")


def must_to_raw_json(value: Any) -> str:
    return _dumps(value, escape_html=False)


def to_json(value: Any) -> str:
    return _or_nothing(must_to_json, value)


def to_pretty_json(value: Any) -> str:
    return _or_nothing(must_to_pretty_json, value)


def _or_nothing(write: Callable[[Any], str], value: Any) -> str:
    try:
        return write(value)
    except CallError:
        return ""


def _dumps(value: Any, *, escape_html: bool = True) -> str:
    try:
        return gojson.dumps(plain(value), escape_html=escape_html)
    except gojson.GoJsonError as err:
        raise CallError(str(err)) from None


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON knows it: times and versions as text, bytes as base64. Raises CallError for functions."""
    if depth > DEPTH_MAX:
        raise CallError(f"json: nested deeper than {DEPTH_MAX}")
    if isinstance(value, dict):
        return {key: plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, Time):
        return format_time(value, "2006-01-02T15:04:05.999999999Z07:00")
    if isinstance(value, Version):
        return value.go_string()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, str | int | float):
        return value
    raise CallError(f"json: unsupported type: {type_name(value)}")


def indent(text: str, step: str) -> str:
    """json.Indent of compact JSON text: one element a line, empty lists and objects on one."""
    parts: list[str] = []
    depth = 0
    for token in _JSON_TOKEN.finditer(text):
        match token[0]:
            case "[" | "{" as opening:
                depth += 1
                parts.append(f"{opening}\n{step * depth}")
            case "]" | "}" as closing:
                depth -= 1
                parts.append(f"\n{step * depth}{closing}")
            case ",":
                parts.append(f",\n{step * depth}")
            case ":":
                parts.append(": ")
            case other:
                parts.append(other)
    return "".join(parts)


def fail(message: str) -> str:
    raise CallError(message)


TABLE: dict[str, tuple[str, Callable[..., Any]]] = {
    "default": ("any, ...any -> any", default),
    "empty": ("any -> bool", is_empty),
    "coalesce": ("...any -> any", coalesce),
    "all": ("...any -> bool", lambda *values: not any(map(is_empty, values))),
    "any": ("...any -> bool", lambda *values: not all(map(is_empty, values))),
    "ternary": ("any, any, bool -> any", ternary),
    "fromJson": ("string -> any", from_json),
    "mustFromJson": ("string -> any", must_from_json),
    "toJson": ("any -> string", to_json),
    "mustToJson": ("any -> string", must_to_json),
    "toPrettyJson": ("any -> string", to_pretty_json),
    "mustToPrettyJson": ("any -> string", must_to_pretty_json),
    "toRawJson": ("any -> string", must_to_raw_json),
    "mustToRawJson": ("any -> string", must_to_raw_json),
    "typeOf": ("any -> string", type_name),
    "typeIs": ("string, any -> bool", lambda name, value: name == type_name(value)),
    "typeIsLike": ("string, any -> bool", lambda name, value: type_name(value) in (name, f"*{name}")),
    "kindOf": ("any -> string", kind_of),
    "kindIs": ("string, any -> bool", lambda name, value: name == kind_of(value)),
    "deepEqual": ("any, any -> bool", deep_equal),
    "fail": ("string -> string", fail),
}
