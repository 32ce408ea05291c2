"""Custom resources: a CustomResourceDefinition in the store is a resource in the registry, at once.

Definitions are data like any other object; this module watches their collection and keeps the registry in step. The
originals' definitions (``data/crds``, generated) are created in a fresh cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any, Final

import orjson

from tiphys.cluster.apiserver import metadata
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.registry import CUSTOM_VERBS, Registry, ResourceInfo, Strategy, Subresource, priority
from tiphys.cluster.apiserver.store import Change
from tiphys.cluster.apiserver.typed import StructuralCodec, complete_definition
from tiphys.lang.gofmt import quote
from tiphys.machinery.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource

COLLECTION: Final = CUSTOM_RESOURCE_DEFINITIONS.key
PLACE: Final = (
    CUSTOM_RESOURCE_DEFINITIONS.group,
    CUSTOM_RESOURCE_DEFINITIONS.version,
    CUSTOM_RESOURCE_DEFINITIONS.plural,
)
_READ_WRITE: Final = ("get", "patch", "update")


def bundled(only: Collection[str] = ()) -> Iterator[Object]:
    """The definitions that a fresh cluster has; with ``only``, those of these names (``plural.group``)."""
    folder = resources.files("tiphys.cluster.apiserver").joinpath("data/crds")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not only or file.name.removesuffix(".json") in only:
            yield orjson.loads(file.read_bytes())


def infos(crd: Mapping[str, Any]) -> Iterator[ResourceInfo]:
    """The resources that a definition serves, one for each served version."""
    versions = crd["spec"]["versions"]
    stored = next((version for version in versions if version.get("storage")), None)
    storage = _info(crd, stored) if stored is not None and len(versions) > 1 else None
    for version in () if is_refused(crd) else versions:
        if version.get("served"):
            yield replace(_info(crd, version), storage=storage)


def _info(crd: Mapping[str, Any], version: Mapping[str, Any]) -> ResourceInfo:
    """The resource of one version, whether served or not."""
    spec = crd["spec"]
    accepted = spec["names"]
    resource = Resource(
        spec["group"], version["name"], accepted["plural"], accepted["kind"], spec["scope"] == "Namespaced"
    )
    has_status = "status" in (version.get("subresources") or {})
    conversion = spec.get("conversion") or {}
    return ResourceInfo(
        resource=resource,
        singular=accepted.get("singular") or accepted["kind"].lower(),
        collection=resource.key,
        strategy=Strategy(
            status="isolated" if has_status else "plain",
            generation="content" if has_status else "any",
            unconditional_update=False,
            warning=_warning(crd, version),
        ),
        verbs=CUSTOM_VERBS,
        short_names=tuple(accepted.get("shortNames") or ()),
        categories=tuple(accepted.get("categories") or ()),
        subresources=tuple(_subresources(version, accepted["kind"])),
        codec=_codec(resource, version),
        list_kind=accepted.get("listKind") or f"{accepted['kind']}List",
        custom=version,
        conversion=conversion.get("webhook") if conversion.get("strategy") == "Webhook" else None,
    )


def _codec(resource: Resource, version: Mapping[str, Any]) -> StructuralCodec | None:
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    return StructuralCodec(resource.api_version, resource.kind, schema) if schema is not None else None


def _subresources(version: Mapping[str, Any], kind: str) -> Iterator[Subresource]:
    declared = version.get("subresources") or {}
    if "status" in declared:
        yield Subresource("status", kind, _READ_WRITE)
    if "scale" in declared:
        yield Subresource("scale", "Scale", _READ_WRITE, "autoscaling", "v1")


class CustomResources:
    """Keeps the registry in step with the definitions in the store."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def published(self, changes: list[Change]) -> None:
        """The store's listener."""
        for change in changes:
            if change.collection != COLLECTION:
                continue
            served = {} if change.type == "DELETED" else _by_version(change.record.view)
            before = _by_version(change.previous.view) if change.previous else {}
            for group, version, plural in before.keys() - served.keys():
                self._registry.remove(group, version, plural)
            for place, info in served.items():
                if change.previous is None or before.get(place) != info:
                    self._registry.add(info)

    def load(self, definitions: Iterator[Object]) -> None:
        """Adds those that the store holds from an earlier life."""
        for definition in definitions:
            for info in infos(definition):
                self._registry.add(info)


def _by_version(crd: Mapping[str, Any]) -> dict[tuple[str, str, str], ResourceInfo]:
    return {(i.resource.group, i.resource.version, i.resource.plural): i for i in infos(crd)}


