"""Where a pod may run: node selectors, affinity to nodes and pods, spread, tolerations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import (
    Fields,
    duplicate,
    given_one_of,
    in_form,
    label_key,
    positive,
    selector,
)
from tiphys.lang import name_rules

EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def affinity_complaints(affinity: Fields, at: str) -> Iterator[Complaint]:
    nodes = affinity.get("nodeAffinity") or {}
    if nodes.get(_REQUIRED) is not None:
        yield from node_selector(nodes[_REQUIRED], f"{at}.nodeAffinity.{_REQUIRED}")
    for number, term in enumerate(nodes.get(_PREFERRED) or ()):
        here = f"{at}.nodeAffinity.{_PREFERRED}[{number}]"
        yield from _weight(term, here)
        yield from _node_term(term.get("preference") or {}, f"{here}.preference", judges_values=False)
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind) or {}
        for number, term in enumerate(pods.get(_REQUIRED) or ()):
            yield from _pod_term(term, f"{at}.{kind}.{_REQUIRED}[{number}]")
        for number, term in enumerate(pods.get(_PREFERRED) or ()):
            here = f"{at}.{kind}.{_PREFERRED}[{number}]"
            yield from _weight(term, here)
            yield from _pod_term(term.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")


def _weight(term: Fields, at: str) -> Iterator[Complaint]:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        yield invalid_value(f"{at}.weight", weight, "must be in the range 1-100")


def node_selector(wanted: Fields, at: str) -> Iterator[Complaint]:
    terms = wanted.get("nodeSelectorTerms") or []
    if not terms:
        yield required(f"{at}.nodeSelectorTerms", "must have at least one node selector term")
    for number, term in enumerate(terms):
        yield from _node_term(term, f"{at}.nodeSelectorTerms[{number}]", judges_values=True)


def _node_term(term: Fields, at: str, *, judges_values: bool) -> Iterator[Complaint]:
    for number, each in enumerate(term.get("matchExpressions") or ()):
        yield from _node_requirement(each, f"{at}.matchExpressions[{number}]", judges_values)
    for number, each in enumerate(term.get("matchFields") or ()):
        yield from _node_field(each, f"{at}.matchFields[{number}]")


def _node_requirement(requirement: Fields, at: str, judges_values: bool) -> Iterator[Complaint]:
    operator, values = requirement.get("operator") or "", requirement.get("values") or []
    match operator:
        case "In" | "NotIn":
            if not values:
                yield required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                yield forbidden_value(f"{at}.values", text)
        case "Gt" | "Lt":
            if len(values) != 1:
                yield required(f"{at}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
        case _:
            yield invalid_value(f"{at}.operator", operator, "not a valid selector operator")
    yield from label_key(requirement.get("key") or "", f"{at}.key")
    for number, value in enumerate(values if judges_values else ()):
        yield from in_form(value, f"{at}.values[{number}]", name_rules.label_value)


def _node_field(requirement: Fields, at: str) -> Iterator[Complaint]:
    operator, values, key = requirement.get("operator") or "", requirement.get("values") or [], requirement.get("key")
    if operator not in ("In", "NotIn"):
        yield invalid_value(f"{at}.operator", operator, "not a valid selector operator")
    elif len(values) != 1:
        text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        yield required(f"{at}.values", text)
    if key != "metadata.name":
        yield invalid_value(f"{at}.key", key or "", "not a valid field selector key")
        return
    for number, value in enumerate(values):
        yield from in_form(value, f"{at}.values[{number}]", name_rules.dns1123_subdomain)


def _pod_term(term: Fields, at: str) -> Iterator[Complaint]:
    yield from selector(term.get("labelSelector"), f"{at}.labelSelector")
    yield from selector(term.get("namespaceSelector"), f"{at}.namespaceSelector")
    for name in term.get("namespaces") or ():
        yield from in_form(name, f"{at}.namespace", name_rules.dns1123_label)
    yield from _label_keys(term, at, "matchLabelKeys", "mismatchLabelKeys")
    key = term.get("topologyKey") or ""
    if not key:
        yield required(f"{at}.topologyKey", "can not be empty")
    yield from label_key(key, f"{at}.topologyKey")


def _label_keys(owner: Fields, at: str, *fields: str) -> Iterator[Complaint]:
    """Keys whose values of the pod itself are added to its selector."""
    wanted = owner.get("labelSelector")
    for field in fields:
        keys = owner.get(field) or []
        if keys and wanted is None:
            yield forbidden_value(f"{at}.{field}", "must not be specified when labelSelector is not set")
        for number, key in enumerate(keys if wanted is not None else ()):
            yield from label_key(key, f"{at}.{field}[{number}]")
    matching = owner.get("matchLabelKeys") or []
    seen = set((wanted or {}).get("matchLabels") or ())
    for each in (wanted or {}).get("matchExpressions") or ():
        key = each.get("key") or ""
        if key in matching and key in seen:
            place = len(matching) - 1 - matching[::-1].index(key)
            yield invalid_value(f"{at}[{place}]", key, "exists in both matchLabelKeys and labelSelector")
        seen.add(key)
    for number, key in enumerate(matching if len(fields) > 1 else ()):
        if key in (owner.get("mismatchLabelKeys") or ()):
            text = "exists in both matchLabelKeys and mismatchLabelKeys"
            yield invalid_value(f"{at}.matchLabelKeys[{number}]", key, text)


def spread_complaints(constraints: Sequence[Fields], at: str) -> Iterator[Complaint]:
    """``topologySpreadConstraints``."""
    for number, each in enumerate(constraints):
        here, action = f"{at}[{number}]", each.get("whenUnsatisfiable") or ""
        yield from positive(each.get("maxSkew") or 0, f"{here}.maxSkew")
        if not each.get("topologyKey"):
            yield required(f"{here}.topologyKey", "can not be empty")
        if action not in ("DoNotSchedule", "ScheduleAnyway"):
            yield unsupported(f"{here}.whenUnsatisfiable", action, ("DoNotSchedule", "ScheduleAnyway"))
        pair = (each.get("topologyKey") or "", action)
        if any(
            (o.get("topologyKey") or "", o.get("whenUnsatisfiable") or "") == pair for o in constraints[number + 1 :]
        ):
            yield duplicate(f"{here}.{{topologyKey, whenUnsatisfiable}}", f"{{{pair[0]}, {pair[1]}}}")
        domains = each.get("minDomains")
        if domains is not None:
            yield from positive(domains, f"{here}.minDomains")
            if action != "DoNotSchedule":
                text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                yield invalid_value(f"{here}.minDomains", domains, text)
        yield from given_one_of(each, here, "nodeAffinityPolicy", ("Honor", "Ignore"))
        yield from given_one_of(each, here, "nodeTaintsPolicy", ("Honor", "Ignore"))
        yield from _label_keys(each, here, "matchLabelKeys")
        yield from selector(each.get("labelSelector"), f"{here}.labelSelector")


def toleration_complaints(tolerations: Sequence[Fields], at: str) -> Iterator[Complaint]:
    for number, each in enumerate(tolerations):
        here = f"{at}[{number}]"
        key, effect, operator = (each.get(field) or "" for field in ("key", "effect", "operator"))
        if key:
            yield from label_key(key, f"{here}.key")
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            yield invalid_value(f"{here}.operator", operator, text)
        if each.get("tolerationSeconds") is not None and effect != "NoExecute":
            yield invalid_value(f"{here}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
        yield from _operator(operator, each.get("value") or "", here)
        if effect:
            yield from effect_complaints(effect, f"{here}.effect")


def _operator(operator: str, value: str, at: str) -> Iterator[Complaint]:
    match operator:
        case "" | "Equal":
            problems = name_rules.label_value(value)
            if problems:
                yield invalid_value(f"{at}.operator", value, ";".join(problems))
        case "Exists":
            if value:
                yield invalid_value(f"{at}.operator", value, "value must be empty when `operator` is 'Exists'")
        case "Lt" | "Gt":
            yield unsupported(f"{at}.operator", operator, ("Equal", "Exists", "Lt", "Gt"))
        case _:
            yield unsupported(f"{at}.operator", operator, ("Equal", "Exists"))


def effect_complaints(effect: str, at: str) -> Iterator[Complaint]:
    if effect not in EFFECTS:
        yield unsupported(at, effect, EFFECTS)
