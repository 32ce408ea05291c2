"""Endpoints that somebody wrote by hand, for a Service that selects nothing, as EndpointSlices: only these are routed.

A slice for each set of ports and kind of address, of at most 1,000 endpoints. Source:
kube-controller-manager's endpointslicemirroring.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from tiphys.cluster.controllers.plan.endpoints import LAST_APPLIED, MANAGED_BY, SERVICE_NAME, TRIGGERED
from tiphys.cluster.controllers.plan.owners import controller_reference
from tiphys.machinery.actions import Action, Create, Delete, Patch, PatchType
from tiphys.machinery.equality import same
from tiphys.machinery.resources import ENDPOINT_SLICES, ENDPOINTS, key_of

Object = Mapping[str, Any]

MIRRORER: Final = "endpointslicemirroring-controller.k8s.io"
MIRRORED_MAX: Final = 1000
_SKIP: Final = "endpointslice.kubernetes.io/skip-mirror"
_LEADER: Final = "control-plane.alpha.kubernetes.io/leader"
_NOT_COPIED: Final = (TRIGGERED, LAST_APPLIED)


@dataclass(frozen=True)
class Observed:
    """``slices`` are those that were mirrored before."""

    endpoints: Object | None
    service: Object | None
    slices: tuple[Object, ...]


@dataclass(frozen=True)
class Group:
    """What one slice holds; ``endpoints`` by address."""

    kind: str
    ports: tuple[Object, ...]
    endpoints: Mapping[str, Object]


def is_mirrored(endpoints: Object) -> bool:
    """Whether Endpoints are for mirroring, as far as they themselves say."""
    meta = endpoints["metadata"]
    skips = (meta.get("labels") or {}).get(_SKIP) == "true"
    return not skips and _LEADER not in (meta.get("annotations") or {})


def skipped(endpoints: Object) -> int:
    """How many addresses are too many."""
    return sum(max(0, len(_addresses(subset)) - MIRRORED_MAX) for subset in endpoints.get("subsets") or ())


def _addresses(subset: Object) -> list[tuple[Object, bool]]:
    """With whether they are ready; those that are come first."""
    ready = [(address, True) for address in subset.get("addresses") or ()]
    return ready + [(address, False) for address in subset.get("notReadyAddresses") or ()]


def plan_mirror(seen: Observed) -> list[Sequence[Action]]:
    """What makes the slices those of the Endpoints; without a Service that selects nothing there are none."""
    endpoints, service = seen.endpoints, seen.service
    if endpoints is None or service is None or service["spec"].get("selector") or not is_mirrored(endpoints):
        return [[_removed(each, "nobody wants them mirrored") for each in seen.slices]]
    groups = {_key(group.kind, group.ports): group for group in _groups(endpoints)}
    held: dict[str, Object] = {}
    unused: list[Object] = []
    for each in sorted(seen.slices, key=lambda each: str(each["metadata"]["name"])):
        key = _key(each["addressType"], each.get("ports") or ())
        if key in groups and key not in held:
            held[key] = each
        else:
            unused.append(each)
    actions: list[Action] = []
    for key, group in groups.items():
        wanted = _slice(endpoints, group)
        present = held.get(key) or _taken_over(unused, group.kind)
        actions += _changed(present, wanted) if present is not None else [Create(ENDPOINT_SLICES, wanted)]
    return [actions, [_removed(each, "nothing is in it") for each in unused]]


def _groups(endpoints: Object) -> Iterable[Group]:
    found: dict[str, tuple[str, tuple[Object, ...], dict[str, Object]]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = tuple({"name": "", "protocol": "TCP", **port} for port in subset.get("ports") or ())
        for address, is_ready in _addresses(subset)[:MIRRORED_MAX]:
            kind = f"IPv{ip_address(address['ip']).version}"
            group = found.setdefault(_key(kind, ports), (kind, ports, {}))
            group[2].setdefault(address["ip"], _endpoint(address, is_ready))
    return (Group(kind, ports, listed) for kind, ports, listed in found.values())


def _key(kind: str, ports: Iterable[Object]) -> str:
    plain = [{"name": "", "protocol": "TCP", **{k: v for k, v in port.items() if v is not None}} for port in ports]
    return json.dumps([kind, sorted(plain, key=lambda port: json.dumps(port, sort_keys=True))], sort_keys=True)


def _endpoint(address: Object, is_ready: bool) -> Object:
    made: dict[str, Any] = {"addresses": [address["ip"]], "conditions": {"ready": is_ready}}
    return made | {field: address[field] for field in ("hostname", "nodeName", "targetRef") if address.get(field)}


def _slice(endpoints: Object, group: Group) -> dict[str, Any]:
    meta = endpoints["metadata"]
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in _NOT_COPIED}
    made: dict[str, Any] = {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "labels": {**(meta.get("labels") or {}), SERVICE_NAME: meta["name"], MANAGED_BY: MIRRORER},
        "ownerReferences": [controller_reference(endpoints, ENDPOINTS)],
    }
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": made | ({"annotations": annotations} if annotations else {}),
        "addressType": group.kind,
        "endpoints": list(group.endpoints.values()),
        "ports": list(group.ports),
    }


def _taken_over(unused: list[Object], kind: str) -> Object | None:
    """A slice that is not wanted any more is filled anew before another is made; its kind of address stays."""
    found = next((each for each in unused if each["addressType"] == kind), None)
    if found is not None:
        unused.remove(found)
    return found


def _changed(held: Object, wanted: Object) -> list[Action]:
    meta, new = held["metadata"], wanted["metadata"]
    fields = {
        "endpoints": wanted["endpoints"],
        "ports": wanted["ports"],
        "metadata/labels": new["labels"],
        "metadata/annotations": new.get("annotations") or {},
    }
    now = {
        "endpoints": held.get("endpoints") or [],
        "ports": held.get("ports") or [],
        "metadata/labels": meta.get("labels") or {},
        "metadata/annotations": meta.get("annotations") or {},
    }
    if all(same(now[field], fields[field]) for field in fields):
        return []
    steps = [{"op": "add", "path": f"/{path}", "value": value} for path, value in fields.items()]
    same_object = {"op": "test", "path": "/metadata/uid", "value": meta["uid"]}
    return [Patch(ENDPOINT_SLICES, key_of(held), [same_object, *steps], PatchType.JSON, why="its Endpoints changed")]


def _removed(held: Object, why: str) -> Action:
    return Delete(ENDPOINT_SLICES, key_of(held), held["metadata"]["uid"], why=why)
