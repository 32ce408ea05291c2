"""The order of endpoint subsets: by the hash of what Go prints of them, as the endpoints controller writes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

_REFERENCE = ("Kind", "Namespace", "Name", "UID", "APIVersion", "ResourceVersion", "FieldPath")
_JSON_NAMES = {"UID": "uid", "APIVersion": "apiVersion", "ResourceVersion": "resourceVersion", "FieldPath": "fieldPath"}


def ordered_subsets(subsets: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The subsets with their addresses and ports in order; ports without a protocol are TCP."""
    return sorted(map(_ordered, subsets), key=lambda subset: _hash("v1.EndpointSubset", _subset(subset)))


def _ordered(subset: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(subset)
    for name in ("addresses", "notReadyAddresses"):
        if isinstance(subset.get(name), list):
            result[name] = sorted(subset[name], key=_by_ip_and_uid)
    if isinstance(subset.get("ports"), list):
        ports = [{**port, "protocol": port.get("protocol") or "TCP"} for port in subset["ports"]]
        result["ports"] = sorted(ports, key=lambda port: _hash("v1.EndpointPort", _port(port)))
    return result


def _by_ip_and_uid(address: Mapping[str, Any]) -> tuple[Any, ...]:
    target = address.get("targetRef")
    return str(address.get("ip", "")), target is not None, str((target or {}).get("uid", ""))


def _hash(kind: str, printed: str) -> bytes:
    return hashlib.md5(f"({kind}){printed}".encode(), usedforsecurity=False).digest()


def _subset(subset: Mapping[str, Any]) -> str:
    addresses, not_ready = (_list(subset.get(name), _address) for name in ("addresses", "notReadyAddresses"))
    ports = _list(subset.get("ports"), _port)
    return (
        f"{{Addresses:([]v1.EndpointAddress){addresses} NotReadyAddresses:([]v1.EndpointAddress){not_ready} "
        f"Ports:([]v1.EndpointPort){ports}}}"
    )


def _list(items: list[Any] | None, show: Any) -> str:
    return "<nil>" if items is None else f"[{' '.join(map(show, items))}]"


def _address(address: Mapping[str, Any]) -> str:
    target = address.get("targetRef")
    return (
        f"{{IP:(string){address.get('ip', '')} Hostname:(string){address.get('hostname', '')} "
        f"NodeName:(*string){_pointer(address.get('nodeName'))} "
        f"TargetRef:(*v1.ObjectReference){'<nil>' if target is None else _reference(target)}}}"
    )


def _reference(target: Mapping[str, Any]) -> str:
    types = {"UID": "types.UID"}
    fields = (
        f"{name}:({types.get(name, 'string')}){target.get(_JSON_NAMES.get(name, name.lower()), '')}"
        for name in _REFERENCE
    )
    return f"{{{' '.join(fields)}}}"


def _port(port: Mapping[str, Any]) -> str:
    return (
        f"{{Name:(string){port.get('name', '')} Port:(int32){port.get('port', 0)} "
        f"Protocol:(v1.Protocol){port.get('protocol', '')} AppProtocol:(*string){_pointer(port.get('appProtocol'))}}}"
    )


def _pointer(value: Any) -> str:
    return "<nil>" if value is None else str(value)
