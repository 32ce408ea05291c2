"""What NetworkPolicies say, as plain isolations: a pod's address, a direction, and all that is let through. Pure.

A pod that no policy selects in a direction has no isolation there. One that several select lets through what any of
them allows. Who a policy speaks of is resolved to addresses, named ports to numbers: of the isolated pod where it is
reached, of the pods it reaches where it goes out.

What is always allowed (replies, a pod's traffic with itself and with its node) is the rules' affair
(``policy_rules.py``). The pods' network speaks IPv4: blocks of IPv6 addresses match nobody.

Source: the NetworkPolicy API's field descriptions, kubernetes.io/docs/concepts/services-networking/network-policies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, Literal

from tiphys.cluster.node.network.routes import is_ipv4
from tiphys.machinery.selectors import from_structured

Object = Mapping[str, Any]
Labels = Mapping[str, str]
Direction = Literal["ingress", "egress"]

PORT_MAX = 65535
_PEERS: Mapping[Direction, str] = {"ingress": "from", "egress": "to"}


@dataclass(frozen=True, order=True)
class Block:
    """Addresses of ``network`` (CIDR, or one address) but for those of ``excepts``."""

    network: str
    excepts: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class Ports:
    """Ports of a protocol ("": of every protocol, and those that have no ports)."""

    protocol: str
    first: int = 0
    last: int = PORT_MAX


ANYWHERE = Block("0.0.0.0/0")
ANY_PORT = Ports("")


@dataclass(frozen=True, order=True)
class Allowance:
    """Any of these peers, on any of these ports."""

    peers: tuple[Block, ...]
    ports: tuple[Ports, ...]


EVERYTHING = Allowance((ANYWHERE,), (ANY_PORT,))


@dataclass(frozen=True, order=True)
class Isolation:
    """In this direction only what one of ``allowances`` says passes; without any, nothing does."""

    address: str
    direction: Direction
    allowances: tuple[Allowance, ...] = ()


@dataclass(frozen=True)
class Member:
    """A pod as policies see it. ``ports`` are those with a name: (name, protocol) → number."""

    namespace: str
    labels: Labels
    address: str
    ports: Mapping[tuple[str, str], int]


def member(pod: Object) -> Member | None:
    """None for a pod without an address, or that has ended. Those on their node's own network are not asked about."""
    spec, status, meta = pod["spec"], pod.get("status") or {}, pod["metadata"]
    if status.get("phase") in ("Succeeded", "Failed"):
        return None
    addresses = [status.get("podIP") or "", *(each.get("ip") or "" for each in status.get("podIPs") or ())]
    address = next(filter(is_ipv4, addresses), "")
    if not address:
        return None
    return Member(meta.get("namespace") or "", meta.get("labels") or {}, address, _named_ports(spec))


def isolations(
    policies: Iterable[Object], members: Iterable[Member], namespaces: Mapping[str, Labels]
) -> tuple[Isolation, ...]:
    """All isolations of a cluster, sorted; ``namespaces`` has their labels by name."""
    crowd = _Crowd(members, namespaces)
    found: dict[tuple[str, Direction], set[Allowance]] = {}
    for policy in policies:
        spec, namespace = policy.get("spec") or {}, policy["metadata"].get("namespace") or ""
        selected = crowd.select(spec.get("podSelector") or {}, namespace)
        for direction in _directions(spec):
            rules = [_Rule(direction, rule, namespace, crowd) for rule in spec.get(direction) or ()]
            for one in selected:
                allowed = found.setdefault((one.address, direction), set())
                allowed.update(allowance for rule in rules for allowance in rule.allowances(one))
    return tuple(
        Isolation(address, direction, tuple(sorted(allowed)))
        for (address, direction), allowed in sorted(found.items())
        if EVERYTHING not in allowed
    )


def _directions(spec: Object) -> Iterable[Direction]:
    types = spec.get("policyTypes") or ("Ingress", *(("Egress",) if spec.get("egress") else ()))
    if "Ingress" in types:
        yield "ingress"
    if "Egress" in types:
        yield "egress"


