"""Which nodes a pod can be on, and what to say of those it cannot: the filters, in the scheduler's order.

Each is a function (pod, node, world) → reasons; the first that has any decides about the node. ``helps`` says whether
ending other pods could change it. Source: pkg/scheduler/framework/plugins (messages and order of the default profile).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tiphys.cluster.controllers.plan.scheduling.cluster import ClusterState, NodeState, PodFacts, Port, Spread, Term
from tiphys.machinery.selectors import Requirement

Object = Mapping[str, Any]

SELECTOR: Final = "node(s) didn't match Pod's node affinity/selector"
_FIELD_NAME: Final = "metadata.name"


@dataclass(frozen=True)
class Refusal:
    """Why a node is not possible; ``helps``: ending pods there could make it so."""

    reasons: tuple[str, ...]
    helps: bool


@dataclass
class Survey:
    """Facts about all nodes that some filters need, gathered once per pod."""

    pod: PodFacts
    cluster: ClusterState
    volumes: Mapping[str, str] = field(default_factory=dict)
    """Node → why the pod's volumes cannot be there."""

    def __post_init__(self) -> None:
        self.spread: list[tuple[Spread, Counter[str], int]] = [
            self._spread(each) for each in self.pod.spreads if each.hard
        ]
        self.near = [self._matching_domains(term) for term in self.pod.affinity]
        self.apart = [self._matching_domains(term) for term in self.pod.anti_affinity]
        self.refusing = self._refusing()
        # The first of a group that wants to be together may begin anywhere.
        self.begins_group = (
            bool(self.pod.affinity)
            and not any(self.near)
            and all(self.wants(term, self.pod) for term in self.pod.affinity)
        )

    def wants(self, term: Term, pod: PodFacts) -> bool:
        """Whether a pod is one of those that a term is about."""
        return term.matches(pod, self.cluster.namespaces)

    def _spread(self, constraint: Spread) -> tuple[Spread, Counter[str], int]:
        counts: Counter[str] = Counter()
        for node in self.cluster.nodes.values():
            domain = node.labels.get(constraint.topology)
            if domain is None or not self._counts(constraint, node):
                continue
            counts[domain] += sum(
                constraint.selector.matches(pod.labels)
                for pod in node.pods.values()
                if pod.key.namespace == self.pod.key.namespace and not pod.leaving
            )
        least = min(counts.values(), default=0)
        return constraint, counts, 0 if len(counts) < constraint.least_domains else least

    def _counts(self, constraint: Spread, node: NodeState) -> bool:
        every = all(each.topology in node.labels for each in self.pod.spreads if each.hard)
        if not every or (constraint.honours_affinity and not matches_affinity(self.pod.spec, node)):
            return False
        return not (constraint.honours_taints and untolerated(self.pod.spec, node.taints))

    def _matching_domains(self, term: Term) -> set[str]:
        return {
            node.labels[term.topology]
            for node in self.cluster.nodes.values()
            if term.topology in node.labels and any(self.wants(term, pod) for pod in node.pods.values())
        }

    def _refusing(self) -> set[tuple[str, str]]:
        """(topology key, domain) pairs in which a pod is that does not want this one."""
        found = set()
        for other, name in self.cluster.anti.values():
            for term in other.anti_affinity:
                labels = self.cluster.nodes[name].labels
                if term.topology in labels and self.wants(term, self.pod):
                    found.add((term.topology, labels[term.topology]))
        return found


def refusal(survey: Survey, node: NodeState) -> Refusal | None:
    """What keeps the pod from a node, if anything does."""
    for test in _FILTERS:
        found = test(survey, node)
        if found is not None:
            return found
    return None


def _unschedulable(survey: Survey, node: NodeState) -> Refusal | None:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if node.unschedulable and not tolerates(survey.pod.spec, taint):
        return Refusal(("node(s) were unschedulable",), False)
    return None


def _node_name(survey: Survey, node: NodeState) -> Refusal | None:
    wanted = survey.pod.spec.get("nodeName")
    if wanted and wanted != node.name:
        return Refusal(("node(s) didn't match the requested node name",), False)
    return None


def _taints(survey: Survey, node: NodeState) -> Refusal | None:
    if untolerated(survey.pod.spec, node.taints):
        return Refusal(("node(s) had untolerated taint(s)",), False)
    return None


def _affinity(survey: Survey, node: NodeState) -> Refusal | None:
    return None if matches_affinity(survey.pod.spec, node) else Refusal((SELECTOR,), False)


