"""Ownership of fields: the rules a reader should know, as examples. ``golden/kube`` judges the rest."""

from typing import Any

import pytest

from tiphys.machinery.errors import BadRequest, Conflict
from tiphys.machinery.ssa import FieldManager, SchemaType, from_openapi, upgrade_client_side_apply
from tiphys.machinery.ssa.fieldsets import difference, intersection, paths, recursive_difference, union

SCHEMA = from_openapi(
    {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer"},
                    "ports": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port"],
                        "items": {
                            "type": "object",
                            "properties": {"port": {"type": "integer"}, "name": {"type": "string"}},
                        },
                    },
                },
            },
        },
    }
)
MANAGER = FieldManager("x.io/v1", "Thing", lambda version: SCHEMA if version == "x.io/v1" else None)
NOW = "2026-01-01T00:00:00Z"


def thing(**spec: object) -> dict[str, object]:
    return {"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": spec}


def owners(obj: dict[str, dict[str, list[dict[str, object]]]]) -> dict[object, object]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


def test_a_field_of_another_applier_is_a_conflict_unless_forced() -> None:
    live = MANAGER.apply(None, thing(size=1), "alice", NOW)
    with pytest.raises(Conflict, match=r"Apply failed with 1 conflict: conflict with \"alice\": \.spec\.size"):
        MANAGER.apply(live, thing(size=2), "bob", NOW)
    forced = MANAGER.apply(live, thing(size=2), "bob", NOW, force=True)
    assert forced["spec"] == {"size": 2}
    assert owners(forced) == {"bob": {"f:spec": {"f:size": {}}}}


def test_what_an_applier_no_longer_names_goes_unless_another_owns_it() -> None:
    live = MANAGER.apply(None, thing(ports=[{"port": 80}, {"port": 81}]), "alice", NOW)
    live = MANAGER.apply(live, thing(ports=[{"port": 81, "name": "b"}]), "bob", NOW)
    left = MANAGER.apply(live, thing(), "alice", NOW)
    assert left["spec"] == {"ports": [{"port": 81, "name": "b"}]}


def test_an_apply_that_changes_nothing_keeps_its_time() -> None:
    live = MANAGER.apply(None, thing(size=1), "alice", NOW)
    again = MANAGER.apply(live, thing(size=1), "alice", "2027-01-01T00:00:00Z")
    assert again == live


def test_an_update_takes_what_it_changes() -> None:
    live = MANAGER.apply(None, thing(size=1), "alice", NOW)
    updated = MANAGER.update(live, {**live, "spec": {"size": 5}}, "kubectl", NOW)
    assert owners(updated) == {"kubectl": {"f:spec": {"f:size": {}}}}


def typed(*fields: str) -> SchemaType:
    """A kind whose spec has these fields, numbers."""
    spec = {"type": "object", "properties": {name: {"type": "integer"} for name in fields}}
    meta = {"type": "object", "properties": {name: {"type": "string"} for name in ("name", "uid")}}
    text = {"type": "string"}
    properties = {"apiVersion": text, "kind": text, "metadata": meta, "spec": spec}
    return from_openapi({"type": "object", "properties": properties}, lambda name: SCHEMA)


def seen_as_v2(obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "apiVersion": "x.io/v2", "metadata": {**obj["metadata"], "uid": "1"}}


def test_an_owner_of_another_version_keeps_what_that_version_does_not_see_changed() -> None:
    types = {"x.io/v1": typed("size"), "x.io/v2": typed("size")}
    v1, v2 = (FieldManager(version, "Thing", types.get) for version in types)
    live = seen_as_v2(v1.update(None, thing(size=1), "alice", NOW))
    assert owners(v2.update(live, live, "bob", NOW)) == {"alice": {"f:spec": {".": {}, "f:size": {}}}}
    changed = v2.update(live, {**live, "spec": {"size": 2}}, "bob", NOW)
    assert owners(changed) == {"alice": {"f:spec": {}}, "bob": {"f:spec": {"f:size": {}}}}


def test_a_field_that_the_version_of_another_owner_does_not_know_ends_all_ownership() -> None:
    types = {"x.io/v1": typed("size"), "x.io/v2": typed("size", "depth")}
    v1, v2 = (FieldManager(version, "Thing", types.get) for version in types)
    live = seen_as_v2(v1.update(None, thing(size=1), "alice", NOW))
    changed = v2.update(live, {**live, "spec": {"size": 1, "depth": 2}}, "bob", NOW)
    assert "managedFields" not in changed["metadata"]


def test_a_wrong_kind_and_managed_fields_in_an_apply_are_refused() -> None:
    with pytest.raises(BadRequest, match=r"invalid object type: x\.io/v1, Kind=Other"):
        MANAGER.apply(None, {**thing(), "kind": "Other"}, "alice", NOW)
    with pytest.raises(BadRequest, match="managedFields must be nil"):
        MANAGER.apply(None, {**thing(), "metadata": {"name": "a", "managedFields": []}}, "alice", NOW)


def test_client_side_owners_become_the_applier() -> None:
    old = {"manager": "kubectl-client-side-apply", "operation": "Update", "fieldsV1": {"f:spec": {"f:size": {}}}}
    upgraded = upgrade_client_side_apply([old], {"kubectl-client-side-apply"}, "kubectl")
    assert upgraded == [{"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:size": {}}}}]


def test_sets_of_fields_know_parents_from_children() -> None:
    both = {"f:a": {".": {}, "f:b": {}}}
    assert difference(both, {"f:a": {}}) == {"f:a": {"f:b": {}}}
    assert recursive_difference(both, {"f:a": {}}) == {}
    assert union({"f:a": {}}, {"f:a": {"f:b": {}}}) == both
    assert intersection(both, {"f:a": {"f:b": {}}}) == {"f:a": {"f:b": {}}}
    assert list(paths(both)) == [("f:a",), ("f:a", "f:b")]
