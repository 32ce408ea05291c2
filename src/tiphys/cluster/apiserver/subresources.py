"""The subresources that are more than a part of their object: scale, binding, eviction, finalize.

``status`` needs nothing here: it is the object itself under other rules (``verbs.py``). Streams (log, exec …) are in
``streams.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tiphys.cluster.apiserver import evictions, scales
from tiphys.cluster.apiserver.deletion import DeleteOptions
from tiphys.cluster.apiserver.problems import bad_request, conflict, invalid, invalid_object, invalid_value, required
from tiphys.cluster.apiserver.record import Object, Record
from tiphys.cluster.apiserver.registry import ResourceInfo
from tiphys.cluster.apiserver.verbs import Target, Verbs, WriteOptions
from tiphys.machinery.errors import InternalError
from tiphys.machinery.selectors import from_structured
from tiphys.machinery.times import to_time

TOPOLOGY_LABELS: Final = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")
SUCCESS: Final[dict[str, Any]] = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}


def scale_of(info: ResourceInfo, obj: Object, *, to_change: bool = False) -> Object:
    """The ``autoscaling/v1`` Scale that an object shows; a custom one without replicas has one only ``to_change``."""
    meta = {
        key: obj["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in obj["metadata"]
    }
    paths = _scale_paths(info)
    replicas = _at(obj, paths["specReplicasPath"])
    if replicas is None and info.custom is not None and not to_change:
        text = f'the spec replicas field "{paths["specReplicasPath"]}" does not exist'
        raise InternalError(f"Internal error occurred: {text}", {"causes": [{"message": text}]})
    status: dict[str, Any] = {"replicas": _at(obj, paths["statusReplicasPath"]) or 0}
    selector = _selector_text(info, obj, paths)
    if selector:
        status["selector"] = selector
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}


def with_scale(info: ResourceInfo, obj: Object, scale: Mapping[str, Any]) -> Object:
    """``obj`` with the replicas that ``scale`` asks for; raises BadRequest or Invalid."""
    spec = scale.get("spec") or {}
    if not isinstance(spec, Mapping):
        raise bad_request("the patched Scale has no spec")
    replicas = spec.get("replicas") or 0
    if not isinstance(replicas, int) or replicas < 0:
        name = obj["metadata"]["name"]
        if info.custom is not None:
            place = _scale_paths(info)["specReplicasPath"]
            raise invalid_object(info, name, [invalid_value(place, replicas, "should be a non-negative integer")])
        text = "must be greater than or equal to 0"
        raise invalid("Scale", "autoscaling", name, [invalid_value("spec.replicas", replicas, text)])
    meta = dict(obj["metadata"])
    if (scale.get("metadata") or {}).get("resourceVersion"):
        meta["resourceVersion"] = scale["metadata"]["resourceVersion"]
    steps = _scale_paths(info)["specReplicasPath"].strip(".").split(".")
    return _with(obj, steps, replicas) | {"metadata": meta}


def with_applied_scale(info: ResourceInfo, obj: Object, patch: Object, who: str, now: str, *, force: bool) -> Object:
    """``obj`` after a server-side apply of its Scale; raises BadRequest, Conflict or Invalid."""
    steps = _scale_paths(info)["specReplicasPath"].strip(".").split(".")
    owners = obj["metadata"].get("managedFields") or []
    shown = scale_of(info, obj, to_change=True)
    scale = scales.applied(shown, owners, patch, steps, who, now, force=force)
    changed = with_scale(info, obj, scale)
    entries = scales.owners_of_object(owners, scale, steps, info.resource.api_version)
    return changed | {"metadata": changed["metadata"] | {"managedFields": entries}}


async def bind(verbs: Verbs, target: Target, body: Mapping[str, Any], options: WriteOptions) -> None:
    """Puts a pod on a node (POST ``pods/x/binding``), once."""
    node = (body.get("target") or {}).get("name")
    if not node:
        raise invalid("Binding", "", target.name or "", [required("target.name")])

    def change(pod: Object) -> Object:
        meta, spec = pod["metadata"], pod.get("spec") or {}
        if meta.get("deletionTimestamp"):
            why = f"pod {target.name} is being deleted, cannot be assigned to a host"
            raise conflict(target.info, target.name or "", why)
        if spec.get("nodeName"):
            why = f'pod {target.name} is already assigned to node "{spec["nodeName"]}"'
            raise conflict(target.info, target.name or "", why)
        now = to_time(verbs.clock.now())
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
        status = pod.get("status") or {}
        others = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
        labels = (meta.get("labels") or {}) | place_of(verbs, node)
        return pod | {
            "metadata": meta | ({"labels": labels} if labels else {}),
            "spec": spec | {"nodeName": node},
            "status": status | {"conditions": [*others, scheduled]},
        }

    # A binding is an object of its own: whoever makes it does not own the pod's fields.
    unowned = replace(options, manager="")
    await verbs.change(Target(target.info, target.namespace, target.name, "binding"), change, unowned)


def place_of(verbs: Verbs, node: str) -> dict[str, str]:
    """The labels that a pod gets from its node (admission plugin PodTopologyLabels)."""
    record = verbs.store.latest("nodes", node)
    labels = (verbs.store.view(record)["metadata"].get("labels") or {}) if record is not None else {}
    return {key: labels[key] for key in TOPOLOGY_LABELS if key in labels}


async def evict(verbs: Verbs, target: Target, body: Mapping[str, Any]) -> None:
    """Deletes a pod as its eviction asks (POST ``pods/x/eviction``), where its disruption budget lets it go."""
    name = (body.get("metadata") or {}).get("name") or target.name
    if name != target.name:
        raise bad_request("name in URL does not match name in Eviction object")
    options = DeleteOptions.parse(body.get("deleteOptions"), {})
    pod = verbs.get(Target(target.info, target.namespace, target.name)).view
    if not options.dry_run and evictions.is_counted(pod):
        await evictions.take_from_budget(verbs, target, pod)
    await verbs.delete(target, options)


async def finalize(verbs: Verbs, target: Target, body: Mapping[str, Any], options: WriteOptions) -> Record:
    """Sets a namespace's own finalizers (PUT ``namespaces/x/finalize``); without any a terminating one is removed."""
    finalizers = list((body.get("spec") or {}).get("finalizers") or ())

    def change(namespace: Object) -> Object:
        spec = {key: value for key, value in (namespace.get("spec") or {}).items() if key != "finalizers"}
        meta = dict(namespace["metadata"])
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version:
            meta["resourceVersion"] = version
        return namespace | {"metadata": meta, "spec": spec | ({"finalizers": finalizers} if finalizers else {})}

    return await verbs.change(Target(target.info, None, target.name, "finalize"), change, options)


