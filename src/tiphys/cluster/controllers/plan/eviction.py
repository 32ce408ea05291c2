"""Pods that have to leave: from nodes with NoExecute taints, from nodes that are gone, and ended ones that nobody owns.

Sources: pkg/controller/tainteviction, pkg/controller/podgc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.scheduling.filters import tolerates_taint

Object = Mapping[str, Any]

ENDED_MAX: Final = 12_500
"""Ended pods that are kept, the youngest (--terminated-pod-gc-threshold)."""


def evicted_at(pod: Object, taints: Iterable[Mapping[str, Any]], since: datetime) -> datetime | None:
    """When a pod must leave a node with these taints, which it has had ``since``; None: it may stay."""
    tolerations = pod["spec"].get("tolerations") or ()
    seconds: list[int] = []
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        matching = [each for each in tolerations if tolerates_taint(each, taint)]
        if not matching:
            return since
        seconds += [max(0, int(each["tolerationSeconds"])) for each in matching if "tolerationSeconds" in each]
    return since + timedelta(seconds=min(seconds)) if seconds else None


def surplus(pods: Iterable[Object]) -> Sequence[Object]:
    """The oldest ended pods beyond what is kept."""
    ended = [pod for pod in pods if podfacts.is_terminated(pod) and not pod["metadata"].get("deletionTimestamp")]
    ended.sort(key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
    return ended[: max(0, len(ended) - ENDED_MAX)]
