"""expr-lang: one expression per row with its environment, in four modes.

The value's JSON, its kind (``type``) and unusual Go types (``goType``) are compared; of errors the whole text and the
stage. Functions have no JSON: they are compared by kind only, and maps that hold functions by their keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.formats._calls import name
from tests.conformance.golden import Format, Row, Sample
from tiphys.lang import tags
from tiphys.lang.expr import ExprError, environment, eval_bool, evaluate
from tiphys.lang.expr.methods import json_text
from tiphys.lang.expr.values import AnyMap
from tiphys.lang.gofmt import sprint, type_name
from tiphys.lang.govalues import Function
from tiphys.lang.moments import Duration, Time

Record = Mapping[str, Any]

_KEYS = frozenset(("in", "env", "mode", "out", "type", "goType", "error", "errorKind", "tag"))
_MODES = frozenset((None, "evalBool", "evalBoolRaw", "resolveVar"))
_ANSWER = ("out", "type", "goType", "error", "errorKind", "tag")
_KINDS = {"<nil>": "nil", "time.Time": "time", "time.Duration": "duration", "[]uint8": "bytes"}
_USUAL = frozenset(("[]interface {}", "map[string]interface {}"))
_NOW = Time(1_700_000_000)


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(
        "in" in row and row.keys() <= _KEYS and row.get("mode") in _MODES and ("type" in row or "error" in row)
        for row in sample.rows
    )


def judge(sample: Sample) -> Iterable[Row]:
    for index, row in enumerate(sample.rows):
        expected, got = {key: row[key] for key in _ANSWER if key in row}, answer(row)
        if "mode" in row:
            got.pop("errorKind", None)
        yield Row(name(index, row), got == expected, {**row}, got)


def answer(row: Record) -> dict[str, Any]:
    try:
        return asked(row)
    except ExprError as err:
        return {"error": str(err), "errorKind": err.kind}
    except tags.TagError as err:
        return {"error": str(err)}


def asked(row: Record) -> dict[str, Any]:
    env = row.get("env") or {}
    match row.get("mode"):
        case "evalBool":
            return described(eval_bool(row["in"], environment(env)))
        case "evalBoolRaw":
            return described(eval_bool(row["in"], env))
        case "resolveVar":
            tag, value = tags.resolve_var(row["in"], env)
            return described(value) | {"tag": tag}
    return described(evaluate(row["in"], environment(env), now=_NOW))


def described(value: Any) -> dict[str, Any]:
    """A value as such files record it."""
    go_type = type_name(value)
    kind = _KINDS.get(go_type, go_type)
    if kind.startswith("map["):
        kind = "map"
    elif kind.startswith("["):
        kind = "list"
    found = {"out": plain(value), "type": "func" if kind.startswith("func(") else kind}
    return found if kind not in ("map", "list") or go_type in _USUAL else found | {"goType": go_type}


def plain(value: Any) -> Any:
    match value:
        case Function():
            return None
        case AnyMap():
            return {sprint(key): plain(one) for key, one in value.items()}
        case dict():
            return {key: plain(one) for key, one in value.items()}
        case list():
            return [plain(one) for one in value]
        case Time():
            return json_text(value)
        case Duration():
            return value.go_string()
        case float() if not math.isfinite(value):
            return sprint(value)
        case str():
            return re.sub("[\udc80-\udcff]", "\ufffd", value)
        case int() if not isinstance(value, bool):
            return int(value)
    return value


FORMATS = (Format("expressions", recognises, judge),)