class _Crowd:
    """All pods; what was selected once is remembered, since policies of an application speak of the same pods."""

    def __init__(self, members: Iterable[Member], namespaces: Mapping[str, Labels]) -> None:
        self._of: dict[str, list[Member]] = {}
        for one in members:
            self._of.setdefault(one.namespace, []).append(one)
        self._namespaces = namespaces
        self._selected: dict[tuple[str, str], tuple[Member, ...]] = {}

    def everybody(self) -> list[Member]:
        return [one for here in self._of.values() for one in here]

    def select(self, pods: Object, namespace: str) -> tuple[Member, ...]:
        """The pods of a namespace that a selector matches."""
        selector = from_structured(pods)
        known = (str(selector), namespace)
        if known not in self._selected:
            here = self._of.get(namespace, ())
            self._selected[known] = tuple(one for one in here if selector.matches(one.labels))
        return self._selected[known]

    def select_in(self, pods: Object, namespaces: Object) -> list[Member]:
        """Those of all namespaces that ``namespaces`` matches."""
        selector = from_structured(namespaces)
        names = [name for name in self._of if selector.matches(self._namespaces.get(name))]
        return [one for name in names for one in self.select(pods, name)]


class _Rule:
    """One rule of a policy, its peers resolved."""

    def __init__(self, direction: Direction, rule: Object, namespace: str, crowd: _Crowd) -> None:
        self.direction = direction
        self.ports: list[Object] = rule.get("ports") or []
        named = rule.get(_PEERS[direction]) or []
        self.members: list[Member] = []
        self.blocks = [] if named else [ANYWHERE]
        for peer in named:
            if peer.get("ipBlock") is not None:
                self.blocks += _block(peer["ipBlock"])
            elif peer.get("namespaceSelector") is not None:
                self.members += crowd.select_in(peer.get("podSelector") or {}, peer["namespaceSelector"])
            else:
                self.members += crowd.select(peer.get("podSelector") or {}, namespace)
        self._reachable = self.members if named else crowd.everybody()

    def allowances(self, isolated: Member) -> Iterable[Allowance]:
        """What it lets through for a pod that its policy selects."""
        peers = _peers(self.members, self.blocks)
        if not self.ports:
            yield from _allowance(peers, [ANY_PORT])
            return
        yield from _allowance(peers, [found for port in self.ports for found in self._numbers(port, isolated)])
        if self.direction == "egress":
            yield from self._by_name()

    def _numbers(self, port: Object, isolated: Member) -> Iterable[Ports]:
        protocol, wanted = port.get("protocol") or "TCP", port.get("port")
        if wanted is None:
            yield Ports(protocol)
        elif isinstance(wanted, int):
            yield Ports(protocol, wanted, int(port.get("endPort") or wanted))
        elif self.direction == "ingress" and (wanted, protocol) in isolated.ports:
            number = isolated.ports[wanted, protocol]
            yield Ports(protocol, number, number)

    def _by_name(self) -> Iterable[Allowance]:
        """Named ports of pods that are reached: each has its own number for the name."""
        for port in self.ports:
            # a number is no pod's name for a port
            name, protocol = str(port.get("port")), port.get("protocol") or "TCP"
            reached: dict[int, list[Member]] = {}
            for one in self._reachable:
                if (name, protocol) in one.ports:
                    reached.setdefault(one.ports[name, protocol], []).append(one)
            for number, members in reached.items():
                yield from _allowance(_peers(members, ()), [Ports(protocol, number, number)])


def _allowance(peers: tuple[Block, ...], ports: Iterable[Ports]) -> Iterable[Allowance]:
    wanted = tuple(sorted(set(ports)))
    if peers and wanted:
        yield Allowance(peers, wanted)


def _peers(members: Iterable[Member], blocks: Iterable[Block]) -> tuple[Block, ...]:
    return tuple(sorted({*(Block(one.address) for one in members), *blocks}))


def _block(block: Object) -> list[Block]:
    network = _network(block.get("cidr"))
    excepts = filter(None, map(_network, block.get("except") or ()))
    return [Block(network, tuple(sorted(excepts)))] if network else []


def _network(text: str | None) -> str:
    """As the kernel writes it; "" for what is no range of IPv4 addresses."""
    try:
        return str(IPv4Network(text or "", strict=False))
    except ValueError:
        return ""


def _named_ports(spec: Object) -> dict[tuple[str, str], int]:
    sidecars = [each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"]
    ports = [port for container in (*spec["containers"], *sidecars) for port in container.get("ports") or ()]
    return {(p["name"], p.get("protocol") or "TCP"): int(p["containerPort"]) for p in ports if p.get("name")}
