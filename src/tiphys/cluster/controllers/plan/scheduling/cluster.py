"""The nodes with what is on them, as the scheduler sees them: parsed once, kept up to date pod by pod.

Not a cache of objects: only what decisions need. ``PodFacts`` are immutable; ``NodeState`` changes when a pod comes
(also one that is only assumed to be bound) or goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tiphys.cluster.controllers.plan.owners import controller_of
from tiphys.cluster.controllers.plan.scheduling.requests import Amounts, amounts, pod_requests
from tiphys.machinery.resources import ObjectKey, key_of
from tiphys.machinery.selectors import EVERYTHING, LabelSelector, from_structured

Object = Mapping[str, Any]
COUNTED: Final = ("cpu", "memory")
_ZONE: Final = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class Port(NamedTuple):
    protocol: str
    address: str
    number: int


@dataclass(frozen=True)
class Term:
    """A term of pod (anti-)affinity: of pods in ``namespaces``, and in those whose labels ``inside`` selects."""

    topology: str
    selector: LabelSelector
    namespaces: frozenset[str]
    inside: LabelSelector
    weight: int = 0

    def matches(self, pod: PodFacts, labels: Mapping[str, Mapping[str, str]]) -> bool:
        """``labels`` are those of every namespace."""
        if not self.selector.matches(pod.labels):
            return False
        return pod.key.namespace in self.namespaces or self.inside.matches(labels.get(pod.key.namespace, {}))


@dataclass(frozen=True)
class Spread:
    """A topology spread constraint; ``least_domains`` counts missing domains as empty ones."""

    topology: str
    skew_max: int
    hard: bool
    selector: LabelSelector
    least_domains: int
    honours_affinity: bool
    honours_taints: bool


@dataclass(frozen=True)
class PodFacts:
    key: ObjectKey
    uid: str
    labels: Mapping[str, str]
    spec: Object
    priority: int
    requests: Amounts
    ports: tuple[Port, ...]
    owner: str
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    prefers: tuple[Term, ...]
    spreads: tuple[Spread, ...]
    leaving: bool
    started: str

    @classmethod
    def of(cls, pod: Object) -> PodFacts:
        meta, spec = pod["metadata"], pod["spec"]
        owner = controller_of(pod)
        affinity = spec.get("affinity") or {}
        near, apart = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
        return cls(
            key=key_of(pod),
            uid=meta["uid"],
            labels=meta.get("labels") or {},
            spec=spec,
            priority=int(spec.get("priority") or 0),
            requests=pod_requests(pod),
            ports=tuple(_ports(spec)),
            owner=owner["uid"] if owner is not None else "",
            affinity=tuple(_required(near, pod)),
            anti_affinity=tuple(_required(apart, pod)),
            prefers=(*_preferred(near, pod, 1), *_preferred(apart, pod, -1)),
            spreads=tuple(_spread(each, pod) for each in spec.get("topologySpreadConstraints") or ()),
            leaving=bool(meta.get("deletionTimestamp")),
            started=(pod.get("status") or {}).get("startTime") or meta.get("creationTimestamp") or "",
        )


def _ports(spec: Object) -> Iterable[Port]:
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield Port(port.get("protocol", "TCP"), port.get("hostIP") or "0.0.0.0", int(port["hostPort"]))


def _required(affinity: Object, pod: Object) -> Iterable[Term]:
    for each in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
        yield _term(each, pod, 0)


def _preferred(affinity: Object, pod: Object, sign: int) -> Iterable[Term]:
    for each in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
        yield _term(each.get("podAffinityTerm") or {}, pod, sign * int(each.get("weight") or 0))


def _term(term: Object, pod: Object, weight: int) -> Term:
    labels = pod["metadata"].get("labels") or {}
    selector = dict(term.get("labelSelector") or {}) if term.get("labelSelector") is not None else None
    if selector is not None:
        expressions = [*(selector.get("matchExpressions") or ())]
        expressions += [_is(key, labels[key], "In") for key in term.get("matchLabelKeys") or () if key in labels]
        expressions += [_is(key, labels[key], "NotIn") for key in term.get("mismatchLabelKeys") or () if key in labels]
        selector["matchExpressions"] = expressions
    inside, namespaces = term.get("namespaceSelector"), frozenset(term.get("namespaces") or ())
    if inside is None and not namespaces:
        namespaces = frozenset((pod["metadata"].get("namespace", ""),))
    return Term(term.get("topologyKey", ""), from_structured(selector), namespaces, from_structured(inside), weight)


def _is(key: str, value: str, operator: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": [value]}


def _spread(constraint: Object, pod: Object) -> Spread:
    labels = pod["metadata"].get("labels") or {}
    selector = dict(constraint.get("labelSelector") or {})
    keys = [_is(key, labels[key], "In") for key in constraint.get("matchLabelKeys") or () if key in labels]
    selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *keys]
    return Spread(
        topology=constraint.get("topologyKey", ""),
        skew_max=int(constraint.get("maxSkew") or 1),
        hard=constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        selector=from_structured(selector) if constraint.get("labelSelector") is not None else EVERYTHING,
        least_domains=int(constraint.get("minDomains") or 1),
        honours_affinity=constraint.get("nodeAffinityPolicy", "Honor") == "Honor",
        honours_taints=constraint.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


@dataclass
class NodeState:
    name: str
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, str], ...]
    unschedulable: bool
    allocatable: Amounts | None
    """None: the node says nothing of its size, everything fits."""
    pods: dict[str, PodFacts] = field(default_factory=dict)
    requested: Amounts = field(default_factory=dict)
    ports: Counter[Port] = field(default_factory=Counter)
    owners: Counter[str] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)
    """How many of the pods ask for no cpu, for no memory."""

    @property
    def topology(self) -> Mapping[str, str]:
        """The labels that a pod on this node is given."""
        return {key: self.labels[key] for key in _ZONE if key in self.labels}

    def add(self, pod: PodFacts) -> None:
        self.pods[pod.uid] = pod
        for name, value in pod.requests.items():
            self.requested[name] = self.requested.get(name, 0) + value
        self.ports.update(pod.ports)
        self.owners[pod.owner] += 1
        self.silent.update(name for name in COUNTED if not pod.requests.get(name))

    def drop(self, uid: str) -> PodFacts | None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            for name, value in pod.requests.items():
                self.requested[name] -= value
            self.ports.subtract(pod.ports)
            self.owners[pod.owner] -= 1
            self.silent.subtract([name for name in COUNTED if not pod.requests.get(name)])
        return pod


class ClusterState:
    """All nodes. ``anti`` are the pods with required anti-affinity: others have to mind them. ``namespaces`` are the
    labels of each. A pod is in one place only: on a node, on one that is not known (any more), or awaited on one."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self._places: dict[str, str] = {}
        self._waiting: dict[str, dict[str, PodFacts]] = {}
        self._awaited: dict[str, tuple[PodFacts, str]] = {}
        self.anti: dict[str, tuple[PodFacts, str]] = {}

    def set_node(self, node: Object) -> None:
        meta, spec = node["metadata"], node.get("spec") or {}
        status = node.get("status") or {}
        name = meta["name"]
        allocatable = status.get("allocatable") or status.get("capacity")
        held = self.nodes.get(name)
        state = NodeState(
            name,
            meta.get("labels") or {},
            tuple(spec.get("taints") or ()),
            bool(spec.get("unschedulable")),
            amounts(allocatable) if allocatable else None,
        )
        if held is not None:
            state.pods, state.requested, state.ports = held.pods, held.requested, held.ports
            state.owners, state.silent = held.owners, held.silent
        self.nodes[name] = state
        for pod in self._waiting.pop(name, {}).values():
            self.place(pod, name)

    def drop_node(self, name: str) -> None:
        """Its pods stay bound to it: they count again if it comes back before they go."""
        state = self.nodes.pop(name, None)
        for pod in state.pods.values() if state is not None else ():
            self.place(pod, name)

    def place(self, pod: PodFacts, node: str) -> None:
        """A pod is on a node, or is taken to be."""
        self.remove(pod.uid)
        self._places[pod.uid] = node
        state = self.nodes.get(node)
        if state is None:
            self._waiting.setdefault(node, {})[pod.uid] = pod
            return
        state.add(pod)
        if pod.anti_affinity:
            self.anti[pod.uid] = (pod, node)

    def remove(self, uid: str) -> None:
        name = self._places.pop(uid, None)
        if name is not None and name in self.nodes:
            self.nodes[name].drop(uid)
        elif name in self._waiting:
            self._waiting[name].pop(uid, None)
            if not self._waiting[name]:
                del self._waiting[name]
        self.anti.pop(uid, None)
        self._awaited.pop(uid, None)

    def expect(self, pod: PodFacts, node: str) -> None:
        """Others go from a node so that this pod has room there."""
        self.remove(pod.uid)
        self._awaited[pod.uid] = (pod, node)

    def expected_at(self, uid: str) -> str:
        """The node on which a pod gets room; "" where there is none."""
        return self._awaited[uid][1] if uid in self._awaited else ""

    @contextmanager
    def minding(self, pod: PodFacts) -> Iterator[None]:
        """Counts the pods for which room is being made as there, unless they are less important than ``pod``."""
        coming = [
            each for each in self._awaited.values() if each[0].uid != pod.uid and each[0].priority >= pod.priority
        ]
        for one, node in coming:
            self.place(one, node)
        try:
            yield
        finally:
            for one, node in coming:
                self.expect(one, node)

    def node_of(self, uid: str) -> str | None:
        return self._places.get(uid)
