"""What the server counts of itself, as Prometheus reads it: ``/metrics``.

Names, labels and buckets are those of kube-apiserver, so that dashboards and rules written for it work here. Labels
come from the paths of resources that there are, never from what a client made up: their number is bounded.
"""

from __future__ import annotations

import os
import resource as usage
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tiphys.cluster.apiserver.http.paths import ResourcePath, asks_to_watch
from tiphys.cluster.apiserver.registry import Registry
from tiphys.cluster.apiserver.store import Store
from tiphys.cluster.apiserver.version import VERSION
from tiphys.machinery.resources import Resource

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
)  # fmt: skip
_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"))
_CONVERSATIONS: Final = frozenset(("exec", "attach", "portforward", "proxy"))
_READS: Final = frozenset(("GET", "LIST", "WATCH"))
_APPLY: Final = "application/apply-patch"
_COMPONENT: Final = "apiserver"
_PLACE: Final = ("group", "version", "resource", "subresource", "scope", "component")

Labels = tuple[str, ...]


class Metrics:
    """Counts requests; ``text`` also says how much is stored."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._requests: Counter[Labels] = Counter()
        self._durations: dict[Labels, _Durations] = {}
        self._long: Counter[Labels] = Counter()
        self._events: Counter[Labels] = Counter()
        self._current = {"mutating": 0, "readOnly": 0}

    def begin(self, method: str, where: object, query: Mapping[str, str], media: str) -> Asked:
        """A request; ``where`` is what its path names, ``media`` the type of its body. ``end`` must follow."""
        place = self._known(where)
        asked = Asked(_verb(method, place, query, media), _labels(method, place), query.get("dryRun") == "All")
        if asked.lasts:
            self._long[asked.verb, *asked.place] += 1
        else:
            self._current[asked.kind] += 1
        return asked

    def end(self, asked: Asked, code: int, seconds: float) -> None:
        dry_run = "All" if asked.is_dry else ""
        self._requests[asked.verb, dry_run, *asked.place, str(code)] += 1
        if asked.lasts:
            self._long[asked.verb, *asked.place] -= 1
            return
        self._current[asked.kind] -= 1
        self._durations.setdefault((asked.verb, dry_run, *asked.place), _Durations()).add(seconds)

    def _known(self, where: object) -> ResourcePath | None:
        """The path of a resource that there is."""
        if not isinstance(where, ResourcePath):
            return None
        info = self._registry.find(where.group, where.version, where.plural)
        if info is None or (where.subresource is not None and info.subresource(where.subresource) is None):
            return None
        return where

    def watched(self, resource: Resource, count: int) -> None:
        """So many events went to a watch."""
        self._events[resource.group, resource.version, resource.plural] += count

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield from _counted("apiserver_request_total", "counter", ("verb", "dry_run", *_PLACE, "code"), self._requests)
        yield from _head("apiserver_request_duration_seconds", "histogram")
        for labels, durations in sorted(self._durations.items()):
            pairs = _pairs(("verb", "dry_run", *_PLACE), labels)
            yield from durations.lines("apiserver_request_duration_seconds", pairs)
        yield from _counted("apiserver_longrunning_requests", "gauge", ("verb", *_PLACE), self._long)
        current: dict[Labels, int] = {(kind,): count for kind, count in self._current.items()}
        yield from _counted("apiserver_current_inflight_requests", "gauge", ("request_kind",), current)
        yield from _counted("apiserver_watch_events_total", "counter", ("group", "version", "resource"), self._events)
        yield from self._stored()
        yield from _process()

    def _stored(self) -> Iterator[str]:
        """By the store's collections; several versions of a group are one."""
        places = {info.collection: info.resource for info in self._registry if not info.is_virtual}
        held = {name: len(self._store.collection(name).records) for name in self._store.collections()}
        counts = [(resource, held.get(name, 0)) for name, resource in places.items()]
        by_name: dict[Labels, int] = {(resource.key,): count for resource, count in counts}
        by_group: dict[Labels, int] = {(resource.group, resource.plural): count for resource, count in counts}
        yield from _counted("apiserver_storage_objects", "gauge", ("resource",), by_name)
        yield from _counted("apiserver_resource_objects", "gauge", ("group", "resource"), by_group)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request between ``Metrics.begin`` and ``end``; ``place`` are the labels ``_PLACE``."""

    verb: str
    place: Labels
    is_dry: bool

    @property
    def lasts(self) -> bool:
        """Whether it goes on until somebody ends it: how long says nothing about the server."""
        return self.verb in ("WATCH", "CONNECT") or self.place[3] == "log"

    @property
    def kind(self) -> str:
        return "readOnly" if self.verb in _READS else "mutating"


def _verb(method: str, where: ResourcePath | None, query: Mapping[str, str], media: str) -> str:
    if method not in _METHODS:
        return "other"
    if method == "HEAD":
        method = "GET"
    if where is None:
        return method
    if where.subresource in _CONVERSATIONS:
        return "CONNECT"
    if method == "GET" and asks_to_watch(where, query):
        return "WATCH"
    if where.name is None:
        return {"GET": "LIST", "DELETE": "DELETECOLLECTION"}.get(method, method)
    return "APPLY" if method == "PATCH" and media.startswith(_APPLY) else method


def _labels(method: str, where: ResourcePath | None) -> Labels:
    if where is None:
        return ("", "", "", "", "", _COMPONENT)
    scope = "namespace" if where.namespace is not None else "cluster"
    if where.name is not None or method == "POST":
        scope = "resource"
    return (where.group, where.version, where.plural, where.subresource or "", scope, _COMPONENT)


class _Durations:
    """A histogram; a count per bucket and one for what is above."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BUCKETS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        total = 0
        for bucket, count in zip((*_BUCKETS, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{bucket}"}} {total}'
        yield f"{name}_sum{{{labels}}} {self._sum:.9g}"
        yield f"{name}_count{{{labels}}} {total}"


def _process() -> Iterator[str]:
    """The process, where its system tells of it."""
    told = usage.getrusage(usage.RUSAGE_SELF)
    yield from _single("process_cpu_seconds_total", "counter", f"{told.ru_utime + told.ru_stime:.6f}")
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
    except OSError:  # no Linux
        pass
    else:
        yield from _single("process_resident_memory_bytes", "gauge", str(pages * os.sysconf("SC_PAGE_SIZE")))
        yield from _single("process_open_fds", "gauge", str(files))
    labels = {_LABEL.get(name, name): VERSION[name] for name in _BUILD}
    yield from _counted("kubernetes_build_info", "gauge", tuple(labels), {tuple(labels.values()): 1})


_BUILD: Final = (
    "major", "minor", "gitVersion", "gitCommit", "gitTreeState", "buildDate", "goVersion", "compiler", "platform",
)  # fmt: skip
_LABEL: Final = {
    "gitVersion": "git_version",
    "gitCommit": "git_commit",
    "gitTreeState": "git_tree_state",
    "buildDate": "build_date",
    "goVersion": "go_version",
}
_HELP: Final = {
    "apiserver_request_total": "Requests by verb, dry run, place and code.",
    "apiserver_request_duration_seconds": "How long requests took that end by themselves.",
    "apiserver_longrunning_requests": "Watches, logs and conversations that are open now.",
    "apiserver_current_inflight_requests": "Requests that are served now.",
    "apiserver_watch_events_total": "Events sent to watches.",
    "apiserver_storage_objects": "Stored objects. Since 1.34 there is apiserver_resource_objects for it.",
    "apiserver_resource_objects": "Stored objects.",
    "process_cpu_seconds_total": "Processor time that this process has used.",
    "process_resident_memory_bytes": "Memory of this process.",
    "process_open_fds": "Open files of this process.",
    "kubernetes_build_info": "The Kubernetes that this server presents itself as.",
}


def _head(name: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {_HELP[name]}"
    yield f"# TYPE {name} {kind}"


def _single(name: str, kind: str, value: str) -> Iterator[str]:
    yield from _head(name, kind)
    yield f"{name} {value}"


def _counted(name: str, kind: str, labels: Labels, counts: Mapping[Labels, int]) -> Iterator[str]:
    yield from _head(name, kind)
    for values, count in sorted(counts.items()):
        yield f"{name}{{{_pairs(labels, values)}}} {count}"


def _pairs(names: Labels, values: Labels) -> str:
    """No value needs escaping: they are names of resources, verbs and numbers."""
    return ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True))
