"""The decisions about a ReplicaSet: how many pods to make or end, and what its status says.

Source: pkg/controller/replicaset (manageReplicas, calculateStatus).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.owners import controller_reference
from tiphys.cluster.controllers.plan.statuses import without_condition, without_empty
from tiphys.machinery.actions import Action, Create, Delete
from tiphys.machinery.resources import PODS, Resource, key_of
from tiphys.machinery.times import to_time

Object = Mapping[str, Any]

BURST_MAX: Final = 500
"""Pods made or ended by one look."""


@dataclass(frozen=True)
class Observed:
    """``pods`` are those of the set, ``related`` all pods of the sets with the same controller."""

    replica_set: Object
    resource: Resource
    pods: tuple[Object, ...]
    related: tuple[Object, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Why pods could not be made (``FailedCreate``) or ended (``FailedDelete``)."""

    reason: str
    message: str


def manage(seen: Observed, now: datetime) -> list[Sequence[Action]]:
    """The pods to make or to end, in stages."""
    replica_set = seen.replica_set
    if replica_set["metadata"].get("deletionTimestamp"):
        return []
    active = [pod for pod in seen.pods if podfacts.is_active(pod)]
    surplus = len(active) - wanted(replica_set)
    if surplus < 0:
        one = Create(PODS, _pod(replica_set, seen.resource), why="too few replicas")
        return podfacts.slow_start([one] * min(-surplus, BURST_MAX))
    crowd = Counter(pod["spec"].get("nodeName") for pod in seen.related if podfacts.is_active(pod))
    chosen = podfacts.victims(active, min(surplus, BURST_MAX), now, lambda pod: crowd[pod["spec"].get("nodeName")])
    return [[Delete(PODS, key_of(pod), pod["metadata"]["uid"], why="too many replicas") for pod in chosen]]


def wanted(replica_set: Object) -> int:
    replicas = replica_set["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _pod(replica_set: Object, resource: Resource) -> Object:
    meta = replica_set["metadata"]
    template = replica_set["spec"].get("template") or {}
    owner = controller_reference(replica_set, resource)
    return podfacts.from_template(template, meta["namespace"], podfacts.prefix(meta["name"]), owner, PODS)


def status(seen: Observed, failure: Failure | None, now: datetime) -> dict[str, Any]:
    """The status of the set, from its pods as they were observed."""
    replica_set = seen.replica_set
    spec = replica_set["spec"]
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    active = [pod for pod in seen.pods if podfacts.is_active(pod)]
    min_ready = int(spec.get("minReadySeconds") or 0)
    found = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active),
        "readyReplicas": sum(map(podfacts.is_ready, active)),
        "availableReplicas": sum(podfacts.is_available(pod, min_ready, now) for pod in active),
        "terminatingReplicas": sum(map(podfacts.is_terminating, seen.pods)),
        "observedGeneration": replica_set["metadata"].get("generation", 0),
        "conditions": _conditions(replica_set, failure, now),
    }
    if seen.resource.kind != "ReplicaSet":
        del found["terminatingReplicas"]
    return without_empty(found, frozenset(("replicas", "terminatingReplicas")))


def _conditions(replica_set: Object, failure: Failure | None, now: datetime) -> list[dict[str, Any]]:
    held = list((replica_set.get("status") or {}).get("conditions") or ())
    known = any(each["type"] == "ReplicaFailure" for each in held)
    if failure is None:
        return without_condition(held, "ReplicaFailure")
    if known:
        return held
    failed = {
        "type": "ReplicaFailure",
        "status": "True",
        "lastTransitionTime": to_time(now),
        "reason": failure.reason,
        "message": failure.message,
    }
    return [*held, failed]
