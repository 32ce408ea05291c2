"""Which of the possible nodes is best: the default profile's scores, each from 0 to 100, added with their weights.

Left out: image locality (all nodes share one store of images).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tiphys.cluster.controllers.plan.scheduling.cluster import NodeState, PodFacts
from tiphys.cluster.controllers.plan.scheduling.filters import Survey, matches_term, untolerated

Object = Mapping[str, Any]

_MOST: Final = 100
# What a pod that asks for nothing is taken to use (GetNonzeroRequests).
_ASSUMED: Final = {"cpu": 100, "memory": 200 * 1024 * 1024}


def best(survey: Survey, nodes: Sequence[NodeState]) -> NodeState:
    """The node with the highest score; of equals the one with the fewest pods, then the first."""
    if len(nodes) == 1:
        return nodes[0]
    pod = survey.pod
    total = [_room(pod, node) + _balance(pod, node) for node in nodes]
    for weight, reverse, raw in (
        (3, True, [_disliked(pod, node) for node in nodes]),
        (2, False, [_preferred(pod, node) for node in nodes]),
        (2, True, [_crowd(survey, node) for node in nodes]),
        (2, False, _company(survey, nodes)),
    ):
        for at, score in enumerate(_normal(raw, reverse)):
            total[at] += weight * score
    order = sorted(range(len(nodes)), key=lambda at: (-total[at], len(nodes[at].pods), nodes[at].name))
    return nodes[order[0]]


def _normal(raw: Sequence[float], reverse: bool) -> Sequence[float]:
    """From 0 to 100; ``reverse`` where less is better."""
    low, high = min(raw), max(raw)
    if high == low:
        return [0.0] * len(raw)
    scaled = [_MOST * (each - low) / (high - low) for each in raw]
    return [_MOST - each for each in scaled] if reverse else scaled


def _shares(pod: PodFacts, node: NodeState) -> list[float]:
    """How full cpu and memory would be."""
    if node.allocatable is None:
        return []
    found = []
    for name, least in _ASSUMED.items():
        whole = node.allocatable.get(name, 0)
        if whole:
            used = node.requested.get(name, 0) + max(pod.requests.get(name, 0), least)
            # Pods without requests count as well, or they would all land on one node.
            used += least * node.silent[name]
            found.append(min(1.0, used / whole))
    return found


def _room(pod: PodFacts, node: NodeState) -> float:
    shares = _shares(pod, node)
    return _MOST * (1 - sum(shares) / len(shares)) if shares else _MOST / (1 + len(node.pods))


def _balance(pod: PodFacts, node: NodeState) -> float:
    shares = _shares(pod, node)
    return _MOST * (1 - abs(shares[0] - shares[1]) / 2) if len(shares) == 2 else 0.0


def _disliked(pod: PodFacts, node: NodeState) -> float:
    return float(sum(untolerated(pod.spec, (taint,), ("PreferNoSchedule",)) for taint in node.taints))


def _preferred(pod: PodFacts, node: NodeState) -> float:
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    return float(sum(int(each["weight"]) for each in terms if matches_term(each["preference"], node.labels, node.name)))


def _crowd(survey: Survey, node: NodeState) -> float:
    """Pods of the same owner here, or what soft spread constraints count."""
    pod = survey.pod
    soft = [each for each in pod.spreads if not each.hard]
    if not soft:
        return float(node.owners[pod.owner]) if pod.owner else 0.0
    crowd = 0.0
    for constraint in soft:
        domain = node.labels.get(constraint.topology)
        for other in survey.cluster.nodes.values():
            if other.labels.get(constraint.topology) == domain:
                crowd += sum(constraint.selector.matches(each.labels) for each in other.pods.values())
    return crowd


def _company(survey: Survey, nodes: Sequence[NodeState]) -> list[float]:
    """Preferred pod affinity (positive) and anti-affinity (negative weights)."""
    terms = survey.pod.prefers
    if not terms:
        return [0.0] * len(nodes)
    domains = [
        (term, [
            node.labels[term.topology]
            for node in survey.cluster.nodes.values()
            for pod in node.pods.values()
            if term.topology in node.labels and survey.wants(term, pod)
        ])
        for term in terms
    ]  # fmt: skip
    return [
        float(sum(term.weight * held.count(node.labels.get(term.topology, "")) for term, held in domains))
        for node in nodes
    ]
