"""Values of expressions as JSON: encoding/json's Marshal and MarshalIndent, with the types that have no JSON form."""

from __future__ import annotations

import base64
import re
from typing import Any

from tiphys.lang import gojson
from tiphys.lang.expr.errors import Panic
from tiphys.lang.expr.methods import json_text
from tiphys.lang.expr.values import AnyMap, NilList
from tiphys.lang.gofmt import type_name
from tiphys.lang.gosize import refuse_size
from tiphys.lang.govalues import Function
from tiphys.lang.moments import Location, Time

_BAD_BYTE = re.compile("[\udc80-\udcff]")
_PLAIN = (str, int, float, bool, type(None))


def marshal(value: Any) -> str:
    """json.Marshal. Panics for functions, maps with other than string keys, NaN and infinities."""
    refuse_size(value)
    try:
        return gojson.dumps(_jsonable(value))
    except gojson.GoJsonError as err:
        raise Panic(str(err)) from err


def marshal_indent(value: Any) -> str:
    """json.MarshalIndent with two spaces."""
    return _indented(marshal(value))


def _jsonable(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _BAD_BYTE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {key: _jsonable(one) for key, one in value.items()}
    if isinstance(value, NilList):
        return None
    if isinstance(value, list):
        return [_jsonable(one) for one in value]
    if isinstance(value, Time):
        try:
            return json_text(value)
        except Panic as panic:
            raise Panic(f"json: error calling MarshalJSON for type time.Time: {panic.message}") from None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Location):
        return {}
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, AnyMap | Function) or not isinstance(value, _PLAIN):
        raise Panic(f"json: unsupported type: {type_name(value)}")
    return value


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\[\]{},:"]+')


def _indented(text: str) -> str:
    """Compact JSON spread over lines; empty lists and maps stay on one."""
    out: list[str] = []
    depth = 0
    before = ""
    for token in _TOKEN.findall(text):
        if token in ("]", "}"):
            depth -= 1
            if before not in ("[", "{"):
                out.append("\n" + "  " * depth)
        elif before in ("[", "{"):
            out.append("\n" + "  " * depth)
        out.append(token)
        if token in ("[", "{"):
            depth += 1
        elif token == ",":
            out.append("\n" + "  " * depth)
        elif token == ":":
            out.append(" ")
        before = token
    return "".join(out)