def with_part(subresource: str, old: Object, wanted: Mapping[str, Any]) -> Object:
    """``old`` with the fields that belong to the subresource taken from ``wanted``."""
    outer, inner = _PARTS[subresource]
    meta = old["metadata"] | {"resourceVersion": (wanted.get("metadata") or {}).get("resourceVersion", "")}
    value = (wanted.get(outer) or {}).get(inner)
    holder = {key: held for key, held in (old.get(outer) or {}).items() if key != inner}
    if subresource == "resize":
        value = _resized((old.get(outer) or {}).get(inner) or [], value or [])
    return old | {"metadata": meta, outer: holder if value is None else holder | {inner: value}}


_PARTS: Final = {
    "ephemeralcontainers": ("spec", "ephemeralContainers"),
    "resize": ("spec", "containers"),
    "approval": ("status", "conditions"),
}


def _resized(old: list[Any], wanted: list[Any]) -> list[Any]:
    """The old containers with the resources (and resize policies) of the wanted ones of the same name."""
    new = {container.get("name"): container for container in wanted}
    parts = ("resources", "resizePolicy")
    return [
        container | {key: new[container["name"]][key] for key in parts if key in new.get(container["name"], {})}
        for container in old
    ]


# Built-in scalable kinds all look like this.
_BUILTIN_PATHS: Final = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def _scale_paths(info: ResourceInfo) -> Mapping[str, str]:
    if info.custom is None:
        return _BUILTIN_PATHS
    paths: Mapping[str, str] = info.custom["subresources"]["scale"]
    return paths


def _selector_text(info: ResourceInfo, obj: Object, paths: Mapping[str, str]) -> str:
    if info.custom is not None:
        return str(_at(obj, paths.get("labelSelectorPath", "")) or "")
    selector = (obj.get("spec") or {}).get("selector") or {}
    if info.resource.plural == "replicationcontrollers":
        return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    return str(from_structured(selector)) if selector else ""


def _at(obj: Any, path: str) -> Any:
    for step in path.strip(".").split("."):
        obj = obj.get(step) if isinstance(obj, Mapping) else None
    return obj


def _with(obj: Mapping[str, Any], steps: list[str], value: Any) -> Object:
    if len(steps) == 1:
        return {**obj, steps[0]: value}
    inner = obj.get(steps[0])
    return {**obj, steps[0]: _with(inner if isinstance(inner, Mapping) else {}, steps[1:], value)}
