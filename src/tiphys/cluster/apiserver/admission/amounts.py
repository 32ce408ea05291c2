"""What a pod's containers ask for together, as LimitRange and ResourceQuota count it.

containers and restartable init containers add up; an ordinary init container runs alone beside the restartable
ones before it; what the pod itself says of cpu and memory replaces the sum; a runtime class's overhead comes on top
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tiphys.machinery import quantities
from tiphys.machinery.quantities import Quantity

Amounts = dict[str, Quantity]
Which = Literal["requests", "limits"]
_OF_PODS = ("cpu", "memory")


def of_pod(spec: Mapping[str, Any], which: Which, *, overhead: bool = False) -> Amounts:
    """The pod's total; ``overhead``: with its runtime class's."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        add(total, of_container(container, which))
    restartable: Amounts = {}
    highest: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = of_container(container, which)
        if container.get("restartPolicy") == "Always":
            add(total, own)
            add(restartable, own)
            _raise_to(highest, restartable)
        else:
            add(own, restartable)
            _raise_to(highest, own)
    _raise_to(total, highest)
    for name, amount in of_container(spec, which).items():
        if name in _OF_PODS or name.startswith("hugepages-"):
            total[name] = amount
    if overhead and (which == "requests" or total):
        extra = parsed(spec.get("overhead"))
        add(total, extra if which == "requests" else {k: v for k, v in extra.items() if k in total})
    return total


def of_container(container: Mapping[str, Any], which: Which) -> Amounts:
    return parsed((container.get("resources") or {}).get(which))


def parsed(amounts: Mapping[str, Any] | None) -> Amounts:
    """Those that can be read: what cannot is the validation's to refuse."""
    found: Amounts = {}
    for name, text in (amounts or {}).items():
        if quantities.is_quantity(str(text)):
            found[name] = quantities.parse(str(text))
    return found


def add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    for name, amount in more.items():
        total[name] = total[name] + amount if name in total else amount


def _raise_to(total: Amounts, least: Mapping[str, Quantity]) -> None:
    for name, amount in least.items():
        if name not in total or amount.compare(total[name]) > 0:
            total[name] = amount
