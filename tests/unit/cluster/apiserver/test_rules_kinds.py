"""Built-in kinds besides pods: what is refused, in the original's words (kube-apiserver 1.35)."""

from typing import Any

import pytest

from tiphys.cluster.apiserver.rules import complaints

SERVICE = {
    "clusterIP": "10.96.0.9",
    "clusterIPs": ["10.96.0.9"],
    "internalTrafficPolicy": "Cluster",
    "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    "sessionAffinity": "None",
    "type": "ClusterIP",
}


def found(key: str, obj: dict[str, Any], old: dict[str, Any] | None = None, sub: str = "") -> list[tuple[str, str]]:
    return [(c.field, c.message) for c in complaints(key, {"metadata": {"name": "x"}, **obj}, old, sub)]


@pytest.mark.parametrize(
    ("key", "obj", "field", "message"),
    [
        ("services", {"spec": SERVICE | {"ports": []}}, "spec.ports", "Required value"),
        (
            "services",
            {"spec": SERVICE | {"externalTrafficPolicy": "Local"}},
            "spec.externalTrafficPolicy",
            'Invalid value: "Local": may only be set for externally-accessible services',
        ),
        (
            "priorityclasses.scheduling.k8s.io",
            {"value": 2_000_000_000},
            "value",
            "Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        (
            "secrets",
            {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}},
            "data[tls.key]",
            "Required value",
        ),
        (
            "networkpolicies.networking.k8s.io",
            {"spec": {"podSelector": {}, "ingress": [{"from": [{}]}]}},
            "spec.ingress[0].from[0]",
            "Required value: must specify a peer",
        ),
        (
            "resourcequotas",
            {"spec": {"hard": {"pods": "-1"}}},
            "spec.hard[pods]",
            'Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            "endpoints",
            {"subsets": [{"addresses": [{"ip": "127.0.0.1"}]}]},
            "subsets[0].addresses[0].ip",
            'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
        ),
        (
            "storageclasses.storage.k8s.io",
            {"provisioner": "", "volumeBindingMode": "Immediate"},
            "provisioner",
            "Required value",
        ),
        (
            "leases.coordination.k8s.io",
            {"spec": {"leaseDurationSeconds": 0}},
            "spec.leaseDurationSeconds",
            "Invalid value: 0: must be greater than 0",
        ),
        (
            "rolebindings.rbac.authorization.k8s.io",
            {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "X", "name": "r"}},
            "roleRef.kind",
            'Unsupported value: "X": supported values: "Role", "ClusterRole"',
        ),
    ],
)
def test_a_wrong_object_is_refused(key: str, obj: dict[str, Any], field: str, message: str) -> None:
    assert found(key, obj) == [(field, message)]


def test_a_good_service_is_taken_and_keeps_its_address() -> None:
    assert found("services", {"spec": SERVICE}) == []
    moved = SERVICE | {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"]}
    old = {"metadata": {"name": "x"}, "spec": SERVICE}
    assert found("services", {"spec": moved}, old) == [
        ("spec.clusterIPs[0]", 'Invalid value: ["10.96.0.10"]: may not change once set')
    ]


@pytest.mark.parametrize(("ip", "is_one"), [("127.50.0.2", True), ("127.35.9.9", True), ("127.34.0.2", False)])
def test_pods_of_clusters_without_root_may_be_endpoints(ip: str, is_one: bool) -> None:
    assert (found("endpoints", {"subsets": [{"addresses": [{"ip": ip}]}]}) == []) is is_one


def test_counters_of_a_status_fit_each_other() -> None:
    old = {"metadata": {"name": "x"}, "status": {}}
    assert found("deployments.apps", {"status": {"replicas": 1, "readyReplicas": 2}}, old, "status") == [
        ("status.readyReplicas", "Invalid value: 2: cannot be greater than status.replicas")
    ]
