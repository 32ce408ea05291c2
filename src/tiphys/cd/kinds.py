"""Which kinds a cluster serves: by discovery over its API, or, for the embedded cluster, straight from its registry.

Discovery is asked at first use and again when a kind is missing that may have come meanwhile, at most once in a few
seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tiphys.cd.plan.objects import Gvk
from tiphys.cd.plan.sync.operations import ApiResource, UnknownKind
from tiphys.client.transport import Request, Transport
from tiphys.machinery.errors import ApiError
from tiphys.machinery.resources import Resource
from tiphys.runtime.clock import Clock

_FRESH_SECONDS: Final = 5.0


class KindTable(Protocol):
    """What a cluster serves."""

    def resource(self, gvk: Gvk) -> Resource | None:
        """The resource of a kind in this version; None where it is not served."""
        ...

    def any_version(self, group: str, kind: str) -> Resource | None:
        """The resource of a kind in the version that the cluster prefers."""
        ...

    def has_version(self, group: str, version: str) -> bool: ...

    def api_versions(self) -> Iterable[str]:
        """``group/version`` and ``group/version/Kind`` of everything served, for tools that ask."""
        ...

    async def refresh(self) -> None:
        """Learns of kinds that came since."""
        ...


@dataclass(frozen=True)
class ServedKinds:
    """A table as a sync asks it (``plan.sync.run.Kinds``)."""

    table: KindTable

    def find(self, gvk: Gvk) -> ApiResource:
        found = self.table.resource(gvk)
        if found is not None:
            return ApiResource(found.plural, found.namespaced)
        if self.table.has_version(gvk.group, gvk.version):
            name = f"{gvk.kind}.{gvk.group}" if gvk.group else gvk.kind
            raise UnknownKind(f'{name} "" not found')
        raise UnknownKind(
            f"failed to discover server resources for group version {gvk.api_version}: "
            "the server could not find the requested resource"
        )

    def scope(self, group: str, kind: str) -> bool | None:
        found = self.table.any_version(group, kind)
        return None if found is None else found.namespaced


@dataclass(frozen=True, slots=True)
class _Document(Resource):
    """A discovery document, addressed like a resource."""

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        del namespace, name, subresource
        return self.plural


class DiscoveredKinds:
    """The kinds of a cluster that is reached over its API."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._by_gvk: dict[Gvk, Resource] = {}
        self._preferred: dict[tuple[str, str], Resource] = {}
        self._asked_at = float("-inf")

    def resource(self, gvk: Gvk) -> Resource | None:
        return self._by_gvk.get(gvk)

    def any_version(self, group: str, kind: str) -> Resource | None:
        return self._preferred.get((group, kind))

    def has_version(self, group: str, version: str) -> bool:
        return any((gvk.group, gvk.version) == (group, version) for gvk in self._by_gvk)

    def api_versions(self) -> Iterable[str]:
        return sorted({text for gvk in self._by_gvk for text in (gvk.api_version, f"{gvk.api_version}/{gvk.kind}")})

    async def refresh(self) -> None:
        """Raises ApiError where the cluster cannot be reached at all; a group that fails keeps what was known."""
        now = self._clock.monotonic()
        if now - self._asked_at < _FRESH_SECONDS:
            return
        self._asked_at = now
        groups = (await self._read("/apis")).get("groups") or ()
        versions = [("", "v1", "/api/v1")]
        for group in groups:
            preferred = (group.get("preferredVersion") or {}).get("version")
            ordered = sorted(group.get("versions") or (), key=lambda each: each.get("version") != preferred)
            names = (each["version"] for each in ordered)
            versions += [(group["name"], name, f"/apis/{group['name']}/{name}") for name in names]
        for group_name, version, path in versions:
            try:
                found = (await self._read(path)).get("resources") or ()
            except ApiError:
                continue
            for each in found:
                self._add(group_name, version, each)

    def _add(self, group: str, version: str, entry: Mapping[str, Any]) -> None:
        if "/" in entry["name"] or not {"get", "list", "watch"} <= set(entry.get("verbs") or ()):
            return
        resource = Resource(group, version, entry["name"], entry["kind"], bool(entry.get("namespaced")))
        self._by_gvk[Gvk(group, version, entry["kind"])] = resource
        self._preferred.setdefault((group, entry["kind"]), resource)

    async def _read(self, path: str) -> Mapping[str, Any]:
        return await self._transport.call(Request("get", _Document("", "", path, "", namespaced=False)))
