"""A template with its arguments filled in: what is actually executed.

    argument, else default, else ConfigMap    the value of each input parameter
    pass 1   workflow variables and local ones (pod.name, node.name, steps.name, retries …)
    pass 2   the same, and inputs.*, outputs.*.path; unknown tags stay for later

Substitution is textual on the template's JSON, as the original does it. A template without tags is shared, not copied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from tiphys.workflows.plan.artifacts import has_location_or_key
from tiphys.workflows.plan.canonical import ARTIFACT, INPUTS, TEMPLATE, any_string, canonical, dumps
from tiphys.workflows.plan.problems import Problem
from tiphys.workflows.plan.text import Layers, Values, replace, replace_raw

if TYPE_CHECKING:
    from tiphys.workflows.plan.state import State
    from tiphys.workflows.plan.templates import Template

ABSENT_OPTIONAL = "__argo-internal.absent-optional-output__"
"""Stands for an argument that was a pure reference to a skipped node's output without default."""

CONFIG_MAP_TYPE = "workflows.argoproj.io/configmap-type"
_PARAMETER_KEYS = ("name", "default", "value", "valueFrom", "globalName", "enum", "description")


def process(state: State, template: Template, arguments: Mapping[str, Any], local: Values) -> Template:
    """The template with arguments and variables substituted. Raises `Problem` (or `MissingVariable`)."""
    inputs = template.get("inputs") or {}
    filled = dict(inputs)
    if inputs.get("parameters"):
        filled["parameters"] = [_parameter(state, param, arguments) for param in inputs["parameters"]]
    if inputs.get("artifacts"):
        filled["artifacts"] = [_artifact(artifact, arguments) for artifact in inputs["artifacts"]]
    return substitute(state, template, filled, local)


def substitute(state: State, template: Template, inputs: Mapping[str, Any], local: Values) -> Template:
    """Both passes over a template whose inputs are ``inputs``."""
    known = _body(state, template)
    body, inputs_text = known.text, dumps(inputs) if inputs else "{}"
    if "{{" not in body and "{{" not in inputs_text:
        _require_values(inputs)
        return {**template, "inputs": inputs} if inputs is not template.get("inputs") else template
    values = state.values(local)
    first_inputs, empty_inputs = inputs, inputs_text.count(_EMPTY)
    if "{{" in inputs_text:
        inputs_text = replace(inputs_text, values)
        first_inputs = orjson.loads(inputs_text)
    if not known.waits_for_inputs:
        body = replace(body, values)
    _require_values(first_inputs)
    last_inputs = first_inputs
    if "{{" in body or "{{" in inputs_text:
        own = Layers(_input_values(first_inputs, body, inputs_text), values)
        body = replace(body, own)
        if "{{" in inputs_text:
            inputs_text = replace(inputs_text, own)
            last_inputs = orjson.loads(inputs_text)
    made: Template = orjson.loads(body)
    made["inputs"] = last_inputs
    # Go decodes what came out: fields that became empty vanish
    if body.count(_EMPTY) > known.empties:
        made = canonical(made, TEMPLATE)
    elif inputs_text.count(_EMPTY) > empty_inputs:
        made["inputs"] = canonical(made["inputs"], INPUTS)
    return made


_EMPTY = '""'


@dataclass(frozen=True, slots=True)
class Body:
    """The JSON of a template without its inputs, and what there is to know of it, kept while the template is.

    ``waits_for_inputs``: all its tags are of inputs and outputs, so that the first pass leaves it as it is.
    """

    template: Template
    text: str
    empties: int
    waits_for_inputs: bool


def _body(state: State, template: Template) -> Body:
    cache = state.template_texts
    known = cache.get(id(template))
    if known is not None and known.template is template:
        return known
    text = dumps({**template, "inputs": {}})
    waits_for_inputs = text.count("{{") == len(_TAG_OF_SECOND_PASS.findall(text))
    if len(cache) >= _TEXTS_MAX:
        cache.clear()
    made = cache[id(template)] = Body(template, text, text.count(_EMPTY), waits_for_inputs)
    return made


_TEXTS_MAX = 4096
_TAG_OF_SECOND_PASS = re.compile(r"\{\{\s*(?:inputs|outputs)\.[^{}]*\}\}")


