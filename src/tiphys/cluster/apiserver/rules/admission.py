"""Webhook configurations and validating admission policies with their bindings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.paths import segment
from tiphys.cluster.apiserver.rules.values import (
    Fields,
    chosen,
    duplicate,
    given_one_of,
    in_form,
    selector,
    too_many,
)
from tiphys.cluster.apiserver.rules.webhooks import client_complaints
from tiphys.lang import name_rules

_OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_NO_EFFECTS: Final = ("None", "NoneOnDryRun")
_SCOPES: Final = ("*", "Cluster", "Namespaced")
_REVIEWS: Final = ("v1", "v1beta1")
_FAILURES: Final = ("Fail", "Ignore")
_MATCHES: Final = ("Equivalent", "Exact")
_REASONS: Final = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_CONDITIONS_MAX: Final = 64
_ANNOTATIONS_MAX: Final = 20


def webhooks(*, mutating: bool) -> Callable[[Object, Object | None], Iterator[Complaint]]:
    def check(obj: Object, old: Object | None) -> Iterator[Complaint]:
        del old
        names: set[str] = set()
        for number, hook in enumerate(obj.get("webhooks") or ()):
            at, name = f"webhooks[{number}]", hook.get("name") or ""
            yield from _webhook(hook, at, mutating)
            yield from _review_versions(hook.get("admissionReviewVersions") or [], f"{at}.admissionReviewVersions")
            if name and name in names:
                yield duplicate(f"{at}.name", name)
            names.add(name)

    return check


def _webhook(hook: Fields, at: str, mutating: bool) -> Iterator[Complaint]:
    yield from _qualified_name(hook.get("name") or "", f"{at}.name")
    for number, rule in enumerate(hook.get("rules") or ()):
        yield from _rule(rule, f"{at}.rules[{number}]")
    yield from given_one_of(hook, at, "failurePolicy", _FAILURES)
    yield from given_one_of(hook, at, "matchPolicy", _MATCHES)
    if hook.get("sideEffects") is None:
        yield required(f"{at}.sideEffects", f"must specify one of {', '.join(_NO_EFFECTS)}")
    yield from given_one_of(hook, at, "sideEffects", _NO_EFFECTS)
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= 30:
        text = "the timeout value must be between 1 and 30 seconds"
        yield invalid_value(f"{at}.timeoutSeconds", seconds, text)
    yield from selector(hook.get("namespaceSelector"), f"{at}.namespaceSelector")
    yield from selector(hook.get("objectSelector"), f"{at}.objectSelector")
    if mutating:
        yield from given_one_of(hook, at, "reinvocationPolicy", ("IfNeeded", "Never"))
    yield from client_complaints(hook.get("clientConfig") or {}, f"{at}.clientConfig", swapped=True)
    yield from _conditions(hook.get("matchConditions") or [], f"{at}.matchConditions")


def _qualified_name(name: str, at: str) -> Iterator[Complaint]:
    problems = name_rules.dns1123_subdomain(name)
    if not name:
        yield required(at)
    elif problems:
        yield invalid_value(at, name, ",".join(problems))
    elif name.count(".") < 2:
        yield invalid_value(at, name, "should be a domain with at least three segments separated by dots")


def _review_versions(versions: Sequence[str], at: str) -> Iterator[Complaint]:
    told = ", ".join(_REVIEWS)
    if not versions:
        yield required(at, f"must specify one of {told}")
        return
    for number, version in enumerate(versions):
        if version in versions[:number]:
            yield invalid_value(f"{at}[{number}]", version, "duplicate version")
        else:
            yield from in_form(version, f"{at}[{number}]", name_rules.dns1035_label)
    if not set(versions) & set(_REVIEWS):
        yield invalid_value(at, versions, f"must include at least one of {told}")


def _rule(rule: Fields, at: str) -> Iterator[Complaint]:
    operations = rule.get("operations") or []
    if not operations:
        yield required(f"{at}.operations")
    if len(operations) > 1 and "*" in operations:
        text = "if '*' is present, must not specify other operations"
        yield invalid_value(f"{at}.operations", operations, text)
    for number, operation in enumerate(operations):
        if operation not in _OPERATIONS:
            yield unsupported(f"{at}.operations[{number}]", operation, _OPERATIONS)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        given = rule.get(field) or []
        if not given:
            yield required(f"{at}.{field}")
        if len(given) > 1 and "*" in given:
            yield invalid_value(f"{at}.{field}", given, f"if '*' is present, must not specify other {what}")
    for number, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            yield required(f"{at}.apiVersions[{number}]")
    yield from _resources(rule.get("resources") or [], f"{at}.resources")
    yield from given_one_of(rule, at, "scope", _SCOPES)


def _resources(resources: Sequence[str], at: str) -> Iterator[Complaint]:
    if not resources:
        yield required(at)
    all_below: set[str] = set()
    of_all: set[str] = set()
    plain = False
    for number, text in enumerate(resources):
        if not text:
            yield required(f"{at}[{number}]")
            continue
        resource, slash, below = text.partition("/")
        if not slash:
            plain = text != "*"
            continue
        if resource in all_below:
            told = f"if '{resource}/*' is present, must not specify {text}"
            yield invalid_value(f"{at}[{number}]", text, told)
        if below in of_all:
            yield invalid_value(f"{at}[{number}]", text, f"if '*/{below}' is present, must not specify {text}")
        if below == "*":
            all_below.add(resource)
        if resource == "*":
            of_all.add(below)
    if len(resources) > 1 and "*/*" in resources:
        yield invalid_value(at, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and plain:
        text = "if '*' is present, must not specify other resources without subresources"
        yield invalid_value(at, resources, text)


def _conditions(conditions: Sequence[Fields], at: str) -> Iterator[Complaint]:
    if len(conditions) > _CONDITIONS_MAX:
        yield too_many(at, len(conditions), _CONDITIONS_MAX)
    names: set[str] = set()
    for number, condition in enumerate(conditions):
        here, name = f"{at}[{number}]", condition.get("name") or ""
        if not (condition.get("expression") or "").strip():
            yield required(f"{here}.expression")
        else:
            yield from _uncompiled(condition["expression"].strip(), f"{here}.expression")
        if not name:
            yield required(f"{here}.name")
            continue
        yield from in_form(name, f"{here}.name", name_rules.qualified_name)
        if name in names:
            yield duplicate(f"{here}.name", name)
        names.add(name)


def _uncompiled(source: str, at: str) -> Iterator[Complaint]:
    from tiphys.cluster.apiserver.admission.expressions import problem_of  # the language is loaded for who writes it

    problem = problem_of(source)
    if problem:
        yield invalid_value(at, source, f"compilation failed: {problem}")


# Policies


def policy(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name") or ""
    yield from _given(spec.get("failurePolicy"), "spec.failurePolicy", _FAILURES)
    if spec.get("paramKind") is not None:
        yield from _parameter_kind(spec["paramKind"], "spec.paramKind")
    constraints = spec.get("matchConstraints")
    if constraints is None:
        yield required("spec.matchConstraints")
    else:
        yield from _match_resources(constraints, "spec.matchConstraints")
        if not constraints.get("resourceRules"):
            yield required("spec.matchConstraints.resourceRules")
    yield from _conditions(spec.get("matchConditions") or [], "spec.matchConditions")
    for number, variable in enumerate(spec.get("variables") or ()):
        yield from _variable(variable, f"spec.variables[{number}]")
    validations, annotations = spec.get("validations") or [], spec.get("auditAnnotations") or []
    if not validations and not annotations:
        text = "validations or auditAnnotations must contain at least one item"
        yield required("spec.validations", text)
        yield required("spec.auditAnnotations", text)
    for number, validation in enumerate(validations):
        yield from _validation(validation, f"spec.validations[{number}]")
    yield from _audit_annotations(annotations, name)


def _given(value: Any, at: str, supported: Sequence[str]) -> Iterator[Complaint]:
    if value is None:
        yield required(at)
    elif value not in supported:
        yield unsupported(at, value, supported)


def _parameter_kind(kind: Fields, at: str) -> Iterator[Complaint]:
    api_version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    parts = api_version.split("/")
    if not api_version:
        yield required(f"{at}.apiVersion")
    elif len(parts) > 2:
        yield invalid_value(f"{at}.apiVersion", api_version, f"unexpected GroupVersion string: {api_version}")
    else:
        group, version = parts[0] if len(parts) == 2 else "", parts[-1]
        problems = name_rules.dns1123_subdomain(group) if group else []
        if problems:
            yield invalid_value(f"{at}.apiVersion", group, ",".join(problems))
        if not version:
            yield invalid_value(f"{at}.apiVersion", api_version, "version must be specified")
        elif name_rules.dns1035_label(version):
            yield invalid_value(f"{at}.apiVersion", version, ",".join(name_rules.dns1035_label(version)))
    problems = name_rules.dns1035_label(name.lower())
    if not name:
        yield required(f"{at}.kind")
    elif problems:
        text = "may have mixed case, but should otherwise match: " + ",".join(problems)
        yield invalid_value(f"{at}.kind", name, text)


def _match_resources(match: Fields, at: str) -> Iterator[Complaint]:
    yield from _given(match.get("matchPolicy"), f"{at}.matchPolicy", _MATCHES)
    for field in ("namespaceSelector", "objectSelector"):
        if match.get(field) is None:
            yield required(f"{at}.{field}")
        else:
            yield from selector(match[field], f"{at}.{field}")
    for field in ("resourceRules", "excludeResourceRules"):
        for number, rule in enumerate(match.get(field) or ()):
            here = f"{at}.{field}[{number}]"
            names = rule.get("resourceNames") or []
            for index, name in enumerate(names):
                yield from in_form(name, f"{here}.resourceNames[{index}]", segment)
                if name in names[:index]:
                    yield duplicate(f"{here}.resourceNames[{index}]", name)
            yield from _rule(rule, here)


def _variable(variable: Fields, at: str) -> Iterator[Complaint]:
    name = variable.get("name") or ""
    if not name.strip():
        yield required(f"{at}.name", "name is not specified")
    elif not name.isidentifier() or not name.isascii():
        yield invalid_value(f"{at}.name", name, "must be a valid CEL identifier")
    if not (variable.get("expression") or "").strip():
        yield required(f"{at}.expression", "expression is not specified")
    else:
        yield from _uncompiled(variable["expression"], f"{at}.expression")


def _validation(validation: Fields, at: str) -> Iterator[Complaint]:
    message, made = validation.get("message") or "", validation.get("messageExpression") or ""
    if not (validation.get("expression") or "").strip():
        yield required(f"{at}.expression", "expression is not specified")
    else:
        yield from _uncompiled(validation["expression"], f"{at}.expression")
    if made and not made.strip():
        yield invalid_value(f"{at}.messageExpression", made, "must be non-empty if specified")
    if message and not message.strip():
        yield invalid_value(f"{at}.message", message, "must be non-empty if specified")
    elif "\n" in message.strip() or "\r" in message.strip():
        yield invalid_value(f"{at}.message", message, "must not contain line breaks")
    yield from given_one_of(validation, at, "reason", _REASONS)


def _audit_annotations(annotations: Sequence[Fields], name: str) -> Iterator[Complaint]:
    at = "spec.auditAnnotations"
    if len(annotations) > _ANNOTATIONS_MAX:
        text = f"must not have more than {_ANNOTATIONS_MAX} auditAnnotations"
        yield invalid_value(at, annotations, text)
    keys: set[str] = set()
    for number, each in enumerate(annotations):
        here, key = f"{at}[{number}]", each.get("key") or ""
        if not name:
            yield invalid_value(f"{here}.key", key, "requires metadata.name be non-empty")
        else:
            yield from in_form(f"{name}/{key}", f"{here}.key", name_rules.qualified_name)
        if not (each.get("valueExpression") or "").strip():
            yield required(f"{here}.valueExpression", "valueExpression is not specified")
        if key in keys:
            yield duplicate(f"{here}.key", key)
        keys.add(key)


def binding(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec = obj.get("spec") or {}
    if not spec.get("policyName"):
        yield required("spec.policyName")
    else:
        yield from in_form(spec["policyName"], "spec.policyName", name_rules.dns1123_subdomain)
    if spec.get("paramRef") is not None:
        yield from _parameters(spec["paramRef"], "spec.paramRef")
    if spec.get("matchResources") is not None:
        yield from _match_resources(spec["matchResources"], "spec.matchResources")
    yield from _actions(spec.get("validationActions") or [], "spec.validationActions")


def _parameters(reference: Fields, at: str) -> Iterator[Complaint]:
    name, wanted = reference.get("name") or "", reference.get("selector")
    if name:
        yield from in_form(name, f"{at}.name", segment)
        if wanted is not None:
            yield forbidden_value(f"{at}.name", "name and selector are mutually exclusive")
    if wanted is not None:
        yield from selector(wanted, f"{at}.selector")
        if name:
            yield forbidden_value(f"{at}.selector", "name and selector are mutually exclusive")
    if not name and wanted is None:
        yield required(at, "one of name or selector must be specified")
    action = reference.get("parameterNotFoundAction")
    yield from chosen(action, f"{at}.parameterNotFoundAction", ("Deny", "Allow"))


def _actions(actions: Sequence[str], at: str) -> Iterator[Complaint]:
    for number, action in enumerate(actions):
        if action not in ("Audit", "Deny", "Warn"):
            yield unsupported(f"{at}[{number}]", action, ("Audit", "Deny", "Warn"))
        if action in actions[:number]:
            yield duplicate(f"{at}[{number}]", action)
    if {"Deny", "Warn"} <= set(actions):
        text = "must not contain both Deny and Warn (repeating the same validation failure information in the API"
        yield invalid_value(at, actions, f"{text} response and headers serves no purpose)")
    if not actions:
        yield required(at, "at least one validation action is required")
