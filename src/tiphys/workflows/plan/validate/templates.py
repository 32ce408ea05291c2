"""One template: its type, inputs, variables, outputs; and, through steps and tasks, every template it calls.

`Validation` holds what one run of validation knows: the workflow's variables and which templates are done. A template
is looked into once per object that it is in, but the arguments of every call are checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from tiphys.api import decode
from tiphys.lang import gojson, tags
from tiphys.workflows.plan.artifacts import has_location_or_key
from tiphys.workflows.plan.canonical import has_tags
from tiphys.workflows.plan.validate import dag, leaf, steps
from tiphys.workflows.plan.validate.arguments import (
    check_inputs,
    check_location,
    check_output_names,
    check_outputs,
)
from tiphys.workflows.plan.validate.callers import Anything, Arguments
from tiphys.workflows.plan.validate.names import is_metric_name
from tiphys.workflows.plan.validate.problem import Invalid, Place
from tiphys.workflows.plan.validate.resolution import LEAF_TYPES, POD_TYPES, TYPES, Base, Resolver, Template, type_of
from tiphys.workflows.plan.validate.variables import (
    Placeholders,
    Scope,
    global_output_names,
    output_names,
    simple_tags,
)

RETRY_POLICIES = ("Always", "OnError", "OnFailure", "OnTransientError", "")
RETRY_VARIABLES = ("retries", "lastRetry.exitCode", "lastRetry.status", "lastRetry.duration", "lastRetry.message")
POD_RESOURCES = ("cpu", "memory")

_OWN_OF_INPUT = ("path", "mode", "recurseMode")
"""What an input artifact says for itself, whatever is passed in."""

_CHOICES = "choose one of: container, containerSet, steps, script, resource, dag, suspend, template, template ref"
_WHOLE_NUMBER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class _Outputs:
    """What the node of a template gives to others; holding the ``template`` keeps its id from being another's."""

    template: Template | None
    names: set[str]
    globals: set[str]
    any_globals: set[str]


