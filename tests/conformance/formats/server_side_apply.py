"""golden/kube server-side-apply: steps of apply, update and merge on one object, and its owners after each.

A target is a built-in kind (recognised by its apiVersion and kind) or a custom resource whose schema the row named
``_schemas`` holds under the target's name (null: no schema, everything is deduced). Left out on purpose: the order of
conflict causes, which is random in the original and sorted in the recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.conformance.golden import Format, Row, Sample
from tiphys.api import defaults, kube_types
from tiphys.machinery.errors import ApiError
from tiphys.machinery.patches import merge as merge_patch
from tiphys.machinery.ssa import DEDUCED, FieldManager, SchemaType, from_openapi, upgrade_client_side_apply
from tiphys.machinery.ssa.values import TypeMismatch

Object = dict[str, Any]


def recognises(sample: Sample) -> bool:
    row = next((r for r in sample.rows if not str(r.get("name", "")).startswith("_")), {})
    return {"target", "steps", "results"} <= row.keys()


def judge(sample: Sample) -> Iterator[Row]:
    shared: Object = next((row for row in sample.rows if row["name"] == "_schemas"), {})
    for row in sample.rows:
        if not row["name"].startswith("_"):
            got = list(play(row, shared))
            yield Row(row["name"], got == row["results"], row["results"], got)


def play(row: Object, shared: Object) -> Iterator[Object]:
    live: Object | None = None
    for number, step in enumerate(row["steps"]):
        now = f"2024-01-01T00:00:0{number}Z"
        try:
            after = take(row, shared, live, step, now)
        except ApiError as err:
            yield failure(err)
            continue
        except TypeMismatch as err:
            kind = f"{row['apiVersion'] if '/' in row['apiVersion'] else '/' + row['apiVersion']}, Kind={row['kind']}"
            yield {"error": f"failed to create typed patch object (default/x; {kind}): {err}"}
            continue
        result = recorded(after)
        if step["op"] == "csaUpgrade":
            before = (live or {})["metadata"]["managedFields"]
            if before != after["metadata"]["managedFields"]:
                result["jsonPatch"] = [
                    {"op": "replace", "path": "/metadata/managedFields", "value": after["metadata"]["managedFields"]},
                    {"op": "replace", "path": "/metadata/resourceVersion", "value": ""},
                ]
        live = after
        yield result


def take(row: Object, shared: Object, live: Object | None, step: Object, now: str) -> Object:
    manager = field_manager(row, shared, step.get("sub", ""))
    sent = completed(step.get("obj") or {}, row)
    if step["op"] in ("apply", "forceApply"):
        return manager.apply(live, sent, step["manager"], now, force=step["op"] == "forceApply")
    if step["op"] == "csaUpgrade":
        entries = (live or {})["metadata"]["managedFields"]
        entries = upgrade_client_side_apply(entries, set(step["csaManagers"]), step["manager"])
        return (live or {}) | {"metadata": (live or {})["metadata"] | {"managedFields": entries}}
    if step["op"] == "merge":
        sent = merge_patch.apply(live or completed({}, row), step["obj"])
    if "managedFields" in step:
        sent = sent | {"metadata": sent["metadata"] | {"managedFields": step["managedFields"]}}
    return manager.update(live, manager.normalise(sent), step["manager"], now)


def field_manager(row: Object, shared: Object, subresource: str) -> FieldManager:
    version, target = row["apiVersion"], row["target"]
    custom = target in shared
    kind = custom_type(shared[target]) if custom else kube_types.merge_type(version, row["kind"])
    return FieldManager(
        version,
        row["kind"],
        lambda wanted: kind if wanted == version else None,
        subresource,
        reset_fields(row["kind"], custom, subresource),
        (lambda obj: obj) if custom else defaults.stored,
        {} if custom else defaults.empty(version, row["kind"]),
    )


def custom_type(schema: Object | None) -> SchemaType:
    if schema is None:
        return DEDUCED
    meta = {"$ref": "/ObjectMeta"}
    properties = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": meta}
    whole = schema | {"properties": schema.get("properties", {}) | properties}
    return from_openapi(whole, lambda _: kube_types.merge_type("v1", "ConfigMap").map.type_of("metadata"))  # type: ignore[union-attr,return-value,arg-type]


def reset_fields(kind: str, custom: bool, subresource: str) -> Object:
    if kind in ("ConfigMap", "Secret", "ServiceAccount"):
        return {}
    if subresource == "status":
        return {"f:spec": {}, "f:metadata": {} if custom else {"f:labels": {}}}
    return {} if subresource else {"f:status": {}}


def completed(obj: Object, row: Object) -> Object:
    meta = {"name": "x", "namespace": "default"} | obj.get("metadata", {})
    return {"apiVersion": row["apiVersion"], "kind": row["kind"]} | obj | {"metadata": meta}


def recorded(obj: Object) -> Object:
    meta = obj["metadata"]
    live = obj | {"metadata": {k: v for k, v in meta.items() if k != "managedFields"}}
    return {"live": live, "managedFields": meta.get("managedFields")}


def failure(err: ApiError) -> Object:
    out: Object = {"error": err.message, "reason": err.reason, "code": err.code}
    if causes := err.details.get("causes"):
        out["causes"] = sorted(causes, key=lambda c: (c["message"], c["field"]))
    return out


FORMATS = (Format("server-side-apply", recognises, judge),)
