"""metrics.k8s.io: what pods and nodes use now. Nothing of it is stored; a ``UsageSource`` is asked for each request.

What the original's metrics-server answers: pods of which nothing is known (not running, on a simulated node) are left
out of lists and not found one by one. ``kubectl top`` and autoscalers read this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from tiphys.cluster.apiserver.listing import Page, Selection
from tiphys.cluster.apiserver.problems import not_found
from tiphys.cluster.apiserver.record import Object, Record
from tiphys.cluster.apiserver.registry import Registry, ResourceInfo
from tiphys.cluster.apiserver.store import Store
from tiphys.lang import durations
from tiphys.machinery.quantities import canonical
from tiphys.machinery.resources import Resource
from tiphys.machinery.times import to_time

GROUP: Final = "metrics.k8s.io"
_VERBS: Final = ("get", "list")


@dataclass(frozen=True, slots=True)
class Usage:
    """``cpu`` in billionths of a processor over the window, ``memory`` (the working set) in bytes."""

    cpu: int
    memory: int

    def document(self) -> dict[str, str]:
        return {"cpu": canonical(f"{self.cpu}n"), "memory": canonical(f"{self.memory // 1024}Ki")}


@dataclass(frozen=True, slots=True)
class Measured:
    """``parts``: the containers of a pod by name; of a node there is one part, ""."""

    at: datetime
    window: timedelta
    parts: Mapping[str, Usage]


class UsageSource(Protocol):
    """The live figures of one or more nodes."""

    async def measure(self) -> tuple[Mapping[str, Measured], Mapping[str, Measured]]:
        """Of all running pods (by uid), and of the nodes (by name). May wait for a window to pass."""
        ...


class LiveUsage:
    """Answers get and list of the two resources; makes them known to ``registry``."""

    def __init__(self, store: Store, registry: Registry, source: UsageSource) -> None:
        self._store = store
        self._source = source
        for plural, kind, namespaced in (("nodes", "NodeMetrics", False), ("pods", "PodMetrics", True)):
            place = Resource(GROUP, "v1beta1", plural, kind, namespaced)
            # The collection is where selectors and refusals take the name from; nothing is ever put there.
            of = kind.lower() + "." + GROUP
            registry.add(ResourceInfo(place, "", of, verbs=_VERBS, list_kind=f"{kind}List"))

    async def get(self, info: ResourceInfo, namespace: str | None, name: str) -> Record:
        """Raises NotFound."""
        key = f"{namespace}/{name}" if info.resource.namespaced else name
        found = self._store.get(info.resource.plural, key)
        if found is None:
            raise not_found(self._named(info), key)
        made = self._record(info, found, await self._measured(info))
        if made is None:
            raise not_found(self._named(info), key)
        return made

    async def list(self, info: ResourceInfo, namespace: str | None, query: Mapping[str, str]) -> Page:
        matches = Selection.parse(info, namespace, query).filter(info)
        held = self._store.collection(info.resource.plural)
        wanted = [held.records[key] for key in held.keys(namespace)]
        measured = await self._measured(info) if wanted else {}
        made = (self._record(info, record, measured) for record in wanted)
        return _LivePage(info, _chosen(made, matches), self._store.version)

    async def _measured(self, info: ResourceInfo) -> Mapping[str, Measured]:
        pods, nodes = await self._source.measure()
        return pods if info.resource.namespaced else nodes

    def _record(self, info: ResourceInfo, record: Record, measured: Mapping[str, Measured]) -> Record | None:
        meta = self._store.view(record)["metadata"]
        found = measured.get(meta["uid"] if info.resource.namespaced else meta["name"])
        return None if found is None else Record(record.key, 0, 0, document(info, meta, found))

    def _named(self, info: ResourceInfo) -> ResourceInfo:
        """Refusals call them podmetrics and nodemetrics, not by the names in the path."""
        place = Resource(GROUP, "v1beta1", info.kind.lower(), info.kind, info.resource.namespaced)
        return ResourceInfo(place, "", info.collection)


class _LivePage(Page):
    """A list of what was never stored has no version."""

    def metadata(self) -> dict[str, Any]:
        return {}


def _chosen(made: Any, matches: Any) -> Sequence[Record]:
    return [record for record in made if record is not None and (matches is None or matches(record))]


def document(info: ResourceInfo, about: Mapping[str, Any], found: Measured) -> Object:
    """A PodMetrics or NodeMetrics; ``about`` is the metadata of the pod or node."""
    meta = {"name": about["name"]}
    if info.resource.namespaced:
        meta["namespace"] = about["namespace"]
    at = to_time(found.at)
    meta["creationTimestamp"] = at
    if about.get("labels"):
        meta["labels"] = about["labels"]
    whole: Object = {"kind": info.kind, "apiVersion": info.resource.api_version, "metadata": meta, "timestamp": at}
    whole["window"] = durations.format(round(found.window / timedelta(milliseconds=1)) * 1_000_000)
    if info.resource.namespaced:
        whole["containers"] = [{"name": name, "usage": part.document()} for name, part in sorted(found.parts.items())]
    else:
        whole["usage"] = found.parts[""].document()
    return whole