def begin(crd: Object) -> None:
    """A definition at its creation: nothing is accepted yet."""
    complete_definition(crd)
    versions = (crd.get("spec") or {}).get("versions") or ()
    stored = [version.get("name") or "" for version in versions if version.get("storage")]
    crd["status"] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored or None}


def updated(crd: Object, old: Object) -> None:
    """A changed definition: the version that objects are now stored in is one of those that they have been stored in
    (which of them are still about only whoever migrates them knows)."""
    del old
    status = crd.get("status") or {}
    held = status.get("storedVersions") or []
    stored = [version["name"] for version in crd["spec"].get("versions") or () if version.get("storage")]
    if stored and stored[0] not in held:
        crd["status"] = status | {"storedVersions": [*held, stored[0]]}


_TERMINATING: Final = {
    "InstanceDeletionPending": (
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    ),
    "InstanceDeletionInProgress": "CustomResource deletion is in progress",
}
CLEANUP_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"


def terminating(crd: Object, now: str, reason: str) -> Object:
    """A definition that waits for its last object to go."""
    condition = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": now,
        "reason": reason,
        "message": _TERMINATING[reason],
    }
    status = crd.get("status") or {}
    others = [c for c in status.get("conditions") or () if c.get("type") != "Terminating"]
    meta = crd["metadata"]
    finalizers = [f for f in meta.get("finalizers") or () if f != CLEANUP_FINALIZER] + [CLEANUP_FINALIZER]
    marked = meta | {"deletionTimestamp": meta.get("deletionTimestamp") or now, "finalizers": finalizers}
    return crd | {"metadata": metadata.ordered(marked), "status": status | {"conditions": [*others, condition]}}


def _warning(crd: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    """What requests for a deprecated version are answered with."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning"):
        return str(version["deprecationWarning"])
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    better = [v["name"] for v in crd["spec"]["versions"] if v.get("served") and not v.get("deprecated")]
    text = f"{group}/{version['name']} {kind} is deprecated"
    return f"{text}; use {group}/{min(better, key=priority)} {kind}" if better else text


def established(crd: Object, now: str, others: Iterable[Object] = ()) -> Object:
    """The status once the names are judged, which is at once. ``others`` are all definitions."""

    def condition(kind: str, status: str, reason: str, message: str) -> Object:
        return {"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message}

    accepted, reason, name = _accepted_names(crd, others)
    if reason:
        conditions = [
            condition("NamesAccepted", "False", reason, f"{quote(name)} is already in use"),
            condition("Established", "False", "NotAccepted", "not all names are accepted"),
        ]
    else:
        conditions = [
            condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            condition("Established", "True", "InitialNamesAccepted", "the initial names have been accepted"),
        ]
    return {
        "conditions": conditions,
        "acceptedNames": accepted,
        "storedVersions": crd["status"]["storedVersions"],
    }


def _accepted_names(crd: Object, others: Iterable[Object]) -> tuple[Object, str, str]:
    """The names that nobody else in the group has, and of the last other one why not and which."""
    wanted, words, kinds = crd["spec"]["names"], set(), set()
    for other in others:
        if other["spec"]["group"] == crd["spec"]["group"] and other["metadata"]["name"] != crd["metadata"]["name"]:
            held = (other.get("status") or {}).get("acceptedNames") or {}
            words |= {held.get("plural"), held.get("singular"), *(held.get("shortNames") or ())}
            kinds |= {held.get("kind"), held.get("listKind")}
    accepted, reason, name = {"plural": "", "kind": ""}, "", ""
    for field, taken, why in _NAMES:
        value = wanted.get(field)
        clash = next(
            (each for each in (value if isinstance(value, list) else [value]) if each in taken(words, kinds)), ""
        )
        if value and clash:
            reason, name = why, clash
        elif value:
            accepted[field] = value
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    return ({k: accepted[k] for k in wanted if k in accepted} | accepted, reason, name) if reason else (wanted, "", "")


def _words(words: set[Any], kinds: set[Any]) -> set[Any]:
    del kinds
    return words


def _kinds(words: set[Any], kinds: set[Any]) -> set[Any]:
    del words
    return kinds


_NAMES: Final = (
    ("plural", _words, "PluralConflict"),
    ("singular", _words, "SingularConflict"),
    ("shortNames", _words, "ShortNamesConflict"),
    ("kind", _kinds, "KindConflict"),
    ("listKind", _kinds, "ListKindConflict"),
)


def is_refused(crd: Mapping[str, Any]) -> bool:
    """Whether another definition has its names, so that it is not served."""
    conditions = (crd.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "NamesAccepted" and c.get("status") == "False" for c in conditions)
