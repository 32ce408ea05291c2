"""What a pod asks of a node, in whole numbers: cpu in thousandths, everything else in units.

Source: pkg/api/v1/resource PodRequests: containers add up, an init container counts alone beside the sidecars before
it, overhead is added; resources of the pod as a whole come before those of its containers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from tiphys.machinery.quantities import QuantityError, parse

Object = Mapping[str, Any]
Amounts = dict[str, int]


@lru_cache(maxsize=4096)
def amount(resource: str, text: str) -> int:
    """A quantity as this module counts it; one that cannot be read counts as 0."""
    try:
        return parse(text).value(-3 if resource == "cpu" else 0)
    except QuantityError:
        return 0


def amounts(given: Mapping[str, Any] | None) -> Amounts:
    return {name: amount(name, str(value)) for name, value in (given or {}).items()}


def pod_requests(pod: Object) -> Amounts:
    """What the scheduler reserves for a pod."""
    return pod_amounts(pod, "requests")


def pod_amounts(pod: Object, side: str) -> Amounts:
    """``requests`` or ``limits`` of a whole pod."""
    spec = pod["spec"]
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _of(container, side))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        mine = _of(container, side)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, mine)
            _raise(peak, sidecars)
        else:
            _raise(peak, _sum((mine, sidecars)))
    _add(total, sidecars)
    _raise(total, peak)
    total.update(amounts((spec.get("resources") or {}).get(side)))
    if side == "requests" or total:
        _add(total, amounts(spec.get("overhead")))
    return total


def _of(container: Object, side: str) -> Amounts:
    return amounts((container.get("resources") or {}).get(side))


def _sum(parts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        _add(total, part)
    return total


def _add(total: Amounts, more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise(total: Amounts, least: Amounts) -> None:
    for name, value in least.items():
        total[name] = max(total.get(name, 0), value)
