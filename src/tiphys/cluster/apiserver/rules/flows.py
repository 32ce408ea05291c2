"""Flow schemas and priority levels: stored, validated, and without any effect."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.values import Fields, in_form, needed
from tiphys.lang import name_rules

_VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
_PRECEDENCE_MAX: Final = 10_000
_QUEUES_MAX: Final = 10_000_000
_HASH_BITS_MAX: Final = 60
_SUBJECTS: Final = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}


def flow_schema(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec = obj.get("spec") or {}
    precedence, method = spec.get("matchingPrecedence") or 0, spec.get("distinguisherMethod")
    at = "spec.matchingPrecedence"
    if precedence <= 0:
        yield invalid_value(at, precedence, "must be a positive value")
    if precedence > _PRECEDENCE_MAX:
        yield invalid_value(at, precedence, f"must not be greater than {_PRECEDENCE_MAX}")
    if precedence == 1 and obj["metadata"].get("name") != "exempt":
        yield invalid_value(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1")
    if method is not None and method.get("type") not in ("ByNamespace", "ByUser"):
        told = {"Type": method.get("type") or ""}
        yield unsupported("spec.distinguisherMethod.type", told, ("ByNamespace", "ByUser"))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name")
    if level:
        yield from in_form(level, "spec.priorityLevelConfiguration.name", name_rules.dns1123_subdomain)
    else:
        yield required("spec.priorityLevelConfiguration.name", "must reference a priority level")
    for number, rule in enumerate(spec.get("rules") or ()):
        yield from _rule(rule, f"spec.rules[{number}]")


def _rule(rule: Fields, at: str) -> Iterator[Complaint]:
    subjects, resources, others = (rule.get(field) or [] for field in ("subjects", "resourceRules", "nonResourceRules"))
    if not subjects:
        yield required(f"{at}.subjects", "subjects must contain at least one value")
    for number, subject in enumerate(subjects):
        yield from _subject(subject, f"{at}.subjects[{number}]")
    if not resources and not others:
        yield required(at, "at least one of resourceRules and nonResourceRules has to be non-empty")
    for number, each in enumerate(resources):
        yield from _resource_rule(each, f"{at}.resourceRules[{number}]")
    for number, each in enumerate(others):
        yield from _other_rule(each, f"{at}.nonResourceRules[{number}]")


def _subject(subject: Fields, at: str) -> Iterator[Complaint]:
    kind = subject.get("kind") or ""
    if kind not in _SUBJECTS:
        yield unsupported(f"{at}.kind", kind, sorted(_SUBJECTS))
        return
    field = _SUBJECTS[kind]
    given = subject.get(field)
    if given is None:
        yield required(f"{at}.{field}", f"{field} is required when subject kind is '{kind}'")
    elif kind != "ServiceAccount":
        yield from needed(given, f"{at}.{field}", "name")
    else:
        yield from _account(given, f"{at}.{field}")
    for other in _SUBJECTS:
        if other != kind and subject.get(_SUBJECTS[other]) is not None:
            text = f"{_SUBJECTS[other]} is forbidden when subject kind is not '{other}'"
            yield forbidden_value(f"{at}.{_SUBJECTS[other]}", text)


def _account(account: Fields, at: str) -> Iterator[Complaint]:
    name, namespace = account.get("name") or "", account.get("namespace") or ""
    if not name:
        yield required(f"{at}.name")
    elif name != "*":
        yield from in_form(name, f"{at}.name", name_rules.dns1123_subdomain)
    if namespace:
        yield from in_form(namespace, f"{at}.namespace", name_rules.dns1123_label)
    else:
        yield required(f"{at}.namespace", "must specify namespace for service account")


def _verbs(verbs: Sequence[str], at: str) -> Iterator[Complaint]:
    if not verbs:
        yield required(f"{at}.verbs", "verbs must contain at least one value")
    elif "*" in verbs:
        if len(verbs) > 1:
            yield invalid_value(f"{at}.verbs", verbs, "if '*' is present, must not specify other verbs")
    elif not set(verbs) <= set(_VERBS):
        yield unsupported(f"{at}.verbs", verbs, _VERBS)


def _resource_rule(rule: Fields, at: str) -> Iterator[Complaint]:
    yield from _verbs(rule.get("verbs") or [], at)
    for field, what in (("apiGroups", "api group"), ("resources", "resource")):
        given = rule.get(field) or []
        if not given:
            yield required(f"{at}.{field}", f"resource rules must supply at least one {what}")
        elif len(given) > 1 and "*" in given:
            yield invalid_value(f"{at}.{field}", given, f"if '*' is present, must not specify other {what}s")
    namespaces = rule.get("namespaces") or []
    if not namespaces and not rule.get("clusterScope"):
        text = "resource rules that are not cluster scoped must supply at least one namespace"
        yield required(f"{at}.namespaces", text)
    elif "*" in namespaces:
        if len(namespaces) > 1:
            yield invalid_value(f"{at}.namespaces", namespaces, "if '*' is present, must not specify other namespaces")
    else:
        for number, namespace in enumerate(namespaces):
            for problem in name_rules.dns1123_label(namespace):
                text = f"each member of this list must be '*' or a DNS-1123 label; {problem}"
                yield invalid_value(f"{at}.namespaces[{number}]", namespace, text)


def _other_rule(rule: Fields, at: str) -> Iterator[Complaint]:
    yield from _verbs(rule.get("verbs") or [], at)
    urls = rule.get("nonResourceURLs") or []
    if not urls:
        yield required(f"{at}.nonResourceURLs", "nonResourceURLs must contain at least one value")
    elif "*" in urls:
        if len(urls) > 1:
            text = "if '*' is present, must not specify other non-resource URLs"
            yield invalid_value(f"{at}.nonResourceURLs", urls, text)
    else:
        for number, url in enumerate(urls):
            problem = _url_problem(url)
            if problem:
                yield invalid_value(f"{at}.nonResourceURLs[{number}]", url, problem)


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if url == "/":
        return ""
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    if url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        return "wildcard can only do suffix matching"
    return ""


def priority_level(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    spec, name = obj.get("spec") or {}, obj["metadata"].get("name")
    kind, limited, exempt = spec.get("type") or "", spec.get("limited"), spec.get("exempt")
    if (name == "exempt") != (kind == "Exempt"):
        yield invalid_value("spec.type", kind, "must be 'Exempt' if and only if `name` is 'exempt'")
    if kind == "Exempt":
        if limited is not None:
            yield forbidden_value("spec.limited", "must be nil if the type is not Limited")
        yield from _shares(exempt or {}, "spec.exempt")
    elif kind == "Limited":
        if exempt is not None:
            yield forbidden_value("spec.exempt", "must be nil if the type is Limited")
        if limited is None:
            yield required("spec.limited", "must not be empty when type is Limited")
        else:
            yield from _limited(limited, "spec.limited")
    else:
        yield unsupported("spec.type", kind, ("Exempt", "Limited"))


def _shares(level: Fields, at: str) -> Iterator[Complaint]:
    if (level.get("nominalConcurrencyShares") or 0) < 0:
        text = "must be a non-negative integer"
        yield invalid_value(f"{at}.nominalConcurrencyShares", level["nominalConcurrencyShares"], text)
    yield from _lendable(level, at)


def _lendable(level: Fields, at: str) -> Iterator[Complaint]:
    lendable = level.get("lendablePercent")
    if lendable is not None and not 0 <= lendable <= 100:
        yield invalid_value(f"{at}.lendablePercent", lendable, "must be between 0 and 100, inclusive")


def _limited(level: Fields, at: str) -> Iterator[Complaint]:
    shares = level.get("nominalConcurrencyShares") or 0
    if shares < 0:
        yield invalid_value(f"{at}.nominalConcurrencyShares", shares, "must be a non-negative integer")
    response = level.get("limitResponse") or {}
    kind, queuing, here = response.get("type") or "", response.get("queuing"), f"{at}.limitResponse"
    if kind == "Reject":
        if queuing is not None:
            yield forbidden_value(f"{here}.queuing", "must be nil if limited.limitResponse.type is not Limited")
    elif kind == "Queue":
        if queuing is None:
            yield required(f"{here}.queuing", "must not be empty if limited.limitResponse.type is Limited")
        else:
            yield from _queuing(queuing, f"{here}.queuing")
    else:
        yield unsupported(f"{here}.type", kind, ("Queue", "Reject"))
    yield from _lendable(level, at)
    borrowed = level.get("borrowingLimitPercent")
    if borrowed is not None and borrowed < 0:
        yield invalid_value(f"{at}.borrowingLimitPercent", borrowed, "if specified, must be a non-negative integer")


def _queuing(queuing: Fields, at: str) -> Iterator[Complaint]:
    length, queues, hand = (queuing.get(field) or 0 for field in ("queueLengthLimit", "queues", "handSize"))
    if length <= 0:
        yield invalid_value(f"{at}.queueLengthLimit", length, "must be positive")
    if queues <= 0:
        yield invalid_value(f"{at}.queues", queues, "must be positive")
    elif queues > _QUEUES_MAX:
        yield invalid_value(f"{at}.queues", queues, f"must not be greater than {_QUEUES_MAX}")
    if hand <= 0:
        yield invalid_value(f"{at}.handSize", hand, "must be positive")
    elif hand > queues:
        yield invalid_value(f"{at}.handSize", hand, f"should not be greater than queues ({queues})")
    elif _entropy(queues, hand) > _HASH_BITS_MAX:
        text = f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than"
        yield invalid_value(f"{at}.handSize", hand, f"{text} {_HASH_BITS_MAX}")


def _entropy(deck: int, hand: int) -> int:
    bits = sum(math.log2(deck - dealt) for dealt in range(hand))
    return math.ceil(bits)
