"""The Kubernetes client: the verbs, over any ``Transport``.

pods = await client.list(PODS, namespace="default", label_selector="app=x")
await client.patch(WORKFLOWS, key, {"spec": {"suspend": True}})
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from tiphys.client.transport import Request, Transport, WatchEvent
from tiphys.machinery.actions import PatchType
from tiphys.machinery.resources import PODS, ObjectKey, Resource

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Client:
    """Typed by resource, not by kind: objects are plain dicts, read-only. Raises ``machinery.errors.ApiError``."""

    transport: Transport

    async def get(self, resource: Resource, key: ObjectKey, subresource: str | None = None) -> Object:
        return await self.transport.call(Request("get", resource, key.namespace or None, key.name, subresource))

    async def list(self, resource: Resource, namespace: str | None = None, **query: str) -> Object:
        """The list object (``items``, ``metadata.resourceVersion``); query keys as on the wire (labelSelector …)."""
        return await self.transport.call(Request("list", resource, namespace, query=query))

    def watch(
        self, resource: Resource, namespace: str | None = None, **query: str
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        return self.transport.watch(Request("watch", resource, namespace, query=query))

    async def create(self, resource: Resource, obj: Object, **query: str) -> Object:
        namespace = obj["metadata"].get("namespace") if resource.namespaced else None
        return await self.transport.call(Request("create", resource, namespace, query=query, body=obj))

    async def replace(self, resource: Resource, obj: Object, subresource: str | None = None, **query: str) -> Object:
        meta = obj["metadata"]
        return await self.transport.call(
            Request("update", resource, meta.get("namespace"), meta["name"], subresource, query, obj)
        )

    async def patch(
        self,
        resource: Resource,
        key: ObjectKey,
        patch: Any,
        kind: PatchType = PatchType.MERGE,
        subresource: str | None = None,
        **query: str,
    ) -> Object:
        return await self.transport.call(
            Request("patch", resource, key.namespace or None, key.name, subresource, query, patch, kind.value)
        )

    async def delete(self, resource: Resource, key: ObjectKey, options: Object | None = None) -> Object:
        """``options`` is a DeleteOptions body (gracePeriodSeconds, propagationPolicy, preconditions)."""
        return await self.transport.call(Request("delete", resource, key.namespace or None, key.name, body=options))

    def logs(self, key: ObjectKey, **query: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Chunks of a container's log; query keys as on the wire (container, follow, tailLines …)."""
        return self.transport.stream(Request("get", PODS, key.namespace, key.name, "log", query))
