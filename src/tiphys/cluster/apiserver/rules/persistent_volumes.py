"""PersistentVolumes, also as attachments describe them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any, Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.affinity import node_selector
from tiphys.cluster.apiserver.rules.claims import VOLUME_MODES, access_modes
from tiphys.cluster.apiserver.rules.sources import PLACES, csi_driver, iscsi_complaints, source_complaints
from tiphys.cluster.apiserver.rules.values import (
    ABOVE_0,
    AT_LEAST_0,
    Fields,
    difference,
    given_one_of,
    immutable,
    in_form_if_given,
    needed,
    one_of,
    quantity,
    without_dots,
)
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

_SOURCES: Final = (
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
)
_SECRETS: Final = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
)
_NOT_INLINE: Final = "may not be specified in the context of inline volumes"


def volume(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    yield from volume_spec(spec, "spec")
    if old is not None:
        yield from _changes(spec, old.get("spec") or {})


def volume_spec(spec: Fields, at: str, *, inline: bool = False) -> Iterator[Complaint]:
    """``inline``: inside of a VolumeAttachment."""
    if inline:
        yield from _inline(spec, at)
    modes = spec.get("accessModes") or []
    if not modes:
        yield required(f"{at}.accessModes")
    yield from access_modes(modes, f"{at}.accessModes")
    if not inline:
        yield from _capacity(spec.get("capacity"), f"{at}.capacity")
        yield from one_of(spec, at, "persistentVolumeReclaimPolicy", ("Delete", "Recycle", "Retain"))
    elif spec.get("persistentVolumeReclaimPolicy") not in (None, "", "Retain"):
        text = "may only be Retain in the context of inline volumes"
        yield forbidden_value(f"{at}.persistentVolumeReclaimPolicy", text)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        yield from _node_affinity(affinity, f"{at}.nodeAffinity", inline)
    yield from _sources(spec, at, inline)
    path = (spec.get("hostPath") or {}).get("path")
    is_root = path is not None and posixpath.normpath(path) in ("/", "//")
    if is_root and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "may not be 'recycle' for a hostPath mount of '/'"
        yield forbidden_value(f"{at}.persistentVolumeReclaimPolicy", text)
    yield from _names(spec, at, inline)


def _inline(spec: Fields, at: str) -> Iterator[Complaint]:
    for field in ("claimRef", "capacity"):
        if spec.get(field):
            yield forbidden_value(f"{at}.{field}", _NOT_INLINE)
    if spec.get("csi") is None:
        yield required(f"{at}.csi", "has to be specified in the context of inline volumes")


def _capacity(capacity: Fields | None, at: str) -> Iterator[Complaint]:
    if not capacity:
        yield required(at)
    if set(capacity or ()) != {"storage"}:
        yield unsupported(at, capacity or {}, ["storage"])
    for name in sorted(capacity or ()):
        amount = quantity((capacity or {})[name])
        if amount.sign < 0:
            yield invalid_value(f"{at}[{name}]", amount.value(), AT_LEAST_0)
        if amount.sign <= 0:
            yield invalid_value(f"{at}[{name}]", str(amount), ABOVE_0)


def _node_affinity(affinity: Fields, at: str, inline: bool) -> Iterator[Complaint]:
    if inline:
        yield forbidden_value(at, _NOT_INLINE)
    elif affinity.get("required") is None:
        yield required(f"{at}.required", "must specify required node constraints")
    else:
        yield from node_selector(affinity["required"], f"{at}.required")


def _sources(spec: Fields, at: str, inline: bool) -> Iterator[Complaint]:
    found = [kind for kind in _SOURCES if spec.get(kind) is not None]
    for number, kind in enumerate(found):
        if number and kind != "flexVolume":
            place = "cephFS" if kind == "cephfs" else kind
            yield forbidden_value(f"{at}.{place}", "may not specify more than 1 volume type")
            continue
        here = f"{at}.{PLACES.get(kind, kind)}"
        yield from _source(kind, spec[kind], here)
        if kind == "local" and (inline or spec.get("nodeAffinity") is None):
            yield required(f"{at}.nodeAffinity", "Local volume requires node affinity")
    if not found:
        yield required(at, "must specify a volume type")


def _source(kind: str, source: Fields, at: str) -> Iterator[Complaint]:
    if kind == "iscsi":
        yield from iscsi_complaints(source, at, hint="")
    elif kind == "local":
        if not source.get("path"):
            yield required(f"{at}.path")
        else:
            yield from without_dots(source["path"], f"{at}.path")
    elif kind == "csi":
        yield from csi_driver(source.get("driver") or "", f"{at}.driver")
        yield from needed(source, at, "volumeHandle")
        for field in _SECRETS:
            if source.get(field) is not None:
                yield from needed(source[field], f"{at}.{field}", "name", "namespace")
    else:
        yield from source_complaints(kind, source, at, persistent=True)


def _names(spec: Fields, at: str, inline: bool) -> Iterator[Complaint]:
    if inline:
        if spec.get("storageClassName"):
            yield forbidden_value(f"{at}.storageClassName", _NOT_INLINE)
        if spec.get("volumeMode") not in (None, "Filesystem"):
            text = "may not specify volumeMode other than Filesystem in the context of inline volumes"
            yield forbidden_value(f"{at}.volumeMode", text)
        return
    yield from in_form_if_given(spec, at, "storageClassName", name_rules.dns1123_subdomain)
    yield from given_one_of(spec, at, "volumeMode", VOLUME_MODES)
    name = spec.get("volumeAttributesClassName")
    if name is None:
        return
    if not name:
        yield required(f"{at}.volumeAttributesClassName", "an empty string is disallowed")
    else:
        yield from in_form_if_given(spec, at, "volumeAttributesClassName", name_rules.dns1123_subdomain)
    if spec.get("csi") is None:
        yield required(f"{at}.csi", "has to be specified when using volumeAttributesClassName")


def _changes(spec: Fields, before: Fields) -> Iterator[Complaint]:
    mine, held = ({kind: each[kind] for kind in _SOURCES if each.get(kind) is not None} for each in (spec, before))
    if "csi" in mine and "csi" in held and held["csi"].get("controllerExpandSecretRef") is None:
        mine["csi"] = {key: value for key, value in mine["csi"].items() if key != "controllerExpandSecretRef"}
    if not same(mine, held):
        told = difference("core.PersistentVolumeSource", held, mine)
        text = f"spec.persistentvolumesource is immutable after creation\n{told}"
        yield forbidden_value("spec.persistentvolumesource", text)
    yield from immutable("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))
    if before.get("nodeAffinity") is not None and not _same_affinity(spec.get("nodeAffinity"), before["nodeAffinity"]):
        text = "field is immutable, except for updating from beta label to GA"
        yield invalid_value("nodeAffinity", spec.get("nodeAffinity"), text)
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        yield forbidden_value("spec.volumeAttributesClassName", "update from non-nil value to nil is forbidden")


_GA_LABELS: Final = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def _same_affinity(mine: Any, held: Any) -> bool:
    """Whether nothing changed but that labels got their newer names."""
    if isinstance(mine, dict) and isinstance(held, dict):
        return mine.keys() == held.keys() and all(_same_affinity(mine[key], held[key]) for key in mine)
    if isinstance(mine, list) and isinstance(held, list):
        return len(mine) == len(held) and all(map(_same_affinity, mine, held))
    return bool(mine == held or (isinstance(held, str) and _GA_LABELS.get(held) == mine))
