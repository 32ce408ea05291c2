"""Facts about pods that decisions are made of: ready, available, active; pods made from a template; whom to end first.

Sources: pkg/api/v1/pod and pkg/controller's controller_utils (ActivePodsWithRanks, GetPodFromTemplate).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.machinery.resources import Resource
from tiphys.machinery.times import parse_time

Object = Mapping[str, Any]

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANK: Final = {"Pending": 0, "Unknown": 1}


def phase(pod: Object) -> str:
    found: str = (pod.get("status") or {}).get("phase") or ""
    return found


def is_terminated(pod: Object) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_terminating(pod: Object) -> bool:
    """Being deleted, and not ended yet."""
    return bool(pod["metadata"].get("deletionTimestamp")) and not is_terminated(pod)


def is_active(pod: Object) -> bool:
    return not is_terminated(pod) and not pod["metadata"].get("deletionTimestamp")


def condition(obj: Object, kind: str) -> Mapping[str, Any] | None:
    for each in (obj.get("status") or {}).get("conditions") or ():
        if each.get("type") == kind:
            found: Mapping[str, Any] = each
            return found
    return None


def is_ready(pod: Object) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready["status"] == "True"


def ready_since(pod: Object) -> datetime | None:
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True" or not ready.get("lastTransitionTime"):
        return None
    return parse_time(ready["lastTransitionTime"])


def available_at(pod: Object, min_ready_seconds: int) -> datetime | None:
    """When a ready pod counts as available (None: not ready)."""
    since = ready_since(pod)
    return None if since is None else since + timedelta(seconds=min_ready_seconds)


def is_available(pod: Object, min_ready_seconds: int, now: datetime) -> bool:
    if not min_ready_seconds:
        return is_ready(pod)
    moment = available_at(pod, min_ready_seconds)
    return moment is not None and moment <= now


def next_available(pods: Iterable[Object], min_ready_seconds: int, now: datetime) -> datetime | None:
    """When the next of the ready pods becomes available, if one is still to."""
    moments = [at for pod in pods if (at := available_at(pod, min_ready_seconds)) is not None and at > now]
    return min(moments, default=None)


def from_template(
    template: Object, namespace: str, name: str, owner: Mapping[str, Any], resource: Resource
) -> dict[str, Any]:
    """A pod of a template. A ``name`` that ends in "-" is generated, as a controller's prefix is."""
    meta = template.get("metadata") or {}
    new: dict[str, Any] = {"generateName" if name.endswith("-") else "name": name, "namespace": namespace}
    for field in ("labels", "annotations", "finalizers"):
        if meta.get(field):
            new[field] = list(meta[field]) if field == "finalizers" else dict(meta[field])
    new["ownerReferences"] = [dict(owner)]
    spec = dict(template.get("spec") or {})
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": new, "spec": spec}


def prefix(name: str) -> str:
    """The prefix of generated pod names; a name that would make it invalid is used as it is by the original too."""
    return f"{name}-"


def slow_start(actions: Sequence[Any]) -> list[Sequence[Any]]:
    """Stages of 1, 2, 4 … actions: where the first is refused, not all of them are tried."""
    stages, size, at = [], 1, 0
    while at < len(actions):
        stages.append(actions[at : at + size])
        at, size = at + size, size * 2
    return stages


def victims(pods: Sequence[Object], count: int, now: datetime, neighbours: Callable[[Object], int]) -> list[Object]:
    """The ``count`` pods that are missed least; ``neighbours`` counts the related pods on a pod's node."""
    if count >= len(pods):
        return list(pods)
    return sorted(pods, key=lambda pod: _rank(pod, now, neighbours(pod)))[:count]


def _rank(pod: Object, now: datetime, neighbours: int) -> tuple[Any, ...]:
    """Smaller ends first: unassigned, pending, not ready, cheap, crowded, young (by magnitudes), restarting."""
    spec, meta = pod.get("spec") or {}, pod["metadata"]
    since = ready_since(pod)
    age = _magnitude(now - since) if since is not None else -2
    created = meta.get("creationTimestamp")
    return (
        bool(spec.get("nodeName")),
        _PHASE_RANK.get(phase(pod), 2),
        is_ready(pod),
        _cost(meta),
        -neighbours,
        age,
        -_restarts(pod),
        _magnitude(now - parse_time(created)) if created else -2,
        meta.get("uid", ""),
    )


def _magnitude(passed: timedelta) -> int:
    nanoseconds = passed / timedelta(microseconds=1) * 1000
    return int(math.log2(nanoseconds)) if nanoseconds > 0 else -1


def _cost(meta: Mapping[str, Any]) -> int:
    try:
        return int((meta.get("annotations") or {}).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def _restarts(pod: Object) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount") or 0) for status in statuses), default=0)
