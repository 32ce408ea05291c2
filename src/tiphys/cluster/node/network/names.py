"""The names of a cluster: services, their ports and back ends, pods (kubernetes/dns specification 1.1). Pure.

SERVICE.NAMESPACE.svc.ZONE                  the cluster address, or of a headless service every back end
HOSTNAME.SERVICE.NAMESPACE.svc.ZONE         one back end of a headless service
_PORT._PROTOCOL.SERVICE.NAMESPACE.svc.ZONE  SRV: the port and who listens on it
10-1-2-3.NAMESPACE.pod.ZONE                 the pod with that address
3.2.1.10.in-addr.arpa                       PTR: the name of an address
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from tiphys.cluster.node.network.dns_messages import (
    AAAA,
    ANY,
    CNAME,
    NO_SUCH_NAME,
    PTR,
    SRV,
    A,
    Answer,
    Question,
    Record,
)
from tiphys.cluster.node.network.routes import SERVICE_NAME

Object = Mapping[str, Any]
TTL_SECONDS = 5
ZONE = "cluster.local"


@dataclass(frozen=True)
class _Backend:
    hostname: str
    address: str


class Names:
    """The names as of one moment; built once per change, asked many times."""

    def __init__(self, services: Iterable[Object], slices: Iterable[Object], zone: str = ZONE) -> None:
        self.zone = zone
        self._records: dict[str, list[Record]] = {}
        self._parents: set[str] = {zone, f"svc.{zone}", f"pod.{zone}"}
        of_service: dict[tuple[str, str], list[Object]] = {}
        for found in slices:
            metadata = found["metadata"]
            name = (metadata.get("labels") or {}).get(SERVICE_NAME)
            if name:
                of_service.setdefault((metadata.get("namespace", ""), name), []).append(found)
        for service in services:
            key = (service["metadata"].get("namespace", ""), service["metadata"]["name"])
            self._add_service(service, of_service.get(key, []))

    def answer(self, question: Question) -> Answer | None:
        """What the cluster says to a question; None where it is not the cluster's to answer."""
        name = question.name
        if name in self._records:
            return self._of_name(name, question.type)
        if name.endswith(f".pod.{self.zone}"):
            return self._of_pod(name, question.type)
        if name == self.zone or name.endswith(f".{self.zone}"):
            return Answer() if name in self._parents else Answer(NO_SUCH_NAME)
        return None

    def _of_name(self, name: str, kind: int) -> Answer:
        held = self._records[name]
        wanted = [one for one in held if one.type in (kind, CNAME) or kind == ANY]
        targets = {one.data[3] for one in wanted if isinstance(one.data, tuple)}
        extra = [one for target in sorted(targets) for one in self._records.get(target, ()) if one.type in (A, AAAA)]
        return Answer(records=wanted, extra=extra)

    def _of_pod(self, name: str, kind: int) -> Answer:
        labels = name.removesuffix(f".pod.{self.zone}").split(".")
        try:
            address = ip_address(labels[0].replace("-", "." if labels[0].count("-") == 3 else ":"))
        except ValueError:
            return Answer(NO_SUCH_NAME)
        if len(labels) != 2:
            return Answer(NO_SUCH_NAME)
        record = Record(name, A if address.version == 4 else AAAA, TTL_SECONDS, str(address))
        return Answer(records=[record] if kind in (record.type, ANY) else ())

    def _add(self, record: Record) -> None:
        held = self._records.setdefault(record.name, [])
        if record not in held:
            held.append(record)
        parent = record.name
        while parent.endswith(f".{self.zone}") and parent != self.zone:
            parent = parent.partition(".")[2]
            self._parents.add(parent)

    def _add_service(self, service: Object, slices: list[Object]) -> None:
        spec, metadata = service.get("spec") or {}, service["metadata"]
        base = f"{metadata['name']}.{metadata.get('namespace', '')}.svc.{self.zone}"
        if spec.get("type") == "ExternalName":
            self._add(Record(base, CNAME, TTL_SECONDS, str(spec.get("externalName", "")).rstrip(".").lower()))
        elif spec.get("clusterIP") == "None":
            self._add_headless(base, spec, slices)
        elif spec.get("clusterIP"):
            self._add_addressed(base, spec)

    def _add_addressed(self, base: str, spec: Object) -> None:
        for address in spec.get("clusterIPs") or (spec["clusterIP"],):
            self._add_address(base, address)
            self._add(Record(_reverse(address), PTR, TTL_SECONDS, base))
        for port in spec.get("ports") or ():
            self._add_port(base, port.get("name") or "", port.get("protocol") or "TCP", int(port["port"]), base)

    def _add_headless(self, base: str, spec: Object, slices: list[Object]) -> None:
        for found in slices:
            for backend in _backends(found, bool(spec.get("publishNotReadyAddresses"))):
                own = f"{backend.hostname}.{base}"
                self._add_address(base, backend.address)
                self._add_address(own, backend.address)
                self._add(Record(_reverse(backend.address), PTR, TTL_SECONDS, own))
                for port in found.get("ports") or ():
                    if port.get("port"):
                        name, protocol = port.get("name") or "", port.get("protocol") or "TCP"
                        self._add_port(base, name, protocol, int(port["port"]), own)

    def _add_address(self, name: str, address: str) -> None:
        self._add(Record(name, A if ip_address(address).version == 4 else AAAA, TTL_SECONDS, address))

    def _add_port(self, base: str, name: str, protocol: str, port: int, target: str) -> None:
        if name:
            self._add(Record(f"_{name}._{protocol.lower()}.{base}", SRV, TTL_SECONDS, (0, 100, port, target)))
        self._add(Record(base, SRV, TTL_SECONDS, (0, 100, port, target)))


def _backends(found: Object, unready_too: bool) -> Iterator[_Backend]:
    if found.get("addressType") == "FQDN":  # names, of which no address can be told
        return
    for one in found.get("endpoints") or ():
        conditions = one.get("conditions") or {}
        if conditions.get("ready") is False and not unready_too:
            continue
        for address in one.get("addresses") or ():
            yield _Backend(one.get("hostname") or address.replace(".", "-").replace(":", "-"), address)


def _reverse(address: str) -> str:
    return ip_address(address).reverse_pointer
