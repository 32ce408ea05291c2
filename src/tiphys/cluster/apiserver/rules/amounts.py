"""Resources and their amounts: which names there are, and what containers, pods and quotas may say of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.rules.values import AT_LEAST_0, Fields, duplicate, in_form, missing, quantity
from tiphys.lang import name_rules
from tiphys.machinery.quantities import Quantity, is_quantity, parse

_OBJECTS: Final = (
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)
_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")
_SIDES: Final = tuple(f"{side}.{name}" for side in ("requests", "limits") for name in _COMPUTE)
_QUOTA: Final = frozenset((*_COMPUTE, *_SIDES, "requests.storage", *_OBJECTS))
_STANDARD: Final = _QUOTA | {"storage"}
_HUGE: Final = "hugepages-"
_QUOTA_HUGE: Final = (_HUGE, f"requests.{_HUGE}")

NameRule = Callable[[str, str], Iterator[Complaint]]


def is_huge_page(name: str) -> bool:
    return name.startswith(_HUGE)


def is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def is_extended(name: str) -> bool:
    return (
        not is_native(name) and not name.startswith("requests.") and not name_rules.qualified_name(f"requests.{name}")
    )


def is_quota_name(name: str) -> bool:
    return name in _QUOTA or name.startswith(_QUOTA_HUGE)


def may_overcommit(name: str) -> bool:
    return is_native(name) and not is_huge_page(name)


def resource_name(name: str, at: str) -> Iterator[Complaint]:
    problems = name_rules.qualified_name(name)
    yield from in_form(name, at, lambda _: problems)
    if not problems and "/" not in name and name not in _STANDARD and not name.startswith(_QUOTA_HUGE):
        yield invalid_value(at, name, "must be a standard resource type or fully qualified")


def container_resource_name(name: str, at: str) -> Iterator[Complaint]:
    yield from resource_name(name, at)
    if "/" not in name:
        if name not in _COMPUTE and not is_huge_page(name):
            yield invalid_value(at, name, "must be a standard resource for containers")
    elif not is_native(name) and not is_extended(name):
        yield invalid_value(at, name, "doesn't follow extended resource name standard")


def pod_resource_name(name: str, at: str) -> Iterator[Complaint]:
    found = list(resource_name(name, at))
    yield from found
    if not found and name not in ("cpu", "memory") and not is_huge_page(name):
        yield unsupported(at, name, ("cpu", "memory"))


def quota_resource_name(name: str, at: str) -> Iterator[Complaint]:
    yield from resource_name(name, at)
    if "/" not in name and not is_quota_name(name):
        yield invalid_value(at, name, "must be a standard resource for quota")


def amount(name: str, value: Any, at: str) -> Iterator[Complaint]:
    """The quantity of a resource: not negative, whole where the resource is counted."""
    held = quantity(value)
    if held.sign < 0:
        yield invalid_value(at, str(held), AT_LEAST_0)
    if (name in _OBJECTS or is_extended(name)) and held.value(-3) % 1000:
        yield invalid_value(at, str(held), "must be an integer")


# Requirements of containers and pods


def requirement_complaints(
    resources: Fields, at: str, claims: Collection[str], name_rule: NameRule = container_resource_name
) -> Iterator[Complaint]:
    """``resources``; ``claims`` are the names of the pod's resource claims."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for name, value in sorted(limits.items()):
        here = f"{at}.limits[{name}]"
        yield from name_rule(name, here)
        yield from amount(name, value, here)
        yield from _huge_page_complaints(name, quantity(value), here)
    for name, value in sorted(requests.items()):
        here = f"{at}.requests[{name}]"
        yield from name_rule(name, here)
        yield from amount(name, value, here)
        yield from _against_limit(name, quantity(value), limits, at)
        yield from _huge_page_complaints(name, quantity(value), here)
    names = limits.keys() | requests.keys()
    if any(map(is_huge_page, names)) and not names & {"cpu", "memory"}:
        yield forbidden_value(at, "HugePages require cpu or memory")
    yield from _claim_complaints(resources.get("claims") or [], f"{at}.claims", claims)


def _against_limit(name: str, request: Quantity, limits: Mapping[str, Any], at: str) -> Iterator[Complaint]:
    if name not in limits:
        if not may_overcommit(name):
            yield required(f"{at}.limits", "Limit must be set for non overcommitable resources")
        return
    limit = quantity(limits[name])
    if request.compare(limit) and not may_overcommit(name):
        yield invalid_value(f"{at}.requests", str(request), f"must be equal to {name} limit of {limit}")
    elif request.compare(limit) > 0:
        yield invalid_value(f"{at}.requests", str(request), f"must be less than or equal to {name} limit of {limit}")


def _huge_page_complaints(name: str, value: Quantity, at: str) -> Iterator[Complaint]:
    if is_huge_page(name) and not _is_divisible(value, name.removeprefix(_HUGE)):
        yield invalid_value(at, str(value), f"{value} is not positive integer multiple of {name}")


def _is_divisible(value: Quantity, page: str) -> bool:
    if not is_quantity(page):
        return False
    size = parse(page)
    return size.sign > 0 and not size.value(-3) % 1000 and not value.value() % size.value()


def _claim_complaints(claims: Sequence[Fields], at: str, known: Collection[str]) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, claim in enumerate(claims):
        here, name, request = f"{at}[{number}]", claim.get("name") or "", claim.get("request") or ""
        if not name:
            yield required(here)
            continue
        if name in seen:
            yield duplicate(here, name)
        else:
            key = f"{name}/{request}" if request else name
            if request:
                yield from in_form(request, f"{here}.request", name_rules.dns1123_label)
            if key in seen:
                yield duplicate(here, key)
            elif not request:
                yield from (duplicate(here, name) for other in sorted(seen) if other.startswith(f"{name}/"))
            seen.add(key)
        if name not in known:
            rest = f": {', '.join(sorted(known))}" if known else " which is empty"
            yield missing(here, name, f"must be one of the names in pod.spec.resourceClaims{rest}")
