"""Evictions and disruption budgets: one pod more may go, or why not.

A budget's controller counts; an eviction takes from what it allows and notes the pod, at one version of the budget, so
that two evictions never take the same. Source: pkg/registry/core/pod/storage/eviction.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from tiphys.machinery.errors import ApiError, Forbidden, TooManyRequests
from tiphys.machinery.resources import POD_DISRUPTION_BUDGETS
from tiphys.machinery.selectors import from_structured
from tiphys.machinery.times import to_time

if TYPE_CHECKING:
    from tiphys.cluster.apiserver.verbs import Target, Verbs

Object = Mapping[str, Any]

_DISRUPTED_MAX: Final = 2000
_REFUSED: Final = "Cannot evict pod as it would violate the pod's disruption budget."
_TWO: Final = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."


class _TwoBudgets(ApiError):
    code, reason = 500, ""


def is_counted(pod: Object) -> bool:
    """A pod that has ended, has not begun or is going already is nobody's loss."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in ("Succeeded", "Failed", "Pending") and not pod["metadata"].get("deletionTimestamp")


async def take_from_budget(verbs: Verbs, target: Target, pod: Object) -> None:
    """Raises TooManyRequests where the budget allows no disruption."""
    from tiphys.cluster.apiserver.verbs import Target, WriteOptions

    budget = _budget_of(verbs, pod)
    if budget is None:
        return
    if not _is_ready(pod) and _spares_unready(budget):
        return
    status = _taken(budget, pod, to_time(verbs.clock.now()))
    resource = POD_DISRUPTION_BUDGETS
    info = verbs.registry.find(resource.group, resource.version, resource.plural)
    assert info is not None, "built-in kinds are registered"
    meta = budget["metadata"]
    where = Target(info, meta["namespace"], meta["name"], "status")
    # Nothing waits between reading the budget and staging this: no two evictions see the same count.
    await verbs.change(where, lambda old: {**old, "status": status}, WriteOptions())
    await _mark(verbs, target, to_time(verbs.clock.now()))


def _budget_of(verbs: Verbs, pod: Object) -> Object | None:
    namespace, labels = pod["metadata"]["namespace"], pod["metadata"].get("labels")
    keys = verbs.store.collection(POD_DISRUPTION_BUDGETS.key).keys(namespace)
    found = []
    for key in list(keys):
        record = verbs.store.latest(POD_DISRUPTION_BUDGETS.key, key)
        if record is not None and from_structured(record.view["spec"].get("selector")).matches(labels):
            found.append(record.view)
    if len(found) > 1:
        raise _TwoBudgets(_TWO)
    return found[0] if found else None


def _is_ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _spares_unready(budget: Object) -> bool:
    """Whether a pod that is not ready may go without being counted."""
    status = budget.get("status") or {}
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    desired = int(status.get("desiredHealthy") or 0)
    return desired > 0 and int(status.get("currentHealthy") or 0) >= desired


def _taken(budget: Object, pod: Object, now: str) -> dict[str, Any]:
    meta, status = budget["metadata"], budget.get("status") or {}
    name = meta["name"]
    if int(status.get("observedGeneration") or 0) < int(meta.get("generation") or 0):
        raise _refusal(f"The disruption budget {name} is still being processed by the server.", 10)
    disrupted = status.get("disruptedPods") or {}
    if len(disrupted) > _DISRUPTED_MAX:
        raise Forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller")
    allowed = int(status.get("disruptionsAllowed") or 0)
    if allowed <= 0:
        counts = (
            f"needs {status.get('desiredHealthy', 0)} healthy pods and has {status.get('currentHealthy', 0)} currently"
        )
        raise _refusal(f"The disruption budget {name} {counts}")
    return {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": {**disrupted, pod["metadata"]["name"]: now}}


def _refusal(message: str, retry_seconds: int = 0) -> TooManyRequests:
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": message}]}
    return TooManyRequests(_REFUSED, details | ({"retryAfterSeconds": retry_seconds} if retry_seconds else {}))


async def _mark(verbs: Verbs, target: Target, now: str) -> None:
    """Says on the pod why it goes."""
    from tiphys.cluster.apiserver.verbs import Target, WriteOptions

    why = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": now,
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }

    def change(pod: dict[str, Any]) -> dict[str, Any]:
        status = pod.get("status") or {}
        others = [each for each in status.get("conditions") or () if each["type"] != "DisruptionTarget"]
        return {**pod, "status": {**status, "conditions": [*others, why]}}

    await verbs.change(Target(target.info, target.namespace, target.name, "status"), change, WriteOptions())
