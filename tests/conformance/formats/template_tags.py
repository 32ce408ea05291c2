"""Template tags and loops: what replaces tags, what items are, what steps and tasks become.

The original prints ``arguments: {}`` for every step, task and hook, which its structs hold by value; that is added to
ours before comparing. Where the original panics, ours only has to refuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.conformance.formats._calls import name
from tests.conformance.formats.expressions import described
from tests.conformance.golden import Format, Row, Sample
from tiphys.lang import gojson, items, tags

Record = Mapping[str, Any]

_APIS = frozenset(
    (
        "value",
        "Replace",
        "raw",
        "strict",
        "tags",
        "resolveVar",
        "item",
        "expandSequence",
        "expandTask",
        "expandStep",
    )
)
_ANSWER = ("out", "type", "tag", "error", "missingVariable")


def recognises(sample: Sample) -> bool:
    return bool(sample.rows) and all(row.get("api") in _APIS and "in" in row for row in sample.rows)


def judge(sample: Sample) -> Iterable[Row]:
    for index, row in enumerate(sample.rows):
        expected, got = {key: row[key] for key in _ANSWER if key in row}, answer(row)
        same = "error" in got if row.get("errorKind") == "panic" else _known(got, expected) == expected
        yield Row(name(index, row), same, {**row}, got)


def _known(got: dict[str, Any], expected: Record) -> dict[str, Any]:
    """Our answer without what the row does not record."""
    return {key: value for key, value in got.items() if key in expected or key in ("out", "error")}


def answer(row: Record) -> dict[str, Any]:
    try:
        return asked(row)
    except tags.TagError as err:
        return {"error": str(err), "missingVariable": err.missing_variable}
    except items.ItemError as err:
        return {"error": str(err)}


def asked(row: Record) -> dict[str, Any]:
    given, scope, api = row["in"], row.get("data") or {}, row["api"]
    if api == "resolveVar":
        tag, value = tags.resolve_var(given, scope)
        return described(value) | {"tag": tag}
    return {"out": _CALLS[api](given, scope, row)}


def _value(given: Any, scope: Record, row: Record) -> Any:
    wrapped = gojson.dumps({"value": given})
    return json.loads(tags.replace(wrapped, scope, allow_unresolved=row["allowUnresolved"]))["value"]


def _strict(given: Any, scope: Record, row: Record) -> Any:
    wrapped = gojson.dumps({"value": given})
    return json.loads(tags.replace_strict(wrapped, scope, row["prefixes"]))["value"]


def _item(given: str) -> dict[str, str]:
    item = items.parse_item(given)
    return {"json": item.json, "string": item.text, "type": item.kind}


def _as_printed(one: dict[str, Any]) -> dict[str, Any]:
    hooks = {name: {"arguments": {}} | hook for name, hook in (one.get("hooks") or {}).items()}
    return {"arguments": {}} | one | ({"hooks": hooks} if hooks else {})


_CALLS = {
    "value": _value,
    "strict": _strict,
    "Replace": lambda given, scope, row: tags.replace(given, scope, allow_unresolved=row["allowUnresolved"]),
    "raw": lambda given, scope, row: tags.replace_raw(given, scope, allow_unresolved=row["allowUnresolved"]),
    "tags": lambda given, scope, row: tags.tags(given),
    "item": lambda given, scope, row: _item(given),
    "expandSequence": lambda given, scope, row: [one.variables()["item"] for one in items.expand_sequence(given)],
    "expandTask": lambda given, scope, row: [_as_printed(one) for one in items.expand_task(given, scope)],
    "expandStep": lambda given, scope, row: [_as_printed(one) for one in items.expand_step(given, scope)],
}

FORMATS = (Format("template-tags", recognises, judge),)
