"""The decisions about a DaemonSet: a pod on every node that is meant, replaced where the template changed.

Source: pkg/controller/daemon (podsShouldBeOnNode, rollingUpdate, updateDaemonSetStatus).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.owners import controller_reference
from tiphys.cluster.controllers.plan.revisions import HASH_LABEL
from tiphys.cluster.controllers.plan.scheduling.cluster import NodeState
from tiphys.cluster.controllers.plan.scheduling.filters import matches_affinity, untolerated
from tiphys.cluster.controllers.plan.statuses import without_empty
from tiphys.machinery.actions import Action, Create, Delete, Emit
from tiphys.machinery.resources import DAEMON_SETS, PODS, key_of
from tiphys.machinery.shares import scaled

Object = Mapping[str, Any]

GENERATION: Final = "deprecated.daemonset.template.generation"
_SHOWN: Final = frozenset(("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"))
_TOLERATED: Final = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
_BURST_MAX: Final = 250
_FAILED_BACKOFF: Final = timedelta(seconds=1)
_FAILED_BACKOFF_MAX: Final = timedelta(minutes=15)


@dataclass(frozen=True)
class Observed:
    daemon_set: Object
    nodes: tuple[Object, ...]
    pods: tuple[Object, ...]
    hash: str
    stays_until: Mapping[str, datetime] = field(default_factory=dict)
    """Node → until when a failed pod stays there: it would only fail again."""


@dataclass
class Step:
    """``failed_on`` are the nodes from which a failed pod is taken away."""

    status: dict[str, Any]
    failed_on: list[str] = field(default_factory=list)
    actions: list[Sequence[Action]] = field(default_factory=list)
    wake_at: datetime | None = None


def plan(seen: Observed, about: Mapping[str, Any], now: datetime) -> Step:
    """``about`` is the reference for events."""
    facts = _Facts(seen, now)
    step = Step(status=_status(facts))
    if seen.daemon_set["metadata"].get("deletionTimestamp"):
        return step
    creates, deletes, notes = facts.missing_and_surplus(about)
    strategy = (seen.daemon_set["spec"].get("updateStrategy") or {}).get("type", "RollingUpdate")
    if strategy == "RollingUpdate" and not creates and not deletes:
        creates, deletes = facts.rolled()
    made = [Create(PODS, _pod(seen, node), why=f"node {node} has none") for node in creates[:_BURST_MAX]]
    gone = [Delete(PODS, key_of(pod), pod["metadata"]["uid"], why="not meant to be here") for pod in deletes]
    step.actions = [list(notes), gone, *podfacts.slow_start(made)]
    step.failed_on = [target_of(pod) for pod in deletes if podfacts.phase(pod) == "Failed"]
    available_at = podfacts.next_available(seen.pods, facts.min_ready, now) if facts.min_ready else None
    step.wake_at = min(filter(None, (available_at, *facts.waits)), default=None)
    return step


class Failures:
    """When failed pods were taken away: each on the same node stays twice as long, from a second to 15 minutes.

    Forgotten after twice the longest time without one (source: client-go's flowcontrol.Backoff).
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[datetime, timedelta]] = {}

    def stays_until(self, daemon_set: str) -> dict[str, datetime]:
        """``daemon_set`` is a uid."""
        return {node: at + wait for (uid, node), (at, wait) in self._held.items() if uid == daemon_set}

    def add(self, daemon_set: str, node: str, now: datetime) -> None:
        self._held = {key: (at, wait) for key, (at, wait) in self._held.items() if now - at <= 2 * _FAILED_BACKOFF_MAX}
        held = self._held.get((daemon_set, node))
        wait = min(2 * held[1], _FAILED_BACKOFF_MAX) if held is not None else _FAILED_BACKOFF
        self._held[daemon_set, node] = (now, wait)


