"""Disruption budgets: how many pods may go at once.

Source: pkg/controller/disruption (getExpectedPodCount, updatePdbStatus).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.statuses import without_empty
from tiphys.machinery.selectors import from_structured
from tiphys.machinery.shares import scaled
from tiphys.machinery.times import parse_time, to_time

Object = Mapping[str, Any]

# How long an eviction that was allowed is waited for (DeletionTimeout).
_WAITED_FOR: Final = timedelta(minutes=2)
_SHOWN: Final = frozenset(("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"))


def allowed_for(labels: Mapping[str, str], namespace: str, budgets: Iterable[Object]) -> bool:
    """Whether every budget of a pod lets it go."""
    mine = (budget for budget in budgets if budget["metadata"]["namespace"] == namespace and covers(budget, labels))
    return all(int((budget.get("status") or {}).get("disruptionsAllowed") or 0) > 0 for budget in mine)


def covers(budget: Object, labels: Mapping[str, str] | None) -> bool:
    return from_structured(budget["spec"].get("selector")).matches(labels)


def status(
    budget: Object, pods: Sequence[Object], expected_scale: int, now: datetime
) -> tuple[dict[str, Any], datetime | None]:
    """The status of a budget over ``pods``, whose controllers want ``expected_scale``; and when to look again."""
    spec, held = budget["spec"], budget.get("status") or {}
    if "maxUnavailable" in spec:
        expected = expected_scale
        desired = max(0, expected - scaled(spec["maxUnavailable"], expected, up=True))
    elif isinstance(spec.get("minAvailable"), str):
        expected = expected_scale
        desired = scaled(spec["minAvailable"], expected, up=True)
    else:
        expected, desired = len(pods), int(spec.get("minAvailable") or 0)
    disrupted, wake_at = _disrupted(held.get("disruptedPods") or {}, pods, now)
    healthy = sum(podfacts.is_ready(pod) for pod in pods if _counts(pod, disrupted))
    allowed = max(0, healthy - desired) if expected > 0 else 0
    found = {
        "observedGeneration": budget["metadata"].get("generation"),
        "disruptedPods": disrupted,
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": [_condition(budget, allowed, now)],
    }
    return without_empty(found, _SHOWN), wake_at


def _counts(pod: Object, disrupted: Mapping[str, str]) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and pod["metadata"]["name"] not in disrupted


def _disrupted(
    held: Mapping[str, str], pods: Sequence[Object], now: datetime
) -> tuple[dict[str, str], datetime | None]:
    """Evicted pods that have not gone yet, while they are waited for."""
    waiting = {pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")}
    ends = {name: parse_time(at) + _WAITED_FOR for name, at in held.items() if name in waiting}
    kept = {name: held[name] for name, end in ends.items() if end > now}
    return kept, min((ends[name] for name in kept), default=None)


def _condition(budget: Object, allowed: int, now: datetime) -> dict[str, Any]:
    held = podfacts.condition(budget, "DisruptionAllowed")
    word = "True" if allowed else "False"
    reason = "SufficientPods" if allowed else "InsufficientPods"
    since = held["lastTransitionTime"] if held is not None and held["status"] == word else to_time(now)
    return {
        "type": "DisruptionAllowed",
        "status": word,
        "observedGeneration": budget["metadata"].get("generation"),
        "lastTransitionTime": since,
        "reason": reason,
        "message": "",
    }