@dataclass
class Validation:
    """One run of validation. ``template_only``: the workflow that will use the templates is not known."""

    resolver: Resolver
    template_only: bool
    placeholders: Placeholders = field(default_factory=Placeholders)
    globals: dict[str, str] = field(default_factory=dict)
    _done: dict[tuple[str, str, str], Template] = field(default_factory=dict)
    _outputs: dict[tuple[int, bool], _Outputs] = field(default_factory=dict)

    def anything(self) -> Anything:
        return Anything(self.placeholders)

    def add_globals(self, names: Iterable[str]) -> None:
        for name in names:
            self.globals[name] = self.placeholders.next()

    def call(self, holder: dict[str, Any], base: Base, arguments: Arguments, at: Place) -> Template | None:
        """Checks the template that a step, task or hook calls, and returns it; None if only the run can tell which."""
        reference = holder.get("templateRef")
        if reference is not None:
            _check_reference(holder, reference)
            if _has_variables(reference):
                return None
        resolved = self.resolver.resolve(holder, base, at)
        if resolved is None:
            return None
        base, template, place = resolved
        policy = (template.get("retryStrategy") or {}).get("retryPolicy", "")
        if policy not in RETRY_POLICIES:
            raise Invalid(f"{policy} is not a valid RetryPolicy", "retryStrategy.retryPolicy", place)
        try:
            self._check(template, base, arguments, place)
        except Invalid as err:
            raise err.within("", "", place) from None
        return template

    def _check(self, template: Template, base: Base, arguments: Arguments, place: Place) -> None:
        name = template.get("name", "")
        key = (base.scope, base.name, name)
        if self._done.get(key) is template and not _has_timeout_with_tags(template):
            if isinstance(arguments, Anything):  # which supplies whatever is asked for
                return
            if arguments.is_plain:
                _check_supplied(name, template, arguments)  # nothing else of it depends on the caller
                return
        _check_type(name, template)
        _check_pod_resources_of(name, template)
        type_name = type_of(template)
        scope = Scope(self.globals, self.template_only)
        scope.names |= check_inputs(template, leaf=type_name in LEAF_TYPES, place=place)
        if any(not container["name"] for container in template.get("initContainers") or ()):
            raise Invalid("initContainers must all have container name", "initContainers")
        local = self._local_variables(template, type_name)
        scope.names |= local.keys()
        if type_name in LEAF_TYPES:
            scope.names |= _output_paths(template)
        try:
            filled, text = self._fill(template, arguments, local)
        except Invalid as err:
            raise err.within(f"templates.{name} ") from None
        type_name = type_of(filled)
        _check_kind_of_fields(template, filled, type_name)
        if key in self._done:
            return
        self._done[key] = template
        self._look_inside(filled, text, type_name, base, scope, place)

    def _local_variables(self, template: Template, type_name: str) -> dict[str, str]:
        names = ["pod.name"] if type_name in POD_TYPES else []
        if template.get("retryStrategy") is not None:
            names.extend(RETRY_VARIABLES)
        return {name: self.placeholders.next() for name in names}

    def _fill(self, template: Template, arguments: Arguments, local: dict[str, str]) -> tuple[Template, str]:
        """The template with its inputs and every variable that is known put in, and the same as JSON if it has tags."""
        pruned: Template = decode.pruned("workflow.v1alpha1.Template", template)
        pruned["inputs"] = _filled_inputs(pruned["inputs"], arguments)
        if not has_tags(pruned):
            return pruned, ""
        values = {**self.globals, **local}
        text = _replaced(gojson.dumps(pruned, keep_order=True), values)
        values |= _input_values(orjson.loads(text))
        text = _replaced(text, values)
        filled: Template = orjson.loads(text)
        return filled, text

    def _look_inside(
        self, template: Template, text: str, type_name: str, base: Base, scope: Scope, place: Place
    ) -> None:
        name = template.get("name", "")
        match type_name:
            case "Steps":
                steps.check_steps(self, template, base, scope, place)
            case "DAG":
                dag.check_dag(self, template, base, scope, place)
            case _:
                try:
                    scope.check(text)
                except Invalid as err:
                    raise err.within(f"templates.{name}: ") from None
                leaf.check_leaf(template, base)
        self._check_outputs(template, type_name, scope)
        if template.get("archiveLocation") is not None:
            check_location(f"templates.{name}.archiveLocation", template["archiveLocation"])
        for index, metric in enumerate((template.get("metrics") or {}).get("prometheus") or ()):
            try:
                _check_metric(name, metric)
            except Invalid as err:
                raise err.within("", f"metrics.prometheus[{index}]") from None

    def _check_outputs(self, template: Template, type_name: str, scope: Scope) -> None:
        check_output_names(template)
        try:
            scope.check(gojson.dumps(template["outputs"], keep_order=True))
        except Invalid as err:
            raise err.within(f"templates.{template.get('name', '')}.outputs ", "outputs") from None
        check_outputs(template, type_name, leaf=type_name in LEAF_TYPES)

    def add_outputs(self, template: Template | None, prefix: str, name: str, scope: Scope, *, aggregate: bool) -> None:
        """Makes what a step or task (``prefix`` steps or tasks) gives known to those after it."""
        given = self._outputs_of(template, aggregate=aggregate)
        scope.names.update([f"{prefix}.{name}.{output}" for output in given.names])
        scope.names |= given.globals | given.any_globals
        self.add_globals(given.globals)

    def _outputs_of(self, template: Template | None, *, aggregate: bool) -> _Outputs:
        """Worked out once for each template: thousands of steps may call the same one."""
        known = self._outputs.get((id(template), aggregate))
        if known is None:
            result = template is not None and _has_result(template)
            names = output_names(template, aggregate=aggregate, has_result=result)
            known = _Outputs(template, names, *global_output_names(template))
            self._outputs[id(template), aggregate] = known
        return known