class _Facts:
    def __init__(self, seen: Observed, now: datetime) -> None:
        self.seen, self.now = seen, now
        self.spec = seen.daemon_set["spec"]
        self.min_ready = int(self.spec.get("minReadySeconds") or 0)
        self.by_node: dict[str, list[Object]] = {}
        for pod in seen.pods:
            node = target_of(pod)
            if node:
                self.by_node.setdefault(node, []).append(pod)
        self.waits: list[datetime] = []
        self.meant = {node["metadata"]["name"]: verdict(seen.daemon_set, node) for node in seen.nodes}

    def is_new(self, pod: Object) -> bool:
        return bool((pod["metadata"].get("labels") or {}).get(HASH_LABEL) == self.seen.hash)

    def is_available(self, pod: Object) -> bool:
        return podfacts.is_available(pod, self.min_ready, self.now)

    @property
    def bounds(self) -> tuple[int, int]:
        """(maxSurge, maxUnavailable) in pods."""
        rolling = (self.spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
        desired = sum(run for run, _ in self.meant.values())
        surge = scaled(rolling.get("maxSurge") or 0, desired, up=True)
        unavailable = scaled(rolling.get("maxUnavailable", 1), desired, up=True)
        return surge, max(unavailable, 0 if surge else 1)

    def missing_and_surplus(self, about: Mapping[str, Any]) -> tuple[list[str], list[Object], list[Emit]]:
        creates: list[str] = []
        deletes: list[Object] = []
        notes: list[Emit] = []
        surge, _ = self.bounds
        for node, (run, stay) in self.meant.items():
            held = self.by_node.get(node, [])
            if not stay:
                deletes += [pod for pod in held if not pod["metadata"].get("deletionTimestamp")]
                continue
            ended = [
                pod for pod in held if podfacts.is_terminated(pod) and _is_live(pod) and not self._stays(pod, node)
            ]
            for pod in ended:
                word = podfacts.phase(pod).lower()
                text = f"Found {word} daemon pod {key_of(pod)} on node {node}, will try to kill it"
                kind = "Warning" if word == "failed" else "Normal"
                notes.append(Emit(about, kind, f"{word.title()}DaemonPod", text))
            deletes += ended
            alive = [pod for pod in held if podfacts.is_active(pod)]
            # While one is still going its place is not free.
            if run and not held:
                creates.append(node)
            elif len(alive) > 1 and not surge:
                deletes += sorted(alive, key=_by_age)[1:]
            elif len(alive) > 1:
                deletes += self._replaced(alive)
        known = self.meant.keys()
        deletes += [pod for node, held in self.by_node.items() if node not in known for pod in held if _is_live(pod)]
        return creates, deletes, notes

    def _stays(self, pod: Object, node: str) -> bool:
        until = self.seen.stays_until.get(node)
        if podfacts.phase(pod) != "Failed" or until is None or until <= self.now:
            return False
        self.waits.append(until)
        return True

    def _replaced(self, alive: Sequence[Object]) -> list[Object]:
        """With surge an old pod goes when the new one is available; of several new ones the oldest stays."""
        fresh = sorted((pod for pod in alive if self.is_new(pod)), key=_by_age)
        old = [pod for pod in alive if not self.is_new(pod)]
        gone = fresh[1:]
        if fresh and (self.is_available(fresh[0]) or not any(map(self.is_available, old))):
            gone += old
        elif len(old) > 1:
            gone += sorted(old, key=_by_age)[1:]
        return gone

    def rolled(self) -> tuple[list[str], list[Object]]:
        """The next pods to replace: those that are not available first, others as far as the bounds let."""
        surge, unavailable = self.bounds
        creates: list[str] = []
        useless: list[Object] = []
        candidates: list[tuple[str, Object]] = []
        missing = surging = 0
        for node, (run, _) in self.meant.items():
            alive = [pod for pod in self.by_node.get(node, []) if podfacts.is_active(pod)]
            if not run:
                continue
            old = [pod for pod in alive if not self.is_new(pod)]
            surging += len(alive) > 1
            if not any(map(self.is_available, alive)):
                missing += 1
                useless += old if len(alive) == len(old) else []
            elif old and len(alive) == len(old):
                candidates.append((node, old[0]))
        if surge:
            room = max(0, surge - surging)
            creates = [target_of(pod) for pod in useless][: len(useless)] + [node for node, _ in candidates[:room]]
            return creates, []
        room = max(0, unavailable - missing)
        return [], [*useless, *(pod for _, pod in candidates[:room])]


def _is_live(pod: Object) -> bool:
    return not pod["metadata"].get("deletionTimestamp")


def _by_age(pod: Object) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def target_of(pod: Object) -> str:
    """The node of a daemon's pod: where it is, or where alone it may go."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for each in term.get("matchFields") or ():
            if each["key"] == "metadata.name" and each["operator"] == "In" and len(each["values"]) == 1:
                return str(each["values"][0])
    return ""


def verdict(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """(should a pod run on this node, may one that is there stay)."""
    meta = node["metadata"]
    spec = (daemon_set["spec"].get("template") or {}).get("spec") or {}
    spec = {**spec, "tolerations": _tolerations(spec)}
    taints = tuple((node.get("spec") or {}).get("taints") or ())
    state = NodeState(meta["name"], meta.get("labels") or {}, taints, False, None)
    if spec.get("nodeName") not in (None, "", meta["name"]) or not matches_affinity(spec, state):
        return False, False
    return not untolerated(spec, taints), not untolerated(spec, taints, ("NoExecute",))


def _tolerations(spec: Object) -> list[Any]:
    held = list(spec.get("tolerations") or ())
    wanted = [*_TOLERATED, *([("network-unavailable", "NoSchedule")] if spec.get("hostNetwork") else [])]
    for name, effect in wanted:
        one = {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect}
        if one not in held:
            held.append(one)
    return held


def _pod(seen: Observed, node: str) -> Object:
    meta, spec = seen.daemon_set["metadata"], seen.daemon_set["spec"]
    owner = controller_reference(seen.daemon_set, DAEMON_SETS)
    template = spec.get("template") or {}
    pod = podfacts.from_template(template, meta["namespace"], podfacts.prefix(meta["name"]), owner, PODS)
    generation = (meta.get("annotations") or {}).get(GENERATION)
    labels = {**(pod["metadata"].get("labels") or {}), HASH_LABEL: seen.hash}
    pod["metadata"]["labels"] = labels | ({"pod-template-generation": generation} if generation else {})
    pod["spec"]["tolerations"] = _tolerations(pod["spec"])
    pod["spec"]["affinity"] = _only_on(pod["spec"].get("affinity") or {}, node)
    return pod


def _only_on(affinity: Object, node: str) -> dict[str, Any]:
    """The pod's affinity with this node as the only one."""
    here = [{"key": "metadata.name", "operator": "In", "values": [node]}]
    nodes = dict(affinity.get("nodeAffinity") or {})
    # What else was required has been judged already, node by node.
    nodes["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [{"matchFields": here}]}
    return {**affinity, "nodeAffinity": nodes}


def _status(facts: _Facts) -> dict[str, Any]:
    daemon_set = facts.seen.daemon_set
    counts = dict.fromkeys(("current", "misscheduled", "desired", "ready", "updated", "available"), 0)
    for node, (run, _) in facts.meant.items():
        held = facts.by_node.get(node, [])
        scheduled = bool(held)
        if not run:
            counts["misscheduled"] += scheduled
            continue
        counts["desired"] += 1
        if not scheduled:
            continue
        counts["current"] += 1
        oldest = min(held, key=_by_age)
        shown = next((pod for pod in held if podfacts.is_ready(pod)), oldest)
        counts["ready"] += podfacts.is_ready(shown)
        counts["available"] += facts.is_available(shown)
        counts["updated"] += any(facts.is_new(pod) for pod in held)
    found = {
        "currentNumberScheduled": counts["current"],
        "numberMisscheduled": counts["misscheduled"],
        "desiredNumberScheduled": counts["desired"],
        "numberReady": counts["ready"],
        "observedGeneration": daemon_set["metadata"].get("generation"),
        "updatedNumberScheduled": counts["updated"],
        "numberAvailable": counts["available"],
        "numberUnavailable": counts["desired"] - counts["available"],
        "collisionCount": (daemon_set.get("status") or {}).get("collisionCount"),
    }
    return without_empty(found, _SHOWN)
