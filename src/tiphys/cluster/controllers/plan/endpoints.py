"""Where a Service leads: its Endpoints and EndpointSlices, from the pods that it selects.

Sources: pkg/controller/endpoint, staging's endpointslice reconciler. Slices hold at most 100 endpoints; what is in one
stays there while it is valid, so that a change of one pod changes one slice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tiphys.cluster.controllers.plan import pods as podfacts
from tiphys.cluster.controllers.plan.owners import controller_reference
from tiphys.machinery.actions import Action, Create, Delete, Patch, PatchType
from tiphys.machinery.equality import same
from tiphys.machinery.hashes import endpoint_port_hash
from tiphys.machinery.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES, key_of

Object = Mapping[str, Any]

SLICE_MAX: Final = 100
ENDPOINTS_MAX: Final = 1000
MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
MANAGER: Final = "endpointslice-controller.k8s.io"
SERVICE_NAME: Final = "kubernetes.io/service-name"
HEADLESS: Final = "service.kubernetes.io/headless"
TRIGGERED: Final = "endpoints.kubernetes.io/last-change-trigger-time"
_ENDPOINTS_MANAGER: Final = ("endpoints.kubernetes.io/managed-by", "endpoint-controller")
_OVER_CAPACITY: Final = "endpoints.kubernetes.io/over-capacity"
_OURS: Final = frozenset((MANAGED_BY, SERVICE_NAME, HEADLESS, TRIGGERED, _OVER_CAPACITY, _ENDPOINTS_MANAGER[0]))
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True)
class Observed:
    """``pods`` are all that the Service selects; ``zones`` maps nodes to their zone; ``changed_at`` is the time of the
    change that is being answered, "" where there was none."""

    service: Object
    pods: tuple[Object, ...]
    zones: Mapping[str, str]
    changed_at: str = ""
    endpoints: Object | None = None
    slices: tuple[Object, ...] = ()


def is_reachable(pod: Object, leaving: bool) -> bool:
    """Whether a pod can be an endpoint; one that is being deleted only where ``leaving`` ones are wanted."""
    if podfacts.is_terminated(pod) or not (pod.get("status") or {}).get("podIP"):
        return False
    return leaving or not pod["metadata"].get("deletionTimestamp")


# Endpoints


def plan_endpoints(seen: Observed) -> list[Sequence[Action]]:
    service, meta = seen.service, seen.service["metadata"]
    subsets, over = _subsets(service, seen.pods)
    labels = {**(meta.get("labels") or {}), _ENDPOINTS_MANAGER[0]: _ENDPOINTS_MANAGER[1]}
    labels |= {HEADLESS: ""} if _is_headless(service) else {}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in (*_OURS, LAST_APPLIED)}
    annotations |= {TRIGGERED: seen.changed_at} if seen.changed_at else {}
    annotations |= {_OVER_CAPACITY: "truncated"} if over else {}
    held = seen.endpoints
    if held is None:
        made: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": ENDPOINTS.kind,
            "metadata": _meta(meta["name"], meta["namespace"], labels, annotations),
        }
        return [[Create(ENDPOINTS, made | ({"subsets": subsets} if subsets else {}), why="a Service selects pods")]]
    quiet = {k: v for k, v in (held["metadata"].get("annotations") or {}).items() if k != TRIGGERED}
    wanted = {k: v for k, v in annotations.items() if k != TRIGGERED}
    if (
        same(held.get("subsets") or [], subsets)
        and (held["metadata"].get("labels") or {}) == labels
        and quiet == wanted
    ):
        return []
    return [[Patch(ENDPOINTS, key_of(held), _replacing(held, labels, annotations, {"subsets": subsets or None}))]]


def _meta(name: str, namespace: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return meta | ({"annotations": dict(annotations)} if annotations else {})


def _replacing(
    held: Object, labels: Mapping[str, str], annotations: Mapping[str, str], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """A merge patch that makes labels and annotations exactly these."""
    meta = held["metadata"]

    def exactly(field: str, wanted: Mapping[str, str]) -> dict[str, Any]:
        return {**dict.fromkeys(meta.get(field) or {}), **wanted}

    changed = {"labels": exactly("labels", labels), "annotations": exactly("annotations", annotations)}
    return {"metadata": {"uid": meta["uid"], **changed}, **fields}


def _subsets(service: Object, pods: Iterable[Object]) -> tuple[list[dict[str, Any]], bool]:
    """Addresses that offer the same ports are one subset."""
    publishes = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: dict[str, dict[str, Any]] = {}
    reachable = [pod for pod in pods if is_reachable(pod, publishes)]
    for pod in sorted(reachable, key=lambda each: (_ip_order(each["status"]["podIP"]), each["metadata"]["uid"])):
        ports = [{k: v for k, v in port.items() if k != "order"} for port in _ports(service, pod)]
        if service["spec"].get("ports") and not ports:
            continue
        key = json.dumps(ports, sort_keys=True)
        group = groups.setdefault(key, {"addresses": [], "notReadyAddresses": [], "ports": ports})
        ready = publishes or podfacts.is_ready(pod)
        group["addresses" if ready else "notReadyAddresses"].append(_address(service, pod))
    total = sum(len(group["addresses"]) + len(group["notReadyAddresses"]) for group in groups.values())
    for group in groups.values():
        group["addresses"] = group["addresses"][:ENDPOINTS_MAX]
        group["notReadyAddresses"] = group["notReadyAddresses"][: ENDPOINTS_MAX - len(group["addresses"])]
    found = [{k: v for k, v in group.items() if v} for _, group in sorted(groups.items())]
    return found, total > ENDPOINTS_MAX


def _address(service: Object, pod: Object) -> dict[str, Any]:
    found: dict[str, Any] = {"ip": pod["status"]["podIP"]}
    hostname = _hostname(service, pod)
    if hostname:
        found["hostname"] = hostname
    return found | {"nodeName": pod["spec"].get("nodeName", ""), "targetRef": _target(pod)}


def _target(pod: Object) -> dict[str, Any]:
    meta = pod["metadata"]
    return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}


def _hostname(service: Object, pod: Object) -> str:
    spec = pod["spec"]
    mine = spec.get("subdomain") == service["metadata"]["name"]
    return str(spec.get("hostname") or "") if mine else ""


def _ip_order(ip: str) -> tuple[int, ...]:
    return tuple(int(part) for part in ip.split(".")) if ip.count(".") == 3 else (0,)


def _ports(service: Object, pod: Object) -> list[dict[str, Any]]:
    """The ports of the Service as this pod offers them; one that it does not have is left out."""
    found = []
    for port in service["spec"].get("ports") or ():
        number = _port_number(port, pod)
        if number is None:
            continue
        one: dict[str, Any] = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol", "TCP")}
        if port.get("appProtocol"):
            one["appProtocol"] = port["appProtocol"]
        found.append({key: value for key, value in one.items() if value != ""})
    return found


def _port_number(port: Object, pod: Object) -> int | None:
    target = port.get("targetPort", port.get("port"))
    if not isinstance(target, str):
        return int(target or port["port"])
    sidecars = [c for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"]
    for container in (*pod["spec"]["containers"], *sidecars):
        for offered in container.get("ports") or ():
            same_protocol = offered.get("protocol", "TCP") == port.get("protocol", "TCP")
            if offered.get("name") == target and same_protocol:
                return int(offered["containerPort"])
    return None


# EndpointSlices


def plan_slices(seen: Observed) -> list[Sequence[Action]]:
    """Groups of ports become slices; each existing slice keeps what is still right in it."""
    groups: dict[str, tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]] = {}
    for pod in seen.pods:
        if is_reachable(pod, leaving=True):
            ports = _in_order({"name": "", **port} for port in _ports(seen.service, pod))
            key = json.dumps(ports, sort_keys=True)
            groups.setdefault(key, (ports, {}))[1][pod["metadata"]["uid"]] = _endpoint(seen, pod)
    if not groups:
        groups["[]"] = ([], {})
    held = sorted(
        seen.slices, key=lambda each: (each["metadata"].get("creationTimestamp", ""), each["metadata"]["name"])
    )
    actions: list[Action] = []
    unused = [each for each in held if _port_key(each) not in groups]
    for key, (ports, endpoints) in sorted(groups.items()):
        mine = [each for each in held if _port_key(each) == key]
        # A slice whose ports nobody has any more is taken over before a new one is made.
        if not mine and unused:
            mine = [unused.pop(0)]
        actions += _fill(seen, ports, endpoints, mine)
    actions += [
        Delete(ENDPOINT_SLICES, key_of(each), each["metadata"]["uid"], why="nothing is in it") for each in unused
    ]
    return [actions]


def _in_order(ports: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    def key(port: Mapping[str, Any]) -> int:
        number = port.get("port") or 0
        return endpoint_port_hash(port["name"], port.get("protocol", "TCP"), number, port.get("appProtocol"))

    return sorted(ports, key=key)


def _port_key(piece: Object) -> str:
    held = piece.get("ports") or ()
    ports = _in_order({"name": "", **{k: v for k, v in port.items() if v is not None}} for port in held)
    return json.dumps(ports, sort_keys=True)


def _fill(
    seen: Observed, ports: list[dict[str, Any]], endpoints: dict[str, dict[str, Any]], held: Sequence[Object]
) -> list[Action]:
    left = dict(endpoints)
    kept: list[list[dict[str, Any]]] = []
    for piece in held:
        uids = [(each.get("targetRef") or {}).get("uid", "") for each in piece.get("endpoints") or ()]
        kept.append([left.pop(uid) for uid in uids if uid in left])
    for content in kept:
        while left and len(content) < SLICE_MAX:
            content.append(left.pop(next(iter(left))))
    actions: list[Action] = []
    for number, (piece, content) in enumerate(zip(held, kept, strict=True)):
        if content or number == 0:
            actions += _changed(seen, piece, ports, content)
        else:
            actions.append(Delete(ENDPOINT_SLICES, key_of(piece), piece["metadata"]["uid"], why="nothing is in it"))
    rest = list(left.values())
    chunks = [rest[at : at + SLICE_MAX] for at in range(0, len(rest), SLICE_MAX)]
    for content in chunks or ([] if held else [[]]):
        actions.append(Create(ENDPOINT_SLICES, _slice(seen, ports, content), why="a Service selects pods"))
    return actions


def _changed(seen: Observed, piece: Object, ports: list[dict[str, Any]], content: list[dict[str, Any]]) -> list[Action]:
    wanted = _slice(seen, ports, content)
    meta, held = wanted["metadata"], piece["metadata"]
    fields: dict[str, Any] = {"endpoints": content or None, "ports": ports or None}
    equal = same(piece.get("endpoints") or None, fields["endpoints"]) and same(
        piece.get("ports") or None, fields["ports"]
    )
    if equal and (held.get("labels") or {}) == meta["labels"]:
        return []
    # Null in a merge patch takes a field away; endpoints and ports are shown as null when there are none.
    fields |= {"metadata/labels": meta["labels"], "metadata/annotations": meta.get("annotations") or {}}
    steps = [{"op": "add", "path": f"/{path}", "value": value} for path, value in fields.items()]
    same_object = {"op": "test", "path": "/metadata/uid", "value": held["uid"]}
    return [Patch(ENDPOINT_SLICES, key_of(piece), [same_object, *steps], PatchType.JSON, why="its pods changed")]


def _slice(seen: Observed, ports: list[dict[str, Any]], content: list[dict[str, Any]]) -> dict[str, Any]:
    service = seen.service
    meta = service["metadata"]
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k not in _OURS}
    labels |= {MANAGED_BY: MANAGER, SERVICE_NAME: meta["name"]}
    labels |= {HEADLESS: ""} if _is_headless(service) else {}
    made: dict[str, Any] = {
        "generateName": f"{meta['name']}-",
        "namespace": meta["namespace"],
        "labels": labels,
        "ownerReferences": [controller_reference(service, SERVICES)],
    }
    if seen.changed_at:
        made["annotations"] = {TRIGGERED: seen.changed_at}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": made,
        "addressType": "IPv4",
        "endpoints": content or None,
        "ports": ports or None,
    }


def _endpoint(seen: Observed, pod: Object) -> dict[str, Any]:
    ready = podfacts.is_ready(pod)
    leaving = bool(pod["metadata"].get("deletionTimestamp"))
    publishes = bool(seen.service["spec"].get("publishNotReadyAddresses"))
    found: dict[str, Any] = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": publishes or (ready and not leaving), "serving": ready, "terminating": leaving},
        "targetRef": _target(pod),
    }
    hostname = _hostname(seen.service, pod)
    if hostname:
        found["hostname"] = hostname
    node = pod["spec"].get("nodeName")
    zone = seen.zones.get(node or "", "")
    found |= {"nodeName": node} if node else {}
    found |= {"zone": zone} if zone else {}
    return found | _hints(seen.service, node, zone)


def _hints(service: Object, node: str | None, zone: str) -> dict[str, Any]:
    """Who should use an endpoint first, where the Service asks for near ones."""
    near = service["spec"].get("trafficDistribution")
    if near in ("PreferClose", "PreferSameZone") and zone:
        return {"hints": {"forZones": [{"name": zone}]}}
    if near == "PreferSameNode" and node:
        hints: dict[str, Any] = {"forNodes": [{"name": node}]}
        return {"hints": ({"forZones": [{"name": zone}]} if zone else {}) | hints}
    return {}


def _is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")
