"""What is reachable from outside the cluster: load balancers' addresses, and Ingresses through the router.

A Service of type LoadBalancer gets a loopback address of its own, an Ingress that of the router; both are written into
their status, by which others (Argo CD's health, kubectl) know that they work. Kinds are watched from the first Ingress
on, secrets from the first that names one.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from tiphys.client.client import Client
from tiphys.cluster.node.network.ingress import IngressRouter
from tiphys.cluster.node.network.ingress_rules import CLASS, Routes, Target, is_ours
from tiphys.cluster.node.network.routes import Endpoint, endpoints
from tiphys.machinery.actions import PatchType
from tiphys.machinery.errors import AlreadyExists, ApiError
from tiphys.machinery.resources import SECRETS, SERVICES, Resource, key_of
from tiphys.runtime.clock import Clock
from tiphys.runtime.informer import Informer

Object = Mapping[str, Any]

INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESS_CLASSES = Resource("networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False)
ROUTERS = IPv4Network("127.59.0.0/28")
"""Where routers listen: the first address that no other cluster of this machine has."""
HTTP, HTTPS = 80, 443
_BALANCERS_OFFSET = int(IPv4Address("0.36.0.0"))

logger = logging.getLogger(__name__)


def load_balancer_address(service: Object) -> str:
    """The loopback address of a Service of type LoadBalancer: 127.60.4.2 for the cluster address 10.96.4.2.

    Clusters of one machine have ranges of their own, so these addresses are their own as well.
    """
    low = int(IPv4Address(service["spec"]["clusterIP"])) & 0xFFFFFF
    return str(IPv4Address("127.0.0.0") + (low - _BALANCERS_OFFSET) % 0x1000000)


def addressed(service: Object) -> Object:
    """A load balancer with its address in its status; any other Service, or one that has an address, as it is."""
    spec = service.get("spec") or {}
    is_balancer = spec.get("type") == "LoadBalancer" and spec.get("clusterIP") not in (None, "", "None")
    held = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    if not is_balancer or held or spec.get("loadBalancerClass"):
        return service
    return {
        **service,
        "status": {"loadBalancer": {"ingress": [{"ip": load_balancer_address(service), "ipMode": "VIP"}]}},
    }


class Outside:
    """``run`` works until cancelled; ``services`` and ``slices`` are the cluster's as of now."""

    def __init__(
        self,
        client: Client,
        services: Callable[[], Iterable[Object]],
        slices: Callable[[str, str], list[Object]],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self.client = client
        self.services = services
        self.slices = slices
        self.router = IngressRouter(lambda: self._routes, self._endpoints, rng)
        self._routes = Routes(())
        self._ingresses = Informer(client, INGRESSES, clock=clock, rng=rng)
        self._secrets = Informer(client, SECRETS, clock=clock, rng=rng)
        self._changed = asyncio.Event()
        self._clock = clock
        self._address: str | None = None
        """Of the router; "" where none is to be had, None before the first Ingress asked for one."""
        self._reads_secrets = False
        for informer in (self._ingresses, self._secrets):
            informer.subscribe(lambda *_: self._changed.set())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ingresses.run())
            await self._ingresses.synced.wait()
            try:
                while True:
                    self._changed.clear()
                    ours = [one for one in self._ingresses.objects() if is_ours(one)]
                    if ours:
                        await self._serve(ours, tasks)
                    self._routes = Routes(ours)
                    await self._changed.wait()
            finally:
                await self.router.stop()

    async def tell(self, addressed: Iterable[Object]) -> None:
        """Writes the statuses of these load balancers, whose addresses answer by now."""
        for service in addressed:
            await self._patch_status(SERVICES, service, {"status": service["status"]})

    async def _serve(self, ours: list[Object], tasks: asyncio.TaskGroup) -> None:
        if self._address is None:
            self._address = await self._listen()
        if not self._address:
            return
        wanted = Routes(ours).hosts_with_secrets
        if wanted and not self._reads_secrets:
            self._reads_secrets = True
            tasks.create_task(self._secrets.run())
            await self._secrets.synced.wait()
        self.router.certify(self._certificates(wanted))
        status = {"status": {"loadBalancer": {"ingress": [{"ip": self._address}]}}}
        for one in ours:
            if not ((one.get("status") or {}).get("loadBalancer") or {}).get("ingress"):
                await self._patch_status(INGRESSES, one, status)

    async def _listen(self) -> str:
        """The router's address, with the class of Ingresses that it serves; "" where it can have none."""
        for address in map(str, ROUTERS.hosts()):
            try:
                await self.router.start(address, self._clock.now(), HTTP, HTTPS)
            except OSError as err:
                why = err.strerror
                continue
            await self._offer()
            return address
        logger.warning("Ingresses are not served: ports %s and %s cannot be had: %s", HTTP, HTTPS, why)
        return ""

    async def _offer(self) -> None:
        made = {
            "metadata": {"name": CLASS, "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "tiphys/ingress"},
        }
        try:
            await self.client.create(INGRESS_CLASSES, made)
        except AlreadyExists:
            pass
        except ApiError as err:
            logger.warning("IngressClass %s was not made: %s", CLASS, err)

    def _certificates(self, wanted: Mapping[str, tuple[str, str]]) -> dict[str, tuple[bytes, bytes]]:
        held = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in self._secrets.objects()}
        found = {}
        for host, key in wanted.items():
            data = (held.get(key) or {}).get("data") or {}
            if data.get("tls.crt") and data.get("tls.key"):
                found[host] = (base64.b64decode(data["tls.crt"]), base64.b64decode(data["tls.key"]))
        return found

    def _endpoints(self, target: Target) -> list[Endpoint]:
        for service in self.services():
            metadata = service["metadata"]
            if (metadata.get("namespace"), metadata["name"]) == (target.namespace, target.service):
                for port in (service.get("spec") or {}).get("ports") or ():
                    if target.port in (port.get("name"), port.get("port")):
                        return list(endpoints(self.slices(target.namespace, target.service), port))
        return []

    async def _patch_status(self, resource: Resource, obj: Object, patch: Object) -> None:
        try:
            await self.client.patch(resource, key_of(obj), patch, PatchType.MERGE, subresource="status")
        except ApiError as err:
            logger.info("%s: its address was not written: %s", key_of(obj), err)
