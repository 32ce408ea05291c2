"""Which resources the server has, and how each behaves: the built-in ones from a table, custom ones from their CRDs.

A ``ResourceInfo`` is all that the verbs need to know about a kind; nothing else branches on kinds.
``data/resources.json`` (generated) says what exists, ``strategies.py`` how the special ones behave.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.typed import Codec, builtin_codec
from tiphys.lang import name_rules
from tiphys.machinery.resources import Resource

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
# Definitions list the same verbs in another order.
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


@dataclass(frozen=True)
class Subresource:
    """``group`` and ``version`` name the kind where it is not the resource's own."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


@dataclass(frozen=True)
class Strategy:
    """What is special about a kind.

    ``status``: "isolated" when only ``/status`` writes it, "plain" when it is a field like any other;
    ``status_at_first``: an isolated one may come with a new object.
    ``generation``: which changes count: "spec", "content" (anything but metadata and status), "any" (anything but
    metadata; "any, labels" those as well), "first" where it is 1 for ever, or "none".
    ``unconditional_update``: may a PUT come without a resourceVersion.
    ``any_finalizer``: finalizers need not be qualified. ``names_writer``: the spec says who created the object.
    ``on_admitted`` is for what follows from what admission made of a new object, ``on_judged`` for what is filled in
    when it has been found valid.
    ``on_create``, ``on_update`` and ``on_status`` do what the original's strategy does, in place (those two with the
    old object, ``on_status`` with the time as well); ``warning`` is what every request for the kind is answered with.
    """

    name_rule: Callable[[str], list[str]] = name_rules.dns1123_subdomain
    status: Literal["isolated", "plain"] = "plain"
    status_at_first: bool = False
    generation: Literal["spec", "content", "any", "any, labels", "first", "none"] = "none"
    returns_deleted: bool = False
    create_on_update: bool = False
    unconditional_update: bool = True
    warning: str = ""
    any_finalizer: bool = False
    names_writer: bool = False
    graceful_seconds: Callable[[Object, int | None], int] | None = None
    initial_status: Mapping[str, Any] | None = None
    on_create: Callable[[Object], None] | None = None
    on_admitted: Callable[[Object], None] | None = None
    on_judged: Callable[[Object], None] | None = None
    on_update: Callable[[Object, Object], None] | None = None
    on_status: Callable[[Object, Object, str], None] | None = None


PLAIN = Strategy()


@dataclass(frozen=True)
class ResourceInfo:
    resource: Resource
    singular: str
    collection: str
    strategy: Strategy = PLAIN
    verbs: tuple[str, ...] = ALL_VERBS
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    list_kind: str = ""
    codec: Codec | None = None
    custom: Mapping[str, Any] | None = None
    """The version's entry in its CustomResourceDefinition; None for a built-in resource."""
    storage: ResourceInfo | None = None
    """How a custom resource is stored, where it has several versions (it may be one that is not served)."""
    conversion: Mapping[str, Any] | None = None
    """The webhook that converts between the versions of a custom resource; None where they differ in name alone."""

    @property
    def kind(self) -> str:
        return self.resource.kind

    @property
    def is_virtual(self) -> bool:
        """True for what is asked and answered but never stored (reviews, bindings)."""
        return "get" not in self.verbs

    def subresource(self, name: str) -> Subresource | None:
        return next((s for s in self.subresources if s.name == name), None)


@dataclass
class Registry:
    """The resources of a server, in the order of discovery; built-in ones first, custom groups after them."""

    _infos: dict[tuple[str, str, str], ResourceInfo] = field(default_factory=dict)
    revision: int = 0
    """Counts changes, so that discovery and OpenAPI documents can be kept until something changed."""

    def add(self, info: ResourceInfo) -> None:
        resource = info.resource
        self._infos[resource.group, resource.version, resource.plural] = info
        self.revision += 1

    def remove(self, group: str, version: str, plural: str) -> None:
        if self._infos.pop((group, version, plural), None) is not None:
            self.revision += 1

    def find(self, group: str, version: str, plural: str) -> ResourceInfo | None:
        return self._infos.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> ResourceInfo | None:
        return next(
            (
                i
                for i in self._infos.values()
                if (i.resource.group, i.resource.version, i.kind) == (group, version, kind) and not i.is_virtual
            ),
            None,
        )

    def __iter__(self) -> Iterator[ResourceInfo]:
        return iter(list(self._infos.values()))

    def groups(self) -> dict[str, list[str]]:
        """Group name → versions, preferred first."""
        found: dict[str, list[str]] = {}
        for (group, version, _), info in self._infos.items():
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
                if info.custom is not None:
                    versions.sort(key=priority)
        return found

    def in_version(self, group: str, version: str) -> list[ResourceInfo]:
        return [i for i in self._infos.values() if (i.resource.group, i.resource.version) == (group, version)]


def priority(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as Kubernetes does: GA before beta before alpha, higher numbers first, other names last."""
    match = re.fullmatch(r"v([0-9]+)(?:(alpha|beta)([0-9]+))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), version)


def builtin(strategies: Mapping[str, Strategy]) -> Registry:
    """The registry of a fresh cluster. ``strategies`` by ``plural.group``; what is missing there is plain."""
    registry = Registry()
    text = resources.files("tiphys.cluster.apiserver").joinpath("data/resources.json").read_text("utf-8")
    for row in json.loads(text):
        registry.add(_info(row, strategies))
    return registry


# Two API groups, one store: what is written through one is read through the other.
_SHARED_COLLECTIONS = {"events.events.k8s.io": "events"}


def _info(row: Mapping[str, Any], strategies: Mapping[str, Strategy]) -> ResourceInfo:
    resource = Resource(row["group"], row["version"], row["plural"], row["kind"], row["namespaced"])
    return ResourceInfo(
        resource=resource,
        singular=row["singular"],
        collection=_SHARED_COLLECTIONS.get(resource.key, resource.key),
        strategy=strategies.get(resource.key, PLAIN),
        verbs=ALL_VERBS if row["verbs"] == "all" else tuple(row["verbs"]),
        short_names=tuple(row.get("shortNames", ())),
        categories=tuple(row.get("categories", ())),
        subresources=tuple(_subresources(row.get("subresources", ()))),
        list_kind=f"{resource.kind}List",
        codec=builtin_codec(resource.api_version, resource.kind),
    )


def _subresources(rows: Iterable[Mapping[str, Any]]) -> Iterator[Subresource]:
    for row in rows:
        yield Subresource(row["name"], row["kind"], tuple(row["verbs"]), row.get("group", ""), row.get("version", ""))
