"""withItems, withParam and withSequence: one step or task becomes many.

Expansion substitutes ``item`` in the JSON of the step and names the copies ``step(0:item)``. It is textual like every
substitution; what it cannot resolve is an error, unless the step's ``when`` says that it will not run anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang import gojson, names
from tiphys.workflows.plan.canonical import dumps
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.text import Layers, Values, replace, should_execute

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State

ITEMS_MAX = 1_000_000


def expands(holder: Mapping[str, Any]) -> bool:
    """Whether a step or task is a loop."""
    return bool(holder.get("withItems")) or bool(holder.get("withParam")) or holder.get("withSequence") is not None


def expand(state: State, holder: Mapping[str, Any], scope: Values) -> list[dict[str, Any]]:
    """The copies of a loop, in order. Raises `Problem`."""
    when = str(holder.get("when") or "")
    try:
        items = _items(holder)
    except Problem:
        if _may_execute(when):
            raise
        items = []
    body = {key: value for key, value in holder.items() if key not in ("withItems", "withParam", "withSequence")}
    text = dumps(body)
    values = state.values(_strings_or_absent(scope))
    skipped = _is_skipped(when)
    return [_copy(text, body, index, item, values, skipped) for index, item in enumerate(items)]


def _copy(text: str, body: Mapping[str, Any], index: int, item: Any, values: Values, skipped: bool) -> dict[str, Any]:
    local, shown = item_values(item, index)
    try:
        name = names.item_node_name(str(body.get("name") or ""), index, shown)
    except ValueError as err:
        raise Problem(str(err)) from err
    if "{{" not in text:
        return {**body, "name": name}
    if skipped:
        lenient = {key: value for key, value in Layers(local, values).items() if value is not None}
        replaced = replace(text, lenient, allow_unresolved=True)
    else:
        replaced = replace(text, Layers(local, values), allow_unresolved=False)
    made: dict[str, Any] = orjson.loads(replaced)
    made["name"] = name
    if body.get("template") is not None:
        made["template"] = body["template"]
    return made


def item_values(item: Any, index: int) -> tuple[dict[str, str], str]:
    """The variables that an item defines, and how it shows in the name."""
    if isinstance(item, dict):
        texts = {key: item_text(value) for key, value in item.items()}
        local = {f"item.{key}": text for key, text in texts.items()}
        local["item"] = gojson.dumps(item)
        return local, ",".join(sorted(f"{key}:{text}" for key, text in texts.items()))
    if isinstance(item, list):
        return {"item": gojson.dumps(item)}, "[" + " ".join(item_text(value) for value in item) + "]"
    if item is None:
        raise Problem(f"withItems[{index}] expected string, number, list, or map. received: null")
    return {"item": item if isinstance(item, str) else item_text(item)}, item_text(item)


def item_text(value: Any) -> str:
    """A value as Go prints an Item: a string bare, everything else as JSON."""
    return value if isinstance(value, str) else gojson.dumps(value)


def _items(holder: Mapping[str, Any]) -> list[Any]:
    if holder.get("withItems"):
        return list(holder["withItems"])
    if text := holder.get("withParam"):
        return _param_items(str(text))
    return sequence(holder["withSequence"])


def _param_items(text: str) -> list[Any]:
    try:
        items = orjson.loads(text)
    except orjson.JSONDecodeError as err:
        raise Problem(_not_a_list(text, _decode_error(text, str(err)))) from err
    if items is None:
        return []
    if not isinstance(items, list):
        kind = {str: "string", dict: "object", bool: "bool"}.get(type(items), "number")
        raise Problem(_not_a_list(text, f"json: cannot unmarshal {kind} into Go value of type []v1alpha1.Item"))
    return items


def _not_a_list(text: str, why: str) -> str:
    return f"withParam value could not be parsed as a JSON list: {text.strip()}: {why}"


def _decode_error(text: str, _found: str) -> str:
    """Go's words for the two common ways of not being JSON."""
    stripped = text.lstrip()
    if not stripped:
        return "unexpected end of JSON input"
    first = stripped[0]
    shown = {"'": "'\\''", '"': "'\"'"}.get(first, f"'{first}'")
    return f"invalid character {shown} looking for beginning of value"


def sequence(spec: Mapping[str, Any]) -> list[str]:
    """The strings of a withSequence. Raises `Problem`."""
    start = _integer(spec["start"]) if spec.get("start") is not None else 0
    if spec.get("end") is not None:
        end = _integer(spec["end"])
    elif spec.get("count") is not None:
        count = _integer(spec["count"])
        if count == 0:
            return []
        end = start + count - 1
    else:
        raise Problem("neither end nor count was specified in withSequence")
    if abs(end - start) >= ITEMS_MAX:
        raise Problem(f"withSequence has more than {ITEMS_MAX} items")
    template = str(spec.get("format") or "%d")
    numbers = range(start, end + 1) if start <= end else range(start, end - 1, -1)
    return [_format(template, number) for number in numbers]


def _format(template: str, number: int) -> str:
    if template == "%d":
        return str(number)
    try:
        return template % number
    except (TypeError, ValueError) as err:
        raise Problem(f"withSequence format {template!r}: {err}") from err


def _integer(value: Any) -> int:
    text = str(value)
    digits = text[1:] if text[:1] in "+-" else text
    if not digits.isascii() or not digits.isdigit():
        raise Problem(f'strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)


def _may_execute(when: str) -> bool:
    try:
        return should_execute(when)
    except Problem:
        return True


def _is_skipped(when: str) -> bool:
    try:
        return not should_execute(when)
    except Problem:
        return False


def _strings_or_absent(scope: Values) -> dict[str, Any]:
    return {key: value for key, value in scope.items() if value is None or isinstance(value, str)}
