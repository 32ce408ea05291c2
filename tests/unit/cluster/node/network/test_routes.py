"""Services and slices as forwards, rule sets and names."""

from __future__ import annotations

import shutil
import subprocess
from ipaddress import IPv4Network
from typing import Any

import pytest

from tiphys.cluster.node.network.dns_messages import CNAME, NO_SUCH_NAME, PTR, SRV, A, Question
from tiphys.cluster.node.network.names import Names
from tiphys.cluster.node.network.nftables import rule_set
from tiphys.cluster.node.network.routes import Endpoint, Forward, forwards


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    given = {"clusterIP": "10.96.0.5", "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec}
    return {"metadata": {"name": name, "namespace": "ns"}, "spec": given}


def backends(*endpoints: dict[str, Any], name: str = "web", port: int = 8080) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{name}-x", "namespace": "ns", "labels": {"kubernetes.io/service-name": name}},
        "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def at(address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "nodeName": "here"}


def test_ready_back_ends_serve() -> None:
    slices = [backends(at("10.1.0.2", ready=True), at("10.1.0.3", ready=False), at("10.1.0.1"))]
    found = forwards([service()], slices, "here")
    assert [one.endpoints for one in found] == [(Endpoint("10.1.0.1", 8080), Endpoint("10.1.0.2", 8080))]


def test_those_that_end_serve_while_no_other_does() -> None:
    ending = at("10.1.0.3", ready=False, serving=True, terminating=True)
    found = forwards([service()], [backends(ending, at("10.1.0.4", ready=False))], "here")
    assert found[0].endpoints == (Endpoint("10.1.0.3", 8080),)


def test_local_policies_keep_to_the_node() -> None:
    away = {**at("10.1.0.9", ready=True), "nodeName": "away"}
    wanted = service(
        type="NodePort",
        ports=[{"name": "http", "port": 80, "nodePort": 30080}],
        externalTrafficPolicy="Local",
        sessionAffinity="ClientIP",
    )
    node_port, inside = forwards([wanted], [backends(away, at("10.1.0.1", ready=True))], "here")
    assert (node_port.address, node_port.port, len(node_port.endpoints)) == ("", 30080, 1)
    assert len(inside.endpoints) == 2 and inside.affinity == 10800


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName", "clusterIP": ""}])
def test_services_without_an_address_forward_nothing(spec: dict[str, Any]) -> None:
    assert forwards([service(**spec)], [], "here") == ()


@pytest.mark.parametrize(("kind", "address"), [("IPv6", "fd00::1"), ("FQDN", "example.com")])
def test_other_addresses_than_of_ipv4_are_left_out(kind: str, address: str) -> None:
    strange = {**backends(at(address, ready=True)), "addressType": kind}
    wanted = service(externalIPs=["fd00::5", "192.0.2.5"])
    wanted["status"] = {"loadBalancer": {"ingress": [{"ip": "fd00::6"}]}}
    found = forwards([wanted], [strange, backends(at("10.1.0.1", ready=True))], "here")
    assert [one.address for one in found] == ["10.96.0.5", "192.0.2.5"]
    assert all(one.endpoints == (Endpoint("10.1.0.1", 8080),) for one in found)


@pytest.mark.skipif(not shutil.which("nft"), reason="nft is not installed")
def test_the_kernel_understands_the_rules() -> None:
    two = (Endpoint("10.1.0.1", 80), Endpoint("10.1.0.2", 80))
    rules = rule_set(
        "tiphys-test",
        [
            Forward("10.96.0.1", 80, "TCP", two, 0, 'n/"s":80'),
            Forward("10.96.0.2", 53, "UDP", two, 60, "n/dns:53"),
            Forward("", 30080, "TCP", two[:1], 0, "n/p:1"),
            Forward("10.96.0.3", 80, "TCP", (), 0, "n/none:80"),
        ],
        IPv4Network("10.0.0.0/8"),
        "tiphys0",
    )
    checked = subprocess.run(["nft", "-c", "-f", "-"], input=rules, text=True, capture_output=True, check=False)
    if "Operation not permitted" in checked.stderr:
        pytest.skip("checking rules needs more rights than this machine gives")
    assert checked.returncode == 0, checked.stderr


def test_names_of_an_addressed_service() -> None:
    names = Names([service()], [])
    base = "web.ns.svc.cluster.local"
    assert [one.data for one in answered(names, base, A)] == ["10.96.0.5"]
    assert [one.data for one in answered(names, f"_http._tcp.{base}", SRV)] == [(0, 100, 80, base)]
    assert [one.data for one in answered(names, "5.0.96.10.in-addr.arpa", PTR)] == [base]
    assert answered(names, "ns.svc.cluster.local", A) == []


def test_names_of_a_headless_service() -> None:
    endpoint = {**at("10.1.0.1", ready=True), "hostname": "web-0"}
    names = Names([service(clusterIP="None")], [backends(endpoint, at("10.1.0.2", ready=False))])
    base = "web.ns.svc.cluster.local"
    assert [one.data for one in answered(names, base, A)] == ["10.1.0.1"]
    assert [one.data for one in answered(names, f"web-0.{base}", A)] == ["10.1.0.1"]
    found = names.answer(Question(f"_http._tcp.{base}", SRV))
    assert found is not None and [one.data for one in found.extra] == ["10.1.0.1"]
    assert [one.data for one in answered(names, "1.0.1.10.in-addr.arpa", PTR)] == [f"web-0.{base}"]


def test_a_headless_service_of_other_names_has_no_address() -> None:
    slices = [{**backends(at("example.com", ready=True)), "addressType": "FQDN"}, backends(at("10.1.0.1", ready=True))]
    names = Names([service(clusterIP="None")], slices)
    assert [one.data for one in answered(names, "web.ns.svc.cluster.local", A)] == ["10.1.0.1"]


def test_other_names() -> None:
    names = Names([service("ext", type="ExternalName", externalName="Example.com.", clusterIP="")], [])
    assert [(one.type, one.data) for one in answered(names, "ext.ns.svc.cluster.local", A)] == [(CNAME, "example.com")]
    assert [one.data for one in answered(names, "10-1-2-3.ns.pod.cluster.local", A)] == ["10.1.2.3"]
    missing = names.answer(Question("none.ns.svc.cluster.local", A))
    assert missing is not None and missing.code == NO_SUCH_NAME
    assert names.answer(Question("example.com", A)) is None


def answered(names: Names, name: str, kind: int) -> list[Any]:
    found = names.answer(Question(name, kind))
    assert found is not None and found.code == 0, name
    return list(found.records)