def _check_supplied(name: str, template: Template, arguments: Arguments) -> None:
    try:
        _filled_inputs(template["inputs"], arguments)
    except Invalid as err:
        raise err.within(f"templates.{name} ") from None


def _has_timeout_with_tags(template: Template) -> bool:
    return any("{{" in (template.get(field) or "") for field in ("timeout", "pendingTimeout"))


def _replaced(text: str, values: Mapping[str, str]) -> str:
    try:
        return tags.replace(text, values, allow_unresolved=True)
    except tags.TagError as err:
        raise Invalid(str(err)) from None


def _has_result(template: Template) -> bool:
    containers = (template.get("containerSet") or {}).get("containers") or ()
    return any(template.get(kind) is not None for kind in ("container", "script", "data", "http", "plugin")) or any(
        container["name"] == "main" for container in containers
    )


def _check_reference(holder: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    if holder.get("template"):
        raise Invalid("template name cannot be specified with templateRef", "templateRef")
    if not reference.get("name"):
        raise Invalid("resource name is required", "templateRef.name")
    if not reference.get("template"):
        raise Invalid("template name is required", "templateRef.template")


def _has_variables(reference: Mapping[str, Any]) -> bool:
    try:
        return bool(simple_tags(gojson.dumps(dict(reference))))
    except Invalid:
        return True


def _check_type(name: str, template: Template) -> None:
    kinds = [kind for kind in TYPES if template.get(kind) is not None]
    if len(kinds) != 1:
        what = "multiple template types specified." if kinds else "template type unspecified."
        raise Invalid(f"templates.{name} {what} {_CHOICES}")


def _check_pod_resources_of(name: str, template: Template) -> None:
    resources = template.get("podResources")
    if resources is None:
        return
    at, type_name = f"templates.{name}.podResources", type_of(template)
    if type_name in ("HTTP", "Plugin"):  # they run on the shared agent pod, whose size is fixed
        raise Invalid(f"{at} is not supported for {type_name} templates", "podResources")
    check_pod_resources(at, resources, "podResources")


def check_pod_resources(at: str, resources: Mapping[str, Any], path: str) -> None:
    """Kubernetes takes cpu, memory and huge pages for a pod as a whole, and no claims. Raises `Invalid`."""
    if resources.get("claims"):
        raise Invalid(f"{at}.claims is not supported for pod-level resources", f"{path}.claims")
    for kind in ("limits", "requests"):
        for name in resources.get(kind) or ():
            if name not in POD_RESOURCES and not name.startswith("hugepages-"):
                rule = "is not a valid pod-level resource, only cpu, memory and hugepages-* are supported"
                raise Invalid(f'{at}: "{name}" {rule}', f"{path}.{kind}")


def _output_paths(template: Template) -> set[str]:
    outputs = template["outputs"]
    artifacts = {
        f"outputs.artifacts.{item['name']}.path" for item in outputs.get("artifacts") or () if item.get("path")
    }
    return artifacts | {
        f"outputs.parameters.{item['name']}.path"
        for item in outputs.get("parameters") or ()
        if (item.get("valueFrom") or {}).get("path")
    }


def _filled_inputs(inputs: Mapping[str, Any], arguments: Arguments) -> dict[str, Any]:
    filled = dict(inputs)
    if inputs.get("parameters"):
        filled["parameters"] = [_filled_parameter(item, arguments) for item in inputs["parameters"]]
    if inputs.get("artifacts"):
        filled["artifacts"] = [_filled_artifact(item, arguments) for item in inputs["artifacts"]]
    return filled


def _filled_parameter(parameter: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
    value, source = parameter.get("value"), parameter.get("valueFrom")
    if value is None:
        value = parameter.get("default")
    given = arguments.parameter(parameter["name"])
    if given is not None:
        value = given.get("value")
        source = None if value is not None else given.get("valueFrom")
    if value is None and (source or {}).get("configMapKeyRef") is None:
        raise Invalid(f"inputs.parameters.{parameter['name']} was not supplied", "inputs.parameters")
    filled = {key: item for key, item in parameter.items() if key not in ("value", "valueFrom")}
    if value is not None:
        filled["value"] = value
    if source is not None:
        filled["valueFrom"] = source
    return filled


def _filled_artifact(artifact: dict[str, Any], arguments: Arguments) -> dict[str, Any]:
    given = arguments.artifact(artifact["name"])
    if given is None:
        if not artifact.get("optional") and not has_location_or_key(artifact):
            raise Invalid(f"inputs.artifacts.{artifact['name']} was not supplied", "inputs.artifacts")
        return artifact
    filled = {key: item for key, item in given.items() if key not in _OWN_OF_INPUT}
    return filled | {key: artifact[key] for key in _OWN_OF_INPUT if key in artifact}


def _input_values(template: Template) -> dict[str, str]:
    """The variables that a template's own inputs and outputs make, as text."""
    parameters = template["inputs"].get("parameters")
    values = {"inputs.parameters": gojson.dumps(parameters, keep_order=True)}
    for parameter in parameters or ():
        if parameter.get("value") is not None:
            values[f"inputs.parameters.{parameter['name']}"] = parameter["value"]
    for direction in ("inputs", "outputs"):
        for artifact in template[direction].get("artifacts") or ():
            if artifact.get("path"):
                values[f"{direction}.artifacts.{artifact['name']}.path"] = artifact["path"]
    for parameter in template["outputs"].get("parameters") or ():
        if (parameter.get("valueFrom") or {}).get("path"):
            values[f"outputs.parameters.{parameter['name']}.path"] = parameter["valueFrom"]["path"]
    return values


def _check_kind_of_fields(template: Template, filled: Template, type_name: str) -> None:
    """Fields that only some types know; which type it is may itself be written as a parameter, hence ``filled``."""
    name = template.get("name", "")
    if template.get("resourceClaims") and type_name not in POD_TYPES:
        what = f"resourceClaims is not supported for {type_name} templates, which do not create a pod"
        raise Invalid(f"templates.{name}.{what}", "resourceClaims")
    if filled.get("timeout"):
        if type_name not in LEAF_TYPES:
            raise Invalid(f"{type_name} template doesn't support timeout field", "timeout")
        if _WHOLE_NUMBER.fullmatch(filled["timeout"]):
            raise Invalid(f"{filled.get('name', '')} has invalid duration format in timeout", "timeout")
    if filled.get("pendingTimeout") and type_name not in LEAF_TYPES:
        raise Invalid(f"{type_name} template doesn't support pendingTimeout field", "pendingTimeout")


def _check_metric(template_name: str, metric: Mapping[str, Any]) -> None:
    at, name = f"templates.{template_name}", metric["name"]
    if not is_metric_name(name):
        rule = "Metric names must contain alphanumeric characters or '_'"
        raise Invalid(f"{at} metric name '{name}' is invalid. {rule}", "name")
    for label in metric.get("labels") or ():
        if not is_metric_name(label["key"]):
            rule = "keys may only contain alphanumeric characters or '_'"
            raise Invalid(f"metric label '{label['key']}' is invalid: {rule}", "labels")
    if not metric.get("help"):
        raise Invalid(f"{at} metric '{name}' must contain a help string under 'help: ' field", "help")
    fault = _metric_value_fault(metric)
    if fault:
        raise Invalid(f"{at} metric '{name}' error: {fault}")


def _metric_value_fault(metric: Mapping[str, Any]) -> str:
    gauge = metric.get("gauge")
    if gauge is not None and gauge.get("value") and gauge.get("realtime") and "resourcesDuration." in gauge["value"]:
        return "'resourcesDuration.*' metrics cannot be used in real-time"
    for kind in ("gauge", "counter", "histogram"):
        if metric.get(kind) is not None and not metric[kind].get("value"):
            return f"missing {kind}.value"
    return ""
