"""Storage classes, volume attributes classes, attachments, CSI drivers, nodes and capacities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tiphys.api import internal_names
from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.persistent_volumes import volume_spec
from tiphys.cluster.apiserver.rules.sources import csi_driver
from tiphys.cluster.apiserver.rules.values import (
    AT_LEAST_0,
    IMMUTABLE,
    Fields,
    duplicate,
    given_one_of,
    immutable,
    in_form,
    label_key,
    not_negative,
    quantity,
    selector,
    too_long,
)
from tiphys.lang import name_rules
from tiphys.machinery.equality import same

_PARAMETERS_MAX: Final = 512
_BYTES_MAX: Final = 256 * 1024
_ERROR_MAX: Final = 1024
_NODE_ID_MAX: Final = 256


def _provisioner(name: str, at: str) -> Iterator[Complaint]:
    if not name:
        yield required(at)
    for problem in name_rules.qualified_name(name.lower()) if name else ():
        yield invalid_value(at, name.lower(), problem)


def _parameters(given: Fields, *, may_be_empty: bool) -> Iterator[Complaint]:
    if len(given) > _PARAMETERS_MAX:
        yield too_long("parameters", _PARAMETERS_MAX)
        return
    if "" in given:
        yield invalid_value("parameters", "", "field can not be empty.")
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > _BYTES_MAX:
        yield too_long("parameters", _BYTES_MAX)
    if not may_be_empty and not given:
        yield required("parameters", "must contain at least one key/value pair")


def _unchanged(obj: Object, old: Object, *fields: str) -> Iterator[Complaint]:
    for field in fields:
        if not same(obj.get(field) or None, old.get(field) or None):
            yield forbidden_value(field, f"updates to {field} are forbidden.")


def storage_class(obj: Object, old: Object | None) -> Iterator[Complaint]:
    mode = obj.get("volumeBindingMode")
    if old is not None:
        yield from _unchanged(obj, old, "parameters", "provisioner", "reclaimPolicy")
        yield from immutable("volumeBindingMode", mode, old.get("volumeBindingMode"))
        return
    yield from _provisioner(obj.get("provisioner") or "", "provisioner")
    yield from _parameters(obj.get("parameters") or {}, may_be_empty=True)
    if obj.get("reclaimPolicy") and obj["reclaimPolicy"] not in ("Delete", "Retain"):
        yield unsupported("reclaimPolicy", obj["reclaimPolicy"], ("Delete", "Retain"))
    modes = ("Immediate", "WaitForFirstConsumer")
    if mode is None:
        yield required("volumeBindingMode")
    elif mode not in modes:
        yield unsupported("volumeBindingMode", mode, modes)
    yield from _topologies(obj.get("allowedTopologies") or [])


def _topologies(terms: list[Fields]) -> Iterator[Complaint]:
    # The original compares with as many empty terms as there are before its own.
    seen: list[dict[str, set[str]]] = [{} for _ in terms]
    for number, term in enumerate(terms):
        found: dict[str, set[str]] = {}
        for index, each in enumerate(term.get("matchLabelExpressions") or ()):
            at, key, values = f"allowedTopologies[{number}].matchLabelExpressions[{index}]", each.get("key") or "", []
            if not each.get("values"):
                yield required(f"{at}.values")
            for place, value in enumerate(each.get("values") or ()):
                if value in values:
                    yield duplicate(f"{at}.values[{place}]", value)
                values.append(value)
            yield from label_key(key, f"{at}.key")
            if key in found:
                yield duplicate(f"{at}.key", key)
            found[key] = set(values)
        for other in seen:
            if other == found:
                yield duplicate(f"allowedTopologies[{number}].matchLabelExpressions", "")
        seen.append(found)


def attributes_class(obj: Object, old: Object | None) -> Iterator[Complaint]:
    if old is not None:
        yield from _unchanged(obj, old, "driverName", "parameters")
    yield from _provisioner(obj.get("driverName") or "", "driverName")
    yield from _parameters(obj.get("parameters") or {}, may_be_empty=False)


# Attachments


def attachment(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec, source = obj.get("spec") or {}, (obj.get("spec") or {}).get("source") or {}
    if not spec.get("attacher"):
        yield required("spec.attacher")
    inline, name = source.get("inlineVolumeSpec"), source.get("persistentVolumeName")
    text = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    if inline is None and name is None:
        yield required("spec.source", text)
    elif inline is not None and name is not None:
        yield forbidden_value("spec.source", text)
    elif inline is not None:
        yield from volume_spec(inline, "spec.source.inlineVolumeSpec", inline=True)
    elif not name:
        yield required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
    yield from in_form(spec.get("nodeName") or "", "spec.nodeName", name_rules.dns1123_subdomain)
    yield from attachment_status(obj, None)
    if old is None:
        yield from csi_driver(spec.get("attacher") or "", "spec.attacher")
        if name is not None:
            yield from in_form(name, "spec.source.persistentVolumeName", name_rules.dns1123_subdomain)
    elif not same(spec, old.get("spec") or {}):
        yield invalid_value("spec", internal_names.shown("storage.VolumeAttachmentSpec", spec), IMMUTABLE)


def attachment_status(obj: Object, old: Object | None) -> Iterator[Complaint]:
    del old
    status = obj.get("status") or {}
    given = status.get("attachmentMetadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > _BYTES_MAX:
        yield too_long("status.attachmentMetadata", _BYTES_MAX)
    for field in ("attachError", "detachError"):
        error = status.get(field) or {}
        if len((error.get("message") or "").encode()) > _ERROR_MAX:
            yield too_long(f"status.{field}.message", _BYTES_MAX)
        if (error.get("errorCode") or 0) < 0:
            text = "must be between 0 and 2147483647, inclusive"
            yield invalid_value(f"status.{field}.errorCode", error["errorCode"], text)


# CSI


def driver(obj: Object, old: Object | None) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    for field, place in (
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ):
        if spec.get(field) is None:
            yield required(f"spec.{place}")
    yield from given_one_of(spec, "spec", "fsGroupPolicy", ("File", "None", "ReadWriteOnceWithFSType"))
    yield from _token_requests(spec.get("tokenRequests") or [])
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in ("Persistent", "Ephemeral"):
            yield unsupported("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral"))
    if spec.get("seLinuxMount") is None:
        yield required("spec.seLinuxMount")
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < 10:
        text = "must be greater than or equal to 10 seconds"
        yield invalid_value("spec.nodeAllocatableUpdatePeriodSeconds", period, text)
    in_secrets = spec.get("serviceAccountTokenInSecrets")
    if in_secrets is not None and not spec.get("tokenRequests"):
        text = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        yield invalid_value("spec.serviceAccountTokenInSecrets", in_secrets, text)
    if old is not None:
        before = old.get("spec") or {}
        for field, place in (
            ("attachRequired", "attachedRequired"),
            ("volumeLifecycleModes", "volumeLifecycleModes"),
        ):
            if not same(spec.get(field), before.get(field)):
                yield invalid_value(f"spec.{place}", spec.get(field), IMMUTABLE)


def _token_requests(requests: list[Fields]) -> Iterator[Complaint]:
    seen: set[str] = set()
    for number, each in enumerate(requests):
        at, audience, seconds = (
            f"spec.tokenRequests[{number}]",
            each.get("audience") or "",
            each.get("expirationSeconds"),
        )
        if audience in seen:
            yield duplicate(f"{at}.audience", audience)
            continue
        seen.add(audience)
        if seconds is not None and seconds < 600:
            text = "may not specify a duration less than 10 minutes"
            yield invalid_value(f"{at}.expirationSeconds", seconds, text)
        if seconds is not None and seconds > 1 << 32:
            text = "may not specify a duration larger than 2^32 seconds"
            yield invalid_value(f"{at}.expirationSeconds", seconds, text)


def node(obj: Object, old: Object | None) -> Iterator[Complaint]:
    drivers = (obj.get("spec") or {}).get("drivers") or []
    names: set[str] = set()
    for number, each in enumerate(drivers):
        yield from _node_driver(each, f"spec.drivers[{number}]", names)
    for before in ((old or {}).get("spec") or {}).get("drivers") or ():
        for each in drivers:
            if each.get("name") == before.get("name") and not same(_fixed(each), _fixed(before)):
                told = internal_names.shown("storage.CSINodeDriver", _fixed(each))
                yield invalid_value("spec.drivers", told, IMMUTABLE)


def _fixed(each: Fields) -> dict[str, Any]:
    return {key: value for key, value in each.items() if key != "allocatable"}


def _node_driver(each: Fields, at: str, names: set[str]) -> Iterator[Complaint]:
    name, node_id = each.get("name") or "", each.get("nodeID") or ""
    yield from csi_driver(name, f"{at}.name")
    if not node_id:
        yield required(f"{at}.nodeID")
    if len(node_id.encode()) > _NODE_ID_MAX:
        yield invalid_value(f"{at}.nodeID", node_id, f"must be {_NODE_ID_MAX} characters or less")
    yield from not_negative(each.get("allocatable") or {}, f"{at}.allocatable", "count")
    if name in names:
        yield duplicate(f"{at}.name", name)
    names.add(name)
    keys: set[str] = set()
    for key in each.get("topologyKeys") or ():
        if not key:
            yield required(at)
        if key in keys:
            yield duplicate(at, key)
        keys.add(key)
        yield from in_form(key, at, name_rules.qualified_name)


def capacity(obj: Object, old: Object | None) -> Iterator[Complaint]:
    if old is not None:
        if not same(obj.get("nodeTopology"), old.get("nodeTopology")):
            yield invalid_value("nodeTopology", obj.get("nodeTopology"), IMMUTABLE)
        if obj.get("storageClassName") != old.get("storageClassName"):
            yield invalid_value("storageClassName", obj.get("storageClassName"), IMMUTABLE)
        return
    yield from selector(obj.get("nodeTopology"), "nodeTopology")
    yield from in_form(obj.get("storageClassName") or "", "storageClassName", name_rules.dns1123_subdomain)
    if obj.get("capacity") is not None and quantity(obj["capacity"]).sign < 0:
        yield invalid_value("capacity", str(quantity(obj["capacity"])), AT_LEAST_0)
