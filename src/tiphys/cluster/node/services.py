"""The environment variables that tell a container of the services around it. Pure.

Those of the pod's own namespace (unless ``enableServiceLinks`` is false) and always the API's own
(kubernetes pkg/kubelet/envvars: FromServices). Services without an address (headless, ExternalName) give none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Object = Mapping[str, Any]

MASTER_NAMESPACE, MASTER_SERVICES = "default", frozenset({"kubernetes"})


def variables(pod: Object, services: Iterable[Object]) -> dict[str, str]:
    """The variables by name. ``services`` are those of the pod's namespace and of ``default``."""
    namespace = pod["metadata"].get("namespace", "")
    links = pod["spec"].get("enableServiceLinks")
    chosen: dict[str, Object] = {}
    for service in services:
        meta = service["metadata"]
        own = meta.get("namespace") == namespace
        master = meta.get("namespace") == MASTER_NAMESPACE and meta["name"] in MASTER_SERVICES
        if (own and (links is None or links)) or (master and (own or meta["name"] not in chosen)):
            chosen[meta["name"]] = service
    found: dict[str, str] = {}
    for _, service in sorted(chosen.items()):
        found.update(_of_service(service))
    return found


def _of_service(service: Object) -> dict[str, str]:
    spec = service.get("spec") or {}
    address, ports = spec.get("clusterIP"), spec.get("ports") or ()
    if not address or address == "None" or not ports or spec.get("type") == "ExternalName":
        return {}
    name = _variable_name(service["metadata"]["name"])
    host = f"[{address}]" if ":" in address else address
    found = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
    for port in ports:
        if port.get("name"):
            found[f"{name}_SERVICE_PORT_{_variable_name(port['name'])}"] = str(port["port"])
    for number, port in enumerate(ports):
        protocol = str(port.get("protocol") or "TCP")
        url = f"{protocol.lower()}://{host}:{port['port']}"
        if number == 0:
            found[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{port['port']}_{protocol.upper()}"
        found[prefix] = url
        found[f"{prefix}_PROTO"] = protocol.lower()
        found[f"{prefix}_PORT"] = str(port["port"])
        found[f"{prefix}_ADDR"] = address
    return found


def _variable_name(text: str) -> str:
    return text.upper().replace("-", "_")
