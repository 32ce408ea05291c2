"""Where requests go: hosts, paths, classes and canaries of Ingresses."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.cluster.node.network.ingress_rules import Routes, Target, is_ours
from tiphys.cluster.node.network.outside import addressed, load_balancer_address


def ingress(*rules: tuple[str, str, str, str], **annotations: str) -> dict[str, Any]:
    """Each rule: host, path, type of path, service."""
    made = [
        {
            **({"host": host} if host else {}),
            "http": {
                "paths": [
                    {"path": path, "pathType": kind, "backend": {"service": {"name": name, "port": {"number": 80}}}}
                ]
            },
        }
        for host, path, kind, name in rules
    ]
    notes = {f"nginx.ingress.kubernetes.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"metadata": {"name": "i", "namespace": "n", "annotations": notes}, "spec": {"rules": made}}


RULES = (
    ("", "/", "Prefix", "any"),
    ("*.example.com", "/", "Prefix", "wild"),
    ("a.example.com", "/", "Prefix", "a"),
    ("a.example.com", "/api", "Prefix", "api"),
    ("a.example.com", "/api/v1", "Exact", "exact"),
    ("a.example.com", "/api/v1", "Prefix", "deep"),
)


@pytest.mark.parametrize(
    ("host", "path", "service"),
    [
        ("a.example.com", "/", "a"),
        ("A.example.com:8080", "/x", "a"),
        ("a.example.com", "/api", "api"),
        ("a.example.com", "/api/", "api"),
        ("a.example.com", "/apis", "a"),
        ("a.example.com", "/api/v1", "exact"),
        ("a.example.com", "/api/v1/x", "deep"),
        ("b.example.com", "/api", "wild"),
        ("x.b.example.com", "/", "any"),
        ("other", "/", "any"),
    ],
)
def test_the_most_particular_rule_wins(host: str, path: str, service: str) -> None:
    found = Routes([ingress(*RULES)]).find(host, path, {}, 0.0)
    assert found == Target("n", service, 80)


def test_without_a_rule_there_is_no_target() -> None:
    assert Routes([ingress(("a", "/x", "Prefix", "s"))]).find("a", "/y", {}, 0.0) is None


def test_a_default_back_end_takes_what_no_rule_wants() -> None:
    chosen = ingress(("a", "/x", "Prefix", "s"))
    chosen["spec"]["defaultBackend"] = {"service": {"name": "rest", "port": {"name": "http"}}}
    assert Routes([chosen]).find("b", "/", {}, 0.0) == Target("n", "rest", "http")


@pytest.mark.parametrize(
    ("chance", "headers", "service"),
    [
        (0.19, {}, "new"),
        (0.2, {}, "old"),
        (0.9, {"x-canary": "always"}, "new"),
        (0.1, {"x-canary": "never"}, "old"),
    ],
)
def test_a_canary_takes_its_share(chance: float, headers: dict[str, str], service: str) -> None:
    stable = ingress(("a", "/", "Prefix", "old"))
    canary = ingress(("a", "/", "Prefix", "new"), canary="true", canary_weight="20", canary_by_header="X-Canary")
    found = Routes([canary, stable]).find("a", "/", headers, chance)
    assert found is not None and found.service == service


def test_ingresses_of_other_classes_are_left_alone() -> None:
    other = ingress(("a", "/", "Prefix", "s"))
    other["spec"]["ingressClassName"] = "nginx"
    assert not is_ours(other)
    assert Routes([other]).find("a", "/", {}, 0.0) is None


def balancer(**changes: Any) -> dict[str, Any]:
    spec = {"type": "LoadBalancer", "clusterIP": "10.97.4.2", **changes}
    return {"metadata": {"name": "s", "namespace": "n"}, "spec": spec}


def test_a_load_balancer_has_an_address_by_its_cluster() -> None:
    assert load_balancer_address(balancer()) == "127.61.4.2"


def test_only_load_balancers_without_an_address_get_one() -> None:
    told = {**balancer(), "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}}
    for service in (told, balancer(loadBalancerClass="cloud"), balancer(type="ClusterIP"), balancer(clusterIP="None")):
        assert addressed(service) is service
    assert addressed(balancer())["status"] == {"loadBalancer": {"ingress": [{"ip": "127.61.4.2", "ipMode": "VIP"}]}}
