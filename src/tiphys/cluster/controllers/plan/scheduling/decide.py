"""The scheduler's decision about one pod: a node, or what to say, and whom it may push aside.

    0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had untolerated taint(s). no new claims to deallocate,
    preemption: 0/5 nodes are available: 2 No preemption victims found for incoming pod, 3 Preemption is not helpful …

Source: pkg/scheduler/framework FitError, and its preemption (fewest violated budgets, lowest highest priority, lowest
sum, fewest victims, latest start).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tiphys.cluster.controllers.plan.scheduling.cluster import ClusterState, NodeState, PodFacts
from tiphys.cluster.controllers.plan.scheduling.filters import Refusal, Survey, refusal
from tiphys.cluster.controllers.plan.scheduling.scores import best

NOT_HELPFUL: Final = "Preemption is not helpful for scheduling"
NO_VICTIMS: Final = "No preemption victims found for incoming pod"
NO_NODES: Final = "no nodes available to schedule pods"

Protects = Callable[[PodFacts], bool]
"""Whether a disruption budget does not allow this pod to go."""


@dataclass(frozen=True)
class Decision:
    """``node``, or ``message`` with, where ending ``victims`` on ``nominated`` would help, those (none where they are
    ending already)."""

    node: str = ""
    message: str = ""
    nominated: str = ""
    victims: tuple[PodFacts, ...] = ()


def decide(
    pod: PodFacts,
    cluster: ClusterState,
    volumes: Mapping[str, str],
    protects: Protects = lambda _: False,
) -> Decision:
    """``volumes``: node → why the pod's volumes cannot be there."""
    if not cluster.nodes:
        return Decision(message=NO_NODES)
    with cluster.minding(pod):
        survey = Survey(pod, cluster, volumes)
        possible, refused = [], {}
        for node in cluster.nodes.values():
            why = refusal(survey, node)
            if why is None:
                possible.append(node)
            else:
                refused[node.name] = why
        if possible:
            return Decision(node=best(survey, possible).name)
        return _unschedulable(survey, refused, protects)


def rejected(cluster: ClusterState, why: str) -> Decision:
    """A pod that no node could take, for a reason of its own (a claim that is not there)."""
    return Decision(message=f"0/{len(cluster.nodes)} nodes are available: {why}. not found")


def _unschedulable(survey: Survey, refused: Mapping[str, Refusal], protects: Protects) -> Decision:
    head = f"0/{len(refused)} nodes are available:"
    message = f"{head} {_histogram(reason for why in refused.values() for reason in why.reasons)}."
    if survey.pod.spec.get("preemptionPolicy") == "Never":
        text = f"{message} no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        return Decision(message=text)
    awaited = survey.cluster.expected_at(survey.pod.uid)
    if awaited in refused and _is_making_room(survey.cluster.nodes[awaited], survey.pod):
        why_not = "not eligible due to a terminating pod on the nominated node."
        return Decision(message=f"{message} no new claims to deallocate, preemption: {why_not}", nominated=awaited)
    candidates: dict[str, Sequence[PodFacts]] = {}
    verdicts: Counter[str] = Counter()
    for name, why in refused.items():
        victims = _victims(survey, survey.cluster.nodes[name]) if why.helps else None
        if not why.helps:
            verdicts[NOT_HELPFUL] += 1
        elif victims:
            candidates[name] = victims
        else:
            verdicts[NO_VICTIMS] += 1
    if candidates:
        name = min(candidates, key=lambda each: _cost(candidates[each], protects, each))
        return Decision(message=message, nominated=name, victims=tuple(candidates[name]))
    told = _histogram(reason for reason, count in verdicts.items() for _ in range(count))
    return Decision(message=f"{message} no new claims to deallocate, preemption: {head} {told}.")


def _is_making_room(node: NodeState, pod: PodFacts) -> bool:
    return any(each.leaving and each.priority < pod.priority for each in node.pods.values())


def _histogram(reasons: Iterable[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in Counter(reasons).items()))


def _victims(survey: Survey, node: NodeState) -> Sequence[PodFacts] | None:
    """The fewest lesser pods that have to go from a node; None where even without all of them it does not do."""
    pod, cluster = survey.pod, survey.cluster
    lesser = [each for each in node.pods.values() if each.priority < pod.priority]
    if not lesser or any(each.leaving for each in lesser):
        return None  # those that are going already make room by themselves
    try:
        for each in lesser:
            cluster.remove(each.uid)
        if not _possible(survey, node):
            return None
        gone = []
        # The most important first: who can stay does.
        for each in sorted(lesser, key=lambda one: (-one.priority, one.started)):
            cluster.place(each, node.name)
            if not _possible(survey, node):
                cluster.remove(each.uid)
                gone.append(each)
        return gone
    finally:
        for each in lesser:
            cluster.place(each, node.name)


def _possible(survey: Survey, node: NodeState) -> bool:
    again = Survey(survey.pod, survey.cluster, survey.volumes)
    return refusal(again, node) is None


def _cost(victims: Sequence[PodFacts], protects: Protects, name: str) -> tuple[object, ...]:
    priorities = [each.priority for each in victims]
    broken = sum(map(protects, victims))
    latest = max((each.started for each in victims if each.priority == max(priorities)), default="")
    return broken, max(priorities), sum(priorities), len(victims), tuple(-ord(c) for c in latest), name