def _ports(survey: Survey, node: NodeState) -> Refusal | None:
    if any(_clashes(wanted, held) for wanted in survey.pod.ports for held, count in node.ports.items() if count > 0):
        return Refusal(("node(s) didn't have free ports for the requested pod ports",), True)
    return None


def _clashes(one: Port, other: Port) -> bool:
    same = (one.protocol, one.number) == (other.protocol, other.number)
    return same and (one.address == other.address or "0.0.0.0" in (one.address, other.address))


def _fits(survey: Survey, node: NodeState) -> Refusal | None:
    return resources_missing(survey.pod, node)


def resources_missing(pod: PodFacts, node: NodeState) -> Refusal | None:
    if node.allocatable is None:
        return None
    reasons, helps = [], True
    if "pods" in node.allocatable and len(node.pods) + 1 > node.allocatable["pods"]:
        reasons.append("Too many pods")
    for name in _in_order(pod.requests):
        wanted, whole = pod.requests[name], node.allocatable.get(name, 0)
        if wanted and wanted > whole - node.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            helps = helps and wanted <= whole
    return Refusal(tuple(reasons), helps) if reasons else None


def _in_order(requests: Mapping[str, int]) -> Sequence[str]:
    first = [name for name in ("cpu", "memory", "ephemeral-storage") if name in requests]
    return [*first, *sorted(requests.keys() - set(first))]


def _volumes(survey: Survey, node: NodeState) -> Refusal | None:
    why = survey.volumes.get(node.name)
    return Refusal((why,), False) if why else None


def _spread(survey: Survey, node: NodeState) -> Refusal | None:
    for constraint, counts, least in survey.spread:
        domain = node.labels.get(constraint.topology)
        if domain is None:
            text = "node(s) didn't match pod topology spread constraints (missing required label)"
            return Refusal((text,), False)
        itself = int(constraint.selector.matches(survey.pod.labels))
        if counts[domain] + itself - least > constraint.skew_max:
            return Refusal(("node(s) didn't match pod topology spread constraints",), True)
    return None


def _pod_affinity(survey: Survey, node: NodeState) -> Refusal | None:
    pod = survey.pod
    for term, domains in zip(pod.affinity, survey.near, strict=True):
        if node.labels.get(term.topology) not in domains:
            if survey.begins_group and term.topology in node.labels:
                continue
            return Refusal(("node(s) didn't match pod affinity rules",), False)
    for term, domains in zip(pod.anti_affinity, survey.apart, strict=True):
        if node.labels.get(term.topology) in domains:
            return Refusal(("node(s) didn't match pod anti-affinity rules",), True)
    if any(node.labels.get(key) == domain for key, domain in survey.refusing):
        return Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",), True)
    return None


_FILTERS: Final[Sequence[Callable[[Survey, NodeState], Refusal | None]]] = (
    _unschedulable,
    _node_name,
    _taints,
    _affinity,
    _ports,
    _fits,
    _volumes,
    _spread,
    _pod_affinity,
)


# Taints


def untolerated(
    spec: Object, taints: Iterable[Mapping[str, str]], effects: Sequence[str] = ("NoSchedule", "NoExecute")
) -> bool:
    """Whether a taint with one of these effects keeps the pod away."""
    return any(taint.get("effect") in effects and not tolerates(spec, taint) for taint in taints)


def tolerates(spec: Object, taint: Mapping[str, str]) -> bool:
    return any(tolerates_taint(toleration, taint) for toleration in spec.get("tolerations") or ())


def tolerates_taint(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return (toleration.get("value") or "") == (taint.get("value") or "")


# Node selectors and affinity


def matches_affinity(spec: Object, node: NodeState) -> bool:
    """The pod's nodeSelector and required node affinity."""
    selector = spec.get("nodeSelector")
    if selector and not selector.items() <= node.labels.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(matches_term(term, node.labels, node.name) for term in required.get("nodeSelectorTerms") or ())


def matches_term(term: Object, labels: Mapping[str, str], name: str) -> bool:
    """A nodeSelectorTerm; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    by_labels = all(_holds(each, labels) for each in expressions)
    return by_labels and all(_holds(each, {_FIELD_NAME: name}) for each in fields)


_OPERATORS: Final = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}


def _holds(expression: Object, labels: Mapping[str, str]) -> bool:
    operator = _OPERATORS.get(expression.get("operator", ""))
    if operator is None:
        return False
    return Requirement(expression["key"], operator, tuple(expression.get("values") or ())).matches(labels)
