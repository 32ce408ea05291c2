"""What NetworkPolicies mean for addresses, and what the kernel is told of it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

import pytest

from tiphys.cluster.node.network.policies import (
    ANY_PORT,
    ANYWHERE,
    Allowance,
    Block,
    Isolation,
    Member,
    Ports,
    isolations,
    member,
)
from tiphys.cluster.node.network.policy_rules import policy_rules, script

WEB = Member("shop", {"app": "web"}, "10.1.0.1", {("http", "TCP"): 8080})
DB = Member("shop", {"app": "db", "tier": "back"}, "10.1.0.2", {("http", "TCP"): 9090})
ODD = Member("other", {"app": "web"}, "10.1.0.3", {})
NAMESPACES: Mapping[str, Mapping[str, str]] = {"shop": {"team": "a"}, "other": {"team": "b"}}


def policy(namespace: str = "shop", app: str = "web", **spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": app}} if app else {}
    return {"metadata": {"name": "p", "namespace": namespace}, "spec": {"podSelector": selector, **spec}}


def found(*policies: dict[str, Any]) -> tuple[Isolation, ...]:
    return isolations(policies, [WEB, DB, ODD], NAMESPACES)


def ingress(**rule: Any) -> tuple[Allowance, ...]:
    """What the rule allows towards WEB."""
    (one,) = found(policy(ingress=[rule]))
    assert (one.address, one.direction) == (WEB.address, "ingress")
    return one.allowances


def egress(**rule: Any) -> tuple[Allowance, ...]:
    (one,) = found(policy(policyTypes=["Egress"], egress=[rule]))
    assert (one.address, one.direction) == (WEB.address, "egress")
    return one.allowances


def at(*addresses: str) -> tuple[Block, ...]:
    return tuple(Block(address) for address in addresses)


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, ["ingress"]),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.9.0.0/16"}}]}]}, ["egress", "ingress"]),
        ({"egress": []}, ["ingress"]),
        ({"policyTypes": ["Egress"]}, ["egress"]),
        ({"policyTypes": ["Egress"], "ingress": [{}]}, ["egress"]),
        ({"policyTypes": ["Ingress", "Egress"]}, ["egress", "ingress"]),
    ],
)
def test_which_directions_a_policy_isolates(spec: dict[str, Any], directions: list[str]) -> None:
    assert [one.direction for one in found(policy(**spec))] == directions


def test_an_empty_selector_isolates_all_pods_of_its_namespace_and_only_those() -> None:
    assert found(policy(app="")) == (Isolation(WEB.address, "ingress"), Isolation(DB.address, "ingress"))


def test_a_rule_of_nothing_allows_everything() -> None:
    assert found(policy(ingress=[{}])) == ()


def test_policies_add_up() -> None:
    from_db = policy(ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "db"}}}]}])
    on_80 = policy(ingress=[{"ports": [{"port": 80}]}])
    (one,) = found(policy(), from_db, on_80)
    assert set(one.allowances) == {
        Allowance(at(DB.address), (ANY_PORT,)),
        Allowance((ANYWHERE,), (Ports("TCP", 80, 80),)),
    }
    assert found(policy(), from_db, policy(ingress=[{}])) == ()


@pytest.mark.parametrize(
    ("peer", "addresses"),
    [
        ({"podSelector": {}}, (WEB.address, DB.address)),
        ({"podSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}}, (DB.address,)),
        ({"namespaceSelector": {}}, (WEB.address, DB.address, ODD.address)),
        ({"namespaceSelector": {"matchLabels": {"team": "b"}}}, (ODD.address,)),
        (
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}},
            (WEB.address, ODD.address),
        ),
    ],
)
def test_peers_are_pods(peer: dict[str, Any], addresses: tuple[str, ...]) -> None:
    assert ingress(**{"from": [peer]}) == (Allowance(at(*addresses), (ANY_PORT,)),)


def test_peers_that_are_nobody_allow_nothing() -> None:
    assert ingress(**{"from": [{"podSelector": {"matchLabels": {"app": "none"}}}]}) == ()
    assert ingress(**{"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}) == ()


def test_blocks_have_exceptions() -> None:
    block = {"cidr": "10.0.0.0/8", "except": ["10.2.0.0/16", "10.1.0.0/16"]}
    allowed = (Allowance((Block("10.0.0.0/8", ("10.1.0.0/16", "10.2.0.0/16")),), (ANY_PORT,)),)
    assert ingress(**{"from": [{"ipBlock": block}]}) == allowed
    assert egress(to=[{"ipBlock": block}]) == allowed


@pytest.mark.parametrize(
    ("port", "means"),
    [
        ({"port": 80}, Ports("TCP", 80, 80)),
        ({"port": 53, "protocol": "UDP"}, Ports("UDP", 53, 53)),
        ({"port": 8000, "endPort": 8100}, Ports("TCP", 8000, 8100)),
        ({"protocol": "SCTP"}, Ports("SCTP")),
        ({"port": "http"}, Ports("TCP", 8080, 8080)),
    ],
)
def test_ports(port: dict[str, Any], means: Ports) -> None:
    assert ingress(ports=[port]) == (Allowance((ANYWHERE,), (means,)),)


def test_a_name_that_the_pod_has_no_port_for_allows_nothing() -> None:
    assert ingress(ports=[{"port": "admin"}]) == ()
    assert ingress(ports=[{"port": "http", "protocol": "UDP"}]) == ()


def test_a_named_port_that_is_gone_out_to_is_each_receiver_s_own() -> None:
    each = {
        Allowance(at(WEB.address), (Ports("TCP", 8080, 8080),)),
        Allowance(at(DB.address), (Ports("TCP", 9090, 9090),)),
    }
    assert set(egress(to=[{"namespaceSelector": {}}], ports=[{"port": "http"}])) == each
    assert set(egress(ports=[{"port": "http"}])) == each


def pod(**status: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 8080}, {"containerPort": 1}]
    sidecar = {
        "name": "s",
        "restartPolicy": "Always",
        "ports": [{"name": "dns", "protocol": "UDP", "containerPort": 5}],
    }
    once = {"name": "i", "ports": [{"name": "never", "containerPort": 9}]}
    spec = {"containers": [{"name": "c", "ports": ports}], "initContainers": [sidecar, once]}
    return {"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}}, "spec": spec, "status": status}


def test_who_is_a_member() -> None:
    named = {("http", "TCP"): 8080, ("dns", "UDP"): 5}
    assert member(pod(podIP="10.1.0.9")) == Member("n", {"a": "b"}, "10.1.0.9", named)
    assert member(pod(podIP="fd00::1", podIPs=[{"ip": "fd00::1"}, {"ip": "10.1.0.9"}])) is not None
    assert member(pod()) is None
    assert member(pod(podIP="10.1.0.9", phase="Failed")) is None


# Rules


SOME = Isolation(
    WEB.address,
    "ingress",
    (
        Allowance((*at("10.1.0.2", "10.0.0.0/24"), Block("10.0.0.0/8", ("10.1.0.0/16",))), (Ports("TCP", 80, 90),)),
        Allowance((ANYWHERE,), (Ports("TCP", 85, 85), Ports("UDP"), Ports("SCTP", 1, 2))),
        Allowance(at("10.1.0.2"), (ANY_PORT,)),
    ),
)


def test_what_is_not_let_through_is_dropped() -> None:
    (lines,) = policy_rules([SOME]).chains.values()
    assert lines == (
        "ip saddr { 10.1.0.2, 10.0.0.0/24 } tcp dport { 80-90 } return",
        "ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16 } tcp dport { 80-90 } return",
        "sctp dport { 1-2 } return",
        "tcp dport { 85 } return",
        "meta l4proto udp return",
        "ip saddr { 10.1.0.2 } return",
        "drop",
    )


def test_pods_with_equal_isolations_share_a_chain() -> None:
    rules = policy_rules([SOME, Isolation(DB.address, "ingress", SOME.allowances), Isolation(DB.address, "egress")])
    assert len(rules.chains) == 2
    assert rules.leads["ingress", WEB.address] == rules.leads["ingress", DB.address]


def test_a_change_touches_only_what_it_changes() -> None:
    before = policy_rules([SOME, Isolation(DB.address, "egress")])
    after = policy_rules([SOME, Isolation(DB.address, "egress", (Allowance(at("10.1.0.1"), (ANY_PORT,)),))])
    old, new = before.leads["egress", DB.address], after.leads["egress", DB.address]
    assert script("t", before, after).splitlines() == [
        f"add chain ip t {new}",
        f"add rule ip t {new} ip daddr {{ 10.1.0.1 }} return",
        f"add rule ip t {new} drop",
        f"delete element ip t egress {{ 10.1.0.2 : jump {old} }}",
        f"add element ip t egress {{ 10.1.0.2 : jump {new} }}",
        f"delete chain ip t {old}",
    ]
    assert script("t", after, after) == ""


def test_without_isolations_there_is_no_table() -> None:
    assert script("t", None, policy_rules([])) == "table ip t\ndelete table ip t\n"
    assert script("t", policy_rules([]), policy_rules([])) == ""


@pytest.mark.skipif(
    not (shutil.which("nft") and shutil.which("unshare")), reason="it needs nft, and unshare for a network of its own"
)
def test_the_kernel_follows_every_change() -> None:
    """In a network of its own: the kernel ends with the same rules whichever way it was led there."""
    states = [
        policy_rules([]),
        policy_rules([SOME, Isolation(DB.address, "egress")]),
        policy_rules([Isolation(WEB.address, "ingress", SOME.allowances[:1]), Isolation(DB.address, "ingress")]),
        policy_rules([SOME]),
    ]
    texts = [script("t", before, after) for before, after in zip([None, *states], states, strict=False)]
    stepwise = kernel_rules(*texts)
    if stepwise is None:
        pytest.skip("a network of its own, or rules in it, need more rights than this machine gives")
    assert stepwise == kernel_rules(script("t", None, states[-1]))
    assert kernel_rules(*texts, script("t", states[-1], states[0])) == []


def kernel_rules(*texts: str) -> list[str] | None:
    """All lines that it lists after these, sorted; None where it does not let us."""
    steps = "".join(f"nft -f - <<'END' || exit 1\n{text}END\n" for text in texts if text)
    command = [
        "unshare",
        "--net",
        "--map-root-user",
        "sh",
        "-c",
        f"nft list tables || exit 99\n{steps}nft list ruleset",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 99 or done.stderr.startswith("unshare:") or "Operation not permitted" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return sorted(line.strip() for line in done.stdout.splitlines() if line.strip())
