"""Resources of a pod as a whole, and how they go with those of its containers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value
from tiphys.cluster.apiserver.rules.amounts import is_huge_page, pod_resource_name, requirement_complaints
from tiphys.cluster.apiserver.rules.values import Fields, quantity
from tiphys.machinery.quantities import Quantity

Amounts = dict[str, Quantity]


def pod_amount_complaints(spec: Fields, at: str, claims: Collection[str]) -> Iterator[Complaint]:
    resources = spec.get("resources")
    if resources is None:
        return
    if (spec.get("os") or {}).get("name") == "windows":
        yield forbidden_value(at, "may not be set for a windows pod")
        return
    if resources.get("claims") is not None:
        yield forbidden_value(f"{at}.claims", "claims may not be set for Resources at pod-level")
    yield from requirement_complaints(resources, at, claims, pod_resource_name)
    yield from _consistency(spec, resources, at)


def _consistency(spec: Fields, resources: Fields, at: str) -> Iterator[Complaint]:
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    for name, total in sorted(aggregated(spec, "requests").items()):
        if name in requests and total.compare(quantity(requests[name])) > 0:
            text = f"must be greater than or equal to aggregate container requests of {total}"
            yield invalid_value(f"{at}.requests[{name}]", str(quantity(requests[name])), text)
    for name, total in sorted(aggregated(spec, "limits").items()):
        if is_huge_page(name) and name in limits and total.compare(quantity(limits[name])) > 0:
            text = f"must be greater than or equal to aggregate container limits of {total}"
            yield invalid_value(f"{at}.limits[{name}]", str(quantity(limits[name])), text)
    for number, container in enumerate(spec.get("containers") or ()):
        for name, value in sorted(((container.get("resources") or {}).get("limits") or {}).items()):
            if name in limits and quantity(value).compare(quantity(limits[name])) > 0:
                here = f"{at}.containers[{number}][{name}].limits"
                text = f"must be less than or equal to pod limits of {quantity(limits[name])}"
                yield invalid_value(here, str(quantity(value)), text)


def aggregated(spec: Fields, side: str) -> Amounts:
    """What a pod's containers need together: all that run at once, or the greediest init container with the sidecars
    that were started before it."""
    total: Amounts = {}
    for container in spec.get("containers") or ():
        _add(total, _amounts(container, side))
    sidecars: Amounts = {}
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        own = _amounts(container, side)
        if container.get("restartPolicy") == "Always":
            _add(total, own)
            _add(sidecars, own)
            own = dict(sidecars)
        else:
            _add(own, sidecars)
        _raise(most, own)
    _raise(total, most)
    return total


def _amounts(container: Fields, side: str) -> Amounts:
    held: Mapping[str, Any] = (container.get("resources") or {}).get(side) or {}
    return {name: quantity(value) for name, value in held.items()}


def _add(total: Amounts, more: Mapping[str, Quantity]) -> None:
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


def _raise(total: Amounts, other: Mapping[str, Quantity]) -> None:
    for name, value in other.items():
        if name not in total or value.compare(total[name]) > 0:
            total[name] = value
