"""``resourcesDuration``: what the containers of a pod asked for, times how long they ran, in seconds per unit.

A unit is a CPU, 100 MiB of memory, 10 GiB of storage, or one of anything else; a container that names neither CPU nor
memory counts with a tenth of a CPU and 100 MiB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiphys.machinery import quantities
from tiphys.workflows.plan.nodes import moment

Pod = Mapping[str, Any]
Durations = dict[str, int]

ASSUMED = {"cpu": "100m", "memory": "100Mi"}
UNITS = {"memory": "100Mi", "storage": "10Gi", "ephemeral-storage": "10Gi"}


def of_pod(pod: Pod) -> Durations:
    """The durations of a pod whose containers have ended."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    asked: dict[str, dict[str, str]] = {}
    shared: Mapping[str, Any] | None = spec.get("resources")
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        own = container.get("resources") or {}
        amounts = asked[str(container.get("name"))] = dict(ASSUMED)
        if shared and not own.get("limits") and not own.get("requests"):
            amounts.update({**(shared.get("limits") or {}), **(shared.get("requests") or {})})
            shared = None  # one budget for all containers, counted once
        amounts.update({**(own.get("limits") or {}), **(own.get("requests") or {})})
    ages = {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        ages[str(container.get("name"))] = _seconds((container.get("state") or {}).get("terminated"))
    total: Durations = {}
    for name, amounts in asked.items():
        seconds = ages.get(name, 0)
        for resource, amount in amounts.items():
            share = _milli(str(amount)) * seconds // _milli(UNITS.get(resource, "1")) if seconds else 0
            total[resource] = total.get(resource, 0) + share
    return total


def add(total: Durations, more: Mapping[str, int]) -> None:
    """Adds ``more`` to ``total``."""
    for resource, seconds in more.items():
        total[resource] = total.get(resource, 0) + seconds


def _seconds(terminated: Mapping[str, Any] | None) -> int:
    started, finished = (moment((terminated or {}).get(key)) for key in ("startedAt", "finishedAt"))
    return int((finished - started).total_seconds()) if started is not None and finished is not None else 0


def _milli(amount: str) -> int:
    try:
        return quantities.parse(amount).value(-3)
    except quantities.QuantityError:
        return 0
