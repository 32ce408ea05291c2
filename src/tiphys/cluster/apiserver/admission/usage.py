"""What an object uses of a quota: pods by their requests, claims by their storage, Services by kind, the rest by count.

    count/PLURAL[.GROUP]        every object that is stored
    pods, requests.cpu …        pods that have not ended
    services.nodeports …        by what a Service asks for

From pkg/quota/v1/evaluator of Kubernetes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tiphys.cluster.apiserver.admission import amounts
from tiphys.cluster.apiserver.admission.amounts import Amounts
from tiphys.machinery import quantities
from tiphys.machinery.quantities import Quantity
from tiphys.machinery.times import parse_time

Object = Mapping[str, Any]
ONE, NONE = quantities.parse("1"), quantities.parse("0")
# Kinds that are counted under their plain name as well.
_BY_NAME: Final = frozenset(
    ("configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services")
)
_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")
_CLASS_SUFFIX: Final = ".storageclass.storage.k8s.io/"
_LEGACY_CLASS: Final = "volume.beta.kubernetes.io/storage-class"
_REQUIRED: Final = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))


def names_of(collection: str, hard: Iterable[str]) -> list[str]:
    """The resources of a quota that objects of this collection can use."""
    return [name for name in hard if _concerns(collection, name)]


def _concerns(collection: str, name: str) -> bool:
    if name == f"count/{collection}" or (name == collection and collection in _BY_NAME):
        return True
    if collection == "pods":
        return _is_of_pods(name)
    if collection == "services":
        return name in ("services.nodeports", "services.loadbalancers")
    if collection == "persistentvolumeclaims":
        return name == "requests.storage" or _CLASS_SUFFIX in name
    return False


def _is_of_pods(name: str) -> bool:
    if name in ("pods", *_COMPUTE) or name.startswith("hugepages-"):
        return True
    which, _, rest = name.partition(".")
    if which not in ("requests", "limits"):
        return False
    return rest in _COMPUTE or (
        which == "requests" and (rest.startswith("hugepages-") or "/" in rest) and _CLASS_SUFFIX not in rest
    )


def collections_of(hard: Iterable[str]) -> set[str]:
    """The collections whose objects a quota's resources count."""
    found: set[str] = set()
    for name in hard:
        if name.startswith("count/"):
            found.add(name.removeprefix("count/"))
        elif name in _BY_NAME:
            found.add(name)
        elif _CLASS_SUFFIX in name or name == "requests.storage":
            found.add("persistentvolumeclaims")
        elif name.startswith("services."):
            found.add("services")
        elif _is_of_pods(name):
            found.add("pods")
    return found


def of(collection: str, obj: Object, now: datetime) -> Amounts:
    """All that the object uses."""
    used: Amounts = {f"count/{collection}": ONE}
    if collection in _BY_NAME:
        used[collection] = ONE
    spec = obj.get("spec") or {}
    if collection == "pods" and is_counted(obj, now):
        used |= _of_pod(spec)
    elif collection == "services":
        used |= _of_service(spec)
    elif collection == "persistentvolumeclaims":
        used |= _of_claim(obj, spec)
    return used


def is_counted(pod: Object, now: datetime) -> bool:
    """Not one that has ended, nor one whose grace is over."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    meta = pod["metadata"]
    stamp, grace = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    return not (stamp and grace is not None and parse_time(stamp) + timedelta(seconds=int(grace)) < now)


def _of_pod(spec: Object) -> Amounts:
    requests, limits = amounts.of_pod(spec, "requests", overhead=True), amounts.of_pod(spec, "limits", overhead=True)
    return {"pods": ONE} | dict(_named(requests, limits))


def _named(requests: Amounts, limits: Amounts) -> Iterator[tuple[str, Quantity]]:
    for name, amount in requests.items():
        if name in _COMPUTE or name.startswith("hugepages-"):
            yield name, amount
        yield f"requests.{name}", amount
    for name, amount in limits.items():
        if name in _COMPUTE:
            yield f"limits.{name}", amount


def _of_service(spec: Object) -> Amounts:
    ports, kind = spec.get("ports") or (), spec.get("type")
    open_ports = len(ports) if kind in ("NodePort", "LoadBalancer") else 0
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        open_ports = sum(1 for port in ports if port.get("nodePort"))
    balancers = ONE if kind == "LoadBalancer" else NONE
    return {"services.nodeports": quantities.parse(str(open_ports)), "services.loadbalancers": balancers}


def _of_claim(claim: Object, spec: Object) -> Amounts:
    storage = amounts.of_container(spec, "requests").get("storage", NONE)
    used = {"requests.storage": storage}
    kind = (claim["metadata"].get("annotations") or {}).get(_LEGACY_CLASS) or spec.get("storageClassName")
    if kind:
        used[f"{kind}{_CLASS_SUFFIX}requests.storage"] = storage
        used[f"{kind}{_CLASS_SUFFIX}persistentvolumeclaims"] = ONE
    return used


def missing(pod: Object, wanted: Iterable[str]) -> str:
    """Which of the quota's compute resources which containers do not mention, "" for none."""
    spec = pod.get("spec") or {}
    if any((spec.get("resources") or {}).get(which) for which in ("requests", "limits")):
        return ""
    required = sorted(_REQUIRED & set(wanted))
    found: dict[str, set[str]] = {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        requests, limits = (amounts.of_container(container, which) for which in ("requests", "limits"))
        held = dict(_named(requests, limits))
        for name in required:
            if name not in held:
                found.setdefault(name, set()).add(container["name"])
    return "; ".join(f"{name} for: {','.join(sorted(names))}" for name, names in sorted(found.items()))


# Scopes


def in_scope(quota: Object, collection: str, obj: Object) -> bool:
    """Whether a quota's scopes take the object in; only pods have any."""
    spec = quota.get("spec") or {}
    selectors = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or ()]
    selectors += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if selectors and collection != "pods":
        return False
    return all(_fits(selector, obj.get("spec") or {}) for selector in selectors)


def _fits(selector: Mapping[str, Any], spec: Object) -> bool:
    match selector["scopeName"]:
        case "Terminating":
            return _ends_itself(spec)
        case "NotTerminating":
            return not _ends_itself(spec)
        case "BestEffort":
            return _is_best_effort(spec)
        case "NotBestEffort":
            return not _is_best_effort(spec)
        case "PriorityClass":
            return _has_value(selector, str(spec.get("priorityClassName") or ""))
        case "CrossNamespacePodAffinity":
            return _reaches_out(spec.get("affinity") or {})
    return False


def _ends_itself(spec: Object) -> bool:
    return spec.get("activeDeadlineSeconds") is not None


def _is_best_effort(spec: Object) -> bool:
    containers = (spec, *(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    held = [amounts.of_container(c, which) for c in containers for which in _WHICH]
    return not any(each.get(name, NONE).sign > 0 for each in held for name in ("cpu", "memory"))


_WHICH: Final[tuple[amounts.Which, amounts.Which]] = ("requests", "limits")


def _has_value(selector: Mapping[str, Any], value: str) -> bool:
    values = selector.get("values") or ()
    match selector.get("operator"):
        case "Exists":
            return bool(value)
        case "DoesNotExist":
            return not value
        case "In":
            return bool(value) and value in values
        case "NotIn":
            return value not in values
    return False


def _reaches_out(affinity: Mapping[str, Any]) -> bool:
    """Affinity that names namespaces, or selects them."""
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        hard = rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        soft = [each["podAffinityTerm"] for each in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ()]
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in (*hard, *soft)):
            return True
    return False
