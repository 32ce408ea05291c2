"""Which pod's address a request to a Service goes to, for those that make one from here: the proxy, webhooks.

Endpoint slices say it; without a controller that makes them, the ready pods that the Service selects.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.store import Store
from tiphys.machinery.errors import ServiceUnavailable
from tiphys.machinery.selectors import from_structured

_SERVICE_LABEL: Final = "kubernetes.io/service-name"


def service_address(store: Store, namespace: str, name: str, port: str | int = "") -> tuple[str, int]:
    """Host and port of one of its backends; ``port`` is its number or name. Raises ServiceUnavailable."""
    record = store.latest("services", f"{namespace}/{name}")
    if record is None:
        raise ServiceUnavailable(f'service "{name}" not found')
    service = store.view(record)
    ports = service["spec"].get("ports") or []
    if port:
        chosen = next((p for p in ports if str(port) in (p.get("name"), str(p.get("port")))), None)
    else:
        chosen = ports[0] if len(ports) == 1 else None
    if chosen is None:
        raise ServiceUnavailable(f'no service port "{port}" found for service "{name}"')
    places = list(_sliced(store, service, chosen)) or list(_selected(store, service, chosen))
    if not places:
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')
    return random.choice(places)


def _sliced(store: Store, service: Object, port: Object) -> Iterator[tuple[str, int]]:
    """Addresses that EndpointSlices have for a port of the Service."""
    meta = service["metadata"]
    for record in list(store.collection("endpointslices.discovery.k8s.io").records.values()):
        each = store.view(record)
        labels = each["metadata"].get("labels") or {}
        if each["metadata"].get("namespace") != meta["namespace"] or labels.get(_SERVICE_LABEL) != meta["name"]:
            continue
        numbers = [p["port"] for p in each.get("ports") or () if (p.get("name") or "") == (port.get("name") or "")]
        for endpoint in each.get("endpoints") or ():
            if numbers and (endpoint.get("conditions") or {}).get("ready") is not False:
                yield endpoint["addresses"][0], int(numbers[0])


def _selected(store: Store, service: Object, port: Object) -> Iterator[tuple[str, int]]:
    """Ready pods that the Service selects, for a cluster without a controller of slices."""
    labels = service["spec"].get("selector")
    if not labels:
        return
    selector = from_structured({"matchLabels": labels})
    target = port.get("targetPort", port["port"])
    for record in list(store.collection("pods").records.values()):
        pod = store.view(record)
        if pod["metadata"].get("namespace") != service["metadata"]["namespace"] or not _is_ready(pod):
            continue
        if selector.matches(pod["metadata"].get("labels") or {}):
            yield pod["status"]["podIP"], _number_of(pod, target)


def _number_of(pod: Object, target: Any) -> int:
    if isinstance(target, int):
        return target
    ports = (p for c in pod["spec"]["containers"] for p in c.get("ports") or ())
    return next((int(p["containerPort"]) for p in ports if p.get("name") == target), 0)


def _is_ready(pod: Object) -> bool:
    status = pod.get("status") or {}
    conditions = status.get("conditions") or ()
    return bool(status.get("podIP")) and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
