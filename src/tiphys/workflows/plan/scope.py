"""The variables that a step or task can see beside the workflow's own: inputs, and what earlier nodes left.

A scope is a dict from dotted names (``steps.a.outputs.result``) to strings, artifacts (dicts) or None: an absent
optional, the output of a node that was skipped and declares no default. Tags take strings only; expressions see all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.lang import gojson
from tiphys.workflows.plan.arguments import ABSENT_OPTIONAL
from tiphys.workflows.plan.artifacts import with_sub_path
from tiphys.workflows.plan.canonical import any_string
from tiphys.workflows.plan.nodes import Node, stamp
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.text import evaluate, replace, resolve_reference

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State
    from tiphys.workflows.plan.templates import Holder, Template, TemplateContext


class Scope(dict[str, Any]):
    """See the module. ``absent`` names the absent optionals."""

    def __init__(self, template: Template | None = None) -> None:
        super().__init__()
        self.absent: set[str] = set()
        inputs = (template or {}).get("inputs") or {}
        for param in inputs.get("parameters") or ():
            self[f"inputs.parameters.{param['name']}"] = any_string(param.get("value") or "")
        for artifact in inputs.get("artifacts") or ():
            self[f"inputs.artifacts.{artifact['name']}"] = artifact

    def add_workflow_outputs(self, outputs: Mapping[str, Any] | None) -> None:
        for param in (outputs or {}).get("parameters") or ():
            if param.get("value") is not None:
                self[f"workflow.outputs.parameters.{param['name']}"] = any_string(param["value"])
        for artifact in (outputs or {}).get("artifacts") or ():
            self[f"workflow.outputs.artifacts.{artifact['name']}"] = artifact

    def add_node(self, state: State, prefix: str, node: Node) -> None:
        """``prefix`` is ``steps.a`` or ``tasks.a``. A retry node stands for its last attempt."""
        node = last_attempt_or_self(state, node)
        self[f"{prefix}.id"] = node.id
        if node.started_at is not None:
            self[f"{prefix}.startedAt"] = stamp(node.started_at)
        if node.finished_at is not None:
            self[f"{prefix}.finishedAt"] = stamp(node.finished_at)
        if node.pod_ip:
            self[f"{prefix}.ip"] = node.pod_ip
        if node.phase:
            self[f"{prefix}.status"] = node.phase
        if node.host_node_name:
            self[f"{prefix}.hostNodeName"] = node.host_node_name
        self.add_outputs(prefix, node.outputs)

    def set_address(self, state: State, prefix: str, node: Node) -> bool:
        """Sets or removes the address of a daemon that is known already; whether that changed it."""
        name, address = f"{prefix}.ip", last_attempt_or_self(state, node).pod_ip
        if self.get(name, "") == address:
            return False
        if address:
            self[name] = address
        else:
            del self[name]
        return True

    def add_outputs(self, prefix: str, outputs: Mapping[str, Any] | None) -> None:
        if outputs is None:
            return
        if outputs.get("result") is not None:
            self[f"{prefix}.outputs.result"] = outputs["result"]
        if outputs.get("exitCode") is not None:
            self[f"{prefix}.exitCode"] = outputs["exitCode"]
        for param in outputs.get("parameters") or ():
            if param.get("value") is not None:
                self[f"{prefix}.outputs.parameters.{param['name']}"] = any_string(param["value"])
        for artifact in outputs.get("artifacts") or ():
            self[f"{prefix}.outputs.artifacts.{artifact['name']}"] = artifact

    def add_skipped(
        self, state: State, context: TemplateContext, prefix: str, node: Node, holder: Holder, *, artifacts: bool
    ) -> None:
        """The declared outputs of a node that was skipped or omitted: defaults, or absent optionals."""
        if node.outputs is not None or node.phase not in ("Skipped", "Omitted"):
            return
        try:
            _, template = state.templates.resolve(context, holder)
        except Problem:
            return
        outputs = template.get("outputs") or {}
        for param in outputs.get("parameters") or ():
            default = (param.get("valueFrom") or {}).get("default")
            name = f"{prefix}.outputs.parameters.{param['name']}"
            if default is not None:
                self[name] = any_string(default)
            else:
                self._set_absent(name)
        for artifact in (outputs.get("artifacts") or ()) if artifacts else ():
            self[f"{prefix}.outputs.artifacts.{artifact['name']}"] = {}
        if outputs.get("result") is not None:
            self._set_absent(f"{prefix}.outputs.result")

    def add_aggregate(self, prefix: str, children: Iterable[Node]) -> None:
        """The outputs of a loop's nodes as JSON lists. Raises `Problem` where a result is no JSON."""
        nodes = [child for child in children if not child.hooked and not child.retried]
        if not nodes:
            return
        nodes.sort(key=lambda node: loop_index(node.name))
        results: list[Any] = []
        parameters: list[dict[str, str]] = []
        by_name: dict[str, list[str]] = {}
        for node in nodes:
            if node.outputs is None or node.phase != "Succeeded":
                continue
            values = {p["name"]: any_string(p.get("value", "")) for p in node.outputs.get("parameters") or ()}
            if values:
                parameters.append(values)
            for name, value in values.items():
                by_name.setdefault(name, []).append(value)
            if node.outputs.get("result") is not None:
                results.append(_item(node.outputs["result"]))
        self[f"{prefix}.outputs.result"] = "[" + ",".join(results) + "]"
        self[f"{prefix}.outputs.parameters"] = gojson.dumps(parameters)
        for name, values_list in by_name.items():
            self[f"{prefix}.outputs.parameters.{name}"] = aggregate(values_list)

    def mark_absent_arguments(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Arguments that are exactly a reference to an absent optional become the sentinel for "not supplied"."""
        parameters = arguments.get("parameters")
        if not self.absent or not parameters or not any(self._is_absent_reference(p.get("value")) for p in parameters):
            return arguments
        marked = [
            {**p, "value": ABSENT_OPTIONAL} if self._is_absent_reference(p.get("value")) else p for p in parameters
        ]
        return {**arguments, "parameters": marked}

    def _is_absent_reference(self, value: Any) -> bool:
        if not isinstance(value, str) or not (value.startswith("{{") and value.endswith("}}")):
            return False
        key = value[2:-2].strip()
        return "{{" not in key and "}}" not in key and self.is_absent(key)

    def is_absent(self, key: str) -> bool:
        return key in self.absent and self.get(key) is None

    def _set_absent(self, key: str) -> None:
        self[key] = None
        self.absent.add(key)


def resolve_parameter(scope: Mapping[str, Any], value_from: Mapping[str, Any]) -> tuple[Any, bool]:
    """The value that an output's ``valueFrom`` means, and whether it is an absent optional. Raises `Problem`."""
    if expression := value_from.get("expression"):
        value = evaluate(expression, scope)
        if value is None:
            raise Problem(f'failed to evaluate expression "{expression}"')
        return value, False
    if reference := value_from.get("parameter"):
        key, value = resolve_reference(reference, scope)
        return value, value is None and key in getattr(scope, "absent", ())
    return "", False


def resolve_artifact(scope: Mapping[str, Any], artifact: Mapping[str, Any]) -> dict[str, Any] | None:
    """The artifact that ``from`` or ``fromExpression`` means, None where neither is given. Raises `Problem`."""
    if expression := artifact.get("fromExpression"):
        value = evaluate(expression, scope)
    elif reference := artifact.get("from"):
        _, value = resolve_reference(reference, scope)
    else:
        return None
    if not isinstance(value, Mapping):
        raise Problem(f"Variable {{{{{artifact.get('name', '')}}}}} is not an artifact")
    if not artifact.get("subPath"):
        return dict(value)
    text = replace(gojson.dumps(artifact["subPath"]), {k: v for k, v in scope.items() if isinstance(v, str)})
    try:
        return with_sub_path(value, orjson.loads(text))
    except Problem:
        if value.get("optional"):
            return dict(value)
        raise


def last_attempt_or_self(state: State, node: Node) -> Node:
    """Whose outputs a reference to a node means: a retry node's are those of its last child that is no hook."""
    if node.type == "Retry" and not node.memo_hit:
        for child_id in reversed(node.children):
            child = state.nodes.get(child_id)
            if child is not None and not child.hooked:
                return child
    return node


def loop_index(name: str) -> int:
    """The index of a loop's node: ``a(3:x)`` is 3."""
    text = name.rpartition("(")[2].partition(":")[0]
    try:
        return int(text)
    except ValueError as err:
        raise Problem(f"failed to parse '{text}' as int") from err


def aggregate(values: list[str]) -> str:
    """The values as a JSON list: embedded as they are where all are JSON objects or lists, strings otherwise."""
    parsed: list[Any] = []
    for value in values:
        try:
            item = orjson.loads(value)
        except orjson.JSONDecodeError:
            return gojson.dumps(values)
        if not isinstance(item, (dict, list)):
            return gojson.dumps(values)
        parsed.append(item)
    return gojson.dumps(_as_go_floats(parsed))


def _as_go_floats(value: Any) -> Any:
    """Go reads JSON numbers into float64: large integers lose digits."""
    if isinstance(value, dict):
        return {key: _as_go_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_go_floats(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        as_float = float(value)
        return int(as_float) if as_float < 1e21 and math.isfinite(as_float) else as_float
    return value


def _item(result: str) -> str:
    """A result as one element of the aggregated list: its own JSON text."""
    try:
        orjson.loads(result)
    except orjson.JSONDecodeError as err:
        raise Problem(_go_json_error(result)) from err
    return gojson_compact(result)


def check_results(children: Iterable[Node]) -> None:
    """Raises `Problem` where `Scope.add_aggregate` would, for want of a result that is JSON."""
    asked = [node for node in children if not node.hooked and not node.retried and node.phase == "Succeeded"]
    with_result = [node for node in asked if (node.outputs or {}).get("result") is not None]
    for node in sorted(with_result, key=lambda node: loop_index(node.name)):
        _item((node.outputs or {})["result"])


def gojson_compact(text: str) -> str:
    """A JSON text without white space between its tokens, as Go compacts raw messages."""
    from tiphys.workflows.plan.canonical import dumps

    return dumps(orjson.loads(text))


def _go_json_error(text: str) -> str:
    """The message of Go's decoder for a result that is no JSON (the common cases)."""
    stripped = text.lstrip(" \t\r\n")
    if not stripped:
        return "unexpected end of JSON input"
    return f"invalid character {_quote_char(stripped[0])} looking for beginning of value"


def _quote_char(character: str) -> str:
    return "'\\''" if character == "'" else "'\"'" if character == '"' else f"'{character}'"
