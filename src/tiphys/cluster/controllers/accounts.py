"""What every namespace has: the ServiceAccount ``default`` and the ConfigMap with the certificate of the API server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from tiphys.cluster.controllers.kit import Controller
from tiphys.machinery.actions import Create, Patch
from tiphys.machinery.errors import AlreadyExists, Forbidden, NotFound
from tiphys.machinery.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS, ObjectKey, Resource
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]

ROOT_CA: Final = "kube-root-ca.crt"
_DESCRIPTION: Final = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class _InEachNamespace(Controller):
    """Keeps one object of a name in each namespace that stays."""

    kind: ClassVar[Resource]
    object_name: ClassVar[str]

    def subscribe(self) -> None:
        self.on(NAMESPACES, self._on_namespace)
        self.on(self.kind, self._on_object)

    def _on_namespace(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if after is not None and before is None:
            self.queue.add(key)

    def _on_object(self, key: ObjectKey, before: Object | None, after: Object | None) -> None:
        if key.name == self.object_name and (after is None or before is not None):
            self.queue.add(ObjectKey("", key.namespace))

    async def reconcile(self, key: ObjectKey) -> Outcome:
        namespace = self.cache(NAMESPACES).get(key)
        if namespace is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        held = self.cache(self.kind).get(ObjectKey(key.name, self.object_name))
        try:
            await self.carry_out(self.keep(key.name, held))
        except (AlreadyExists, NotFound, Forbidden):
            return None  # made meanwhile, or the namespace is going
        return None

    @abstractmethod
    def keep(self, namespace: str, held: Object | None) -> list[Create | Patch]:
        """What makes the object of a namespace as it should be; ``held`` is what is there."""


class ServiceAccountController(_InEachNamespace):
    name = "service-account-controller"
    reads = (NAMESPACES, SERVICE_ACCOUNTS)
    kind = SERVICE_ACCOUNTS
    object_name = "default"

    def keep(self, namespace: str, held: Object | None) -> list[Create | Patch]:
        if held is not None:
            return []
        made = {"apiVersion": "v1", "kind": self.kind.kind, "metadata": {"name": "default", "namespace": namespace}}
        return [Create(self.kind, made, why="every namespace has one")]


class RootCaController(_InEachNamespace):
    name = "root-ca-certificate-publisher-controller"
    reads = (NAMESPACES, CONFIG_MAPS)
    kind = CONFIG_MAPS
    object_name = ROOT_CA

    def keep(self, namespace: str, held: Object | None) -> list[Create | Patch]:
        data = {"ca.crt": self.kit.root_ca()}
        if not data["ca.crt"]:
            return []
        if held is not None:
            if held.get("data") == data:
                return []
            patch = {"data": {**dict.fromkeys(held.get("data") or {}), **data}}
            return [Patch(self.kind, ObjectKey(namespace, ROOT_CA), patch, why="it was changed")]
        meta = {
            "name": ROOT_CA,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": _DESCRIPTION},
        }
        made = {"apiVersion": "v1", "kind": self.kind.kind, "metadata": meta, "data": data}
        return [Create(self.kind, made, why="pods check the API server with it")]