def _parameter(state: State, param: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    name = param.get("name", "")
    value, value_from = param.get("value"), param.get("valueFrom")
    if value is None:
        value = param.get("default")
    given = find(arguments.get("parameters"), name)
    if given is not None and given.get("value") == ABSENT_OPTIONAL:
        if value is None and value_from is None:
            raise Problem(
                f"inputs.parameters.{name}: argument references an absent optional "
                "(skipped/omitted node output with no default)"
            )
    elif given is not None:
        value, value_from = (given["value"], None) if given.get("value") is not None else (None, given.get("valueFrom"))
    if value_from and value_from.get("configMapKeyRef"):
        value = _config_map_value(state, name, value_from)
    elif value is None:
        raise Problem(f"inputs.parameters.{name} was not supplied")
    filled = {**param, "value": None if value is None else any_string(value), "valueFrom": value_from}
    return {key: filled[key] for key in _PARAMETER_KEYS if filled.get(key) is not None}


def _config_map_value(state: State, name: str, value_from: Mapping[str, Any]) -> str:
    ref = value_from["configMapKeyRef"]
    try:
        cm_name, cm_key = (replace_raw(ref.get(part, ""), state.globals) for part in ("name", "key"))
    except Problem as err:
        raise type(err)(f"failed to substitute configMapKeyRef: {err}") from err
    try:
        return config_map_value(state, cm_name, cm_key)
    except NotInConfigMap as err:
        if value_from.get("default") is None:
            raise Problem(f"unable to retrieve inputs.parameters.{name} from ConfigMap: {err}") from err
        return any_string(value_from["default"])
    except Problem as err:
        raise Problem(f"unable to retrieve inputs.parameters.{name} from ConfigMap: {err}") from err


class NotInConfigMap(Problem):
    """The ConfigMap or its key does not exist: a default may be used instead."""


def config_map_value(state: State, name: str, key: str) -> str:
    """A value that a ConfigMap labelled for parameters holds."""
    obj = state.lookup.config_map(name)
    if obj is None:
        raise NotInConfigMap(
            f"ConfigMap '{name}' does not exist. Please make sure it has the label {CONFIG_MAP_TYPE}: Parameter "
            "to be detectable by the controller"
        )
    if ((obj.get("metadata") or {}).get("labels") or {}).get(CONFIG_MAP_TYPE) != "Parameter":
        raise Problem(f"ConfigMap '{name}' needs to have the label {CONFIG_MAP_TYPE}: Parameter to load parameters")
    data = obj.get("data") or {}
    if key not in data:
        raise NotInConfigMap(f"ConfigMap '{name}' does not have the key '{key}'")
    return str(data[key])


def _artifact(artifact: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    name = artifact.get("name", "")
    given = find(arguments.get("artifacts"), name)
    if not artifact.get("optional") and not has_location_or_key(artifact):
        if given is None:
            raise Problem(f"inputs.artifacts.{name} was not supplied")
        if not (given.get("from") and given.get("fromExpression")) and not has_location_or_key(given):
            raise Problem(f"inputs.artifacts.{name} missing location information")
    if given is None:
        return dict(artifact)
    made = {key: value for key, value in given.items() if key not in ("path", "mode", "recurseMode")}
    made.update((key, artifact[key]) for key in ("path", "mode", "recurseMode") if artifact.get(key) is not None)
    ordered: dict[str, Any] = canonical(made, ARTIFACT)
    return ordered


def _require_values(inputs: Mapping[str, Any]) -> None:
    for param in inputs.get("parameters") or ():
        if param.get("value") is None and param.get("valueFrom") is None:
            raise Problem(f"inputs.parameters.{param.get('name', '')} had no value")


def _input_values(inputs: Mapping[str, Any], body: str, inputs_text: str) -> dict[str, Any]:
    parameters = inputs.get("parameters")
    values: dict[str, Any] = {
        f"inputs.parameters.{p['name']}": p["value"] for p in parameters or () if p.get("value") is not None
    }
    if "inputs.parameters" in body and (_may_ask_for_all(body) or _may_ask_for_all(inputs_text)):
        values["inputs.parameters"] = dumps(parameters)
    for artifact in inputs.get("artifacts") or ():
        if artifact.get("path"):
            values[f"inputs.artifacts.{artifact['name']}.path"] = artifact["path"]
    if ".path" in body:
        outputs = orjson.loads(body).get("outputs") or {}
        for artifact in outputs.get("artifacts") or ():
            if artifact.get("path"):
                values[f"outputs.artifacts.{artifact['name']}.path"] = artifact["path"]
        for param in outputs.get("parameters") or ():
            if path := (param.get("valueFrom") or {}).get("path"):
                values[f"outputs.parameters.{param['name']}.path"] = path
    return values


def _may_ask_for_all(text: str) -> bool:
    """Whether a tag may be all parameters at once: that is its name, or it is an expression."""
    return "{{=" in text or _ALL_PARAMETERS.search(text) is not None


_ALL_PARAMETERS = re.compile(r"inputs\.parameters(?!\.)")


def find(items: Any, name: str) -> Mapping[str, Any] | None:
    """The item of a list that has this name."""
    found: Mapping[str, Any] | None = next((item for item in items or () if item.get("name") == name), None)
    return found
