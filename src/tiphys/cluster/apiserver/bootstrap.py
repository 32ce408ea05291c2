"""What a fresh cluster holds besides its namespaces: the first roles and bindings, the Service of the server itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from ipaddress import IPv4Network
from typing import Any, Final

import orjson

from tiphys.cluster.apiserver.record import Object
from tiphys.machinery.ssa.fieldsets import FieldSet, ordered

RBAC: Final = "rbac.authorization.k8s.io"
API_PORT: Final = 16443
_LABELS: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_ANNOTATIONS: Final = {"rbac.authorization.kubernetes.io/autoupdate": "true"}
FIRST_BINDINGS: Final = (
    ("cluster-admin", ("system:masters",)),
    ("system:basic-user", ("system:authenticated",)),
    ("system:discovery", ("system:authenticated",)),
    ("system:public-info-viewer", ("system:authenticated", "system:unauthenticated")),
)
MANAGER: Final = "kube-apiserver"
_AGGREGATOR: Final = "clusterrole-aggregation-controller"


def first_roles() -> Iterator[tuple[str, Object]]:
    """The roles and bindings that every cluster has, each with the plural of its kind: those for users, and those that
    the server's own parts and the known add-ons have elsewhere (``data/system_roles.json``, a record of Kubernetes'
    bootstrap policy)."""
    data = resources.files("tiphys.cluster.apiserver").joinpath("data")
    for role in orjson.loads(data.joinpath("cluster_roles.json").read_bytes()):
        yield "clusterroles", role
    for name, groups in FIRST_BINDINGS:
        yield "clusterrolebindings", _first_binding(name, groups)
    for obj in orjson.loads(data.joinpath("system_roles.json").read_bytes())["objects"]:
        plural = f"{obj.pop('kind').lower()}s"
        marked = {"labels": dict(_LABELS), "annotations": dict(_ANNOTATIONS)}
        yield plural, obj | {"metadata": obj["metadata"] | marked}


def _first_binding(name: str, groups: Sequence[str]) -> Object:
    """Who has the cluster role of this name from the beginning."""
    return {
        "metadata": {"name": name, "labels": dict(_LABELS), "annotations": dict(_ANNOTATIONS)},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "Group", "name": group} for group in groups],
    }


def own_service(network: IPv4Network) -> Object:
    """The Service ``kubernetes``, by which pods reach the server: it has the first address of Services."""
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": str(network[1]),
            "internalTrafficPolicy": "Cluster",
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": API_PORT}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }


def with_first_owners(version: str, obj: Object, now: str, manager: str = MANAGER) -> Object:
    """An object as the server itself would have made it. The rules of aggregated roles are their controller's."""
    aggregated = "aggregationRule" in obj
    parts = {field: obj[field] for field in obj if field not in ("metadata", "kind", "apiVersion")}
    if aggregated:
        parts = {"aggregationRule": parts["aggregationRule"]}
    meta = {field: obj["metadata"][field] for field in ("annotations", "labels") if field in obj["metadata"]}
    owners = [_entry(manager, "Update", version, now, _owned({"metadata": meta} | parts))]
    if aggregated:
        owners.insert(0, _entry(_AGGREGATOR, "Apply", version, now, {"f:rules": {}}))
    return obj | {"metadata": obj["metadata"] | {"managedFields": owners}}


def _entry(manager: str, operation: str, version: str, now: str, fields: FieldSet) -> dict[str, Any]:
    entry = {"manager": manager, "operation": operation, "apiVersion": version, "time": now}
    return entry | {"fieldsType": "FieldsV1", "fieldsV1": ordered(fields)}


_ATOMIC: Final = ("rules", "roleRef", "subjects", "clusterRoleSelectors")
# What an object of these kinds has even when it says nothing is not owned itself, only what is in it.
_NEVER_ABSENT: Final = ("metadata", "spec", "priorityLevelConfiguration")


def _owned(value: Mapping[str, Any]) -> FieldSet:
    """The fields of a value; those of lists by the keys that ports have."""
    found: FieldSet = {}
    for key, member in value.items():
        if key in _ATOMIC or not isinstance(member, dict | list):
            found[f"f:{key}"] = {}
        elif isinstance(member, dict):
            whole: FieldSet = {} if key in _NEVER_ABSENT else {".": {}}
            found[f"f:{key}"] = whole | _owned(member)
        else:
            found[f"f:{key}"] = {".": {}} | {
                f'k:{{"port":{item["port"]},"protocol":"{item["protocol"]}"}}': {".": {}} | _owned(item)
                for item in member
            }
    return found
