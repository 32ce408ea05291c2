"""Isolations of pods as rules of nftables, and what to change when they do. Pure.

A table of its own, without which no policy is in force:

    forward ── replies: pass ── a pod with itself, through a Service: pass
       │
       └─ by the sender's address ──► its chain of egress ──┐ nothing let it through: dropped
                    │ ◄──────────────────────── let through ┤
          by the receiver's address ──► its chain of ingress ┘

Packets are seen after a Service's address was rewritten and before the sender's is, so that rules speak of pods on both
sides. Only what is forwarded comes here: a pod's traffic with its node never does.

A chain is named after what is in it and never changed. Pods with equal isolations share one, and a change adds the new
chains, leads the addresses over to them and takes the unused ones away: one transaction, whose size is that of the
change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tiphys.cluster.node.network.policies import ANYWHERE, PORT_MAX, Allowance, Block, Direction, Isolation, Ports

_FORWARD = (
    "type filter hook forward priority filter;",
    "ct state established,related accept",
    "ip saddr . ip daddr @themselves accept",
    "ip saddr vmap @egress",
    "ip daddr vmap @ingress",
)
_PEER: Mapping[Direction, str] = {"ingress": "saddr", "egress": "daddr"}


@dataclass(frozen=True)
class PolicyRules:
    """``chains`` are lines by name; ``leads`` says which chain judges a direction of an address."""

    chains: Mapping[str, tuple[str, ...]]
    leads: Mapping[tuple[Direction, str], str]

    @property
    def addresses(self) -> frozenset[str]:
        return frozenset(address for _, address in self.leads)


def policy_rules(isolations: Iterable[Isolation]) -> PolicyRules:
    chains: dict[str, tuple[str, ...]] = {}
    leads: dict[tuple[Direction, str], str] = {}
    for one in isolations:
        lines = (*(line for each in one.allowances for line in _lines(each, _PEER[one.direction])), "drop")
        name = f"{one.direction}-{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"
        chains[name] = lines
        leads[one.direction, one.address] = name
    return PolicyRules(chains, leads)


def script(table: str, before: PolicyRules | None, after: PolicyRules) -> str:
    """The text for ``nft -f -`` that leads from one state to another; "" where they are the same.

    ``before`` is None where it is not known what the kernel has.
    """
    if before == after:
        return ""
    if not after.leads:
        return f"table ip {table}\ndelete table ip {table}\n"
    if before is None or not before.leads:
        return _whole(table, after)
    return _difference(table, before, after)


def _whole(table: str, rules: PolicyRules) -> str:
    lines = [f"table ip {table}", f"delete table ip {table}", f"table ip {table} {{"]
    lines += ["  set themselves {", "    type ipv4_addr . ipv4_addr", "  }"]
    for direction in _PEER:
        lines += [f"  map {direction} {{", "    type ipv4_addr : verdict", "  }"]
    for name, content in [*rules.chains.items(), ("forward", _FORWARD)]:
        lines += [f"  chain {name} {{", *(f"    {line}" for line in content), "  }"]
    lines += ["}", *_pairs("add", table, rules.addresses), *_elements("add", table, rules.leads)]
    return "\n".join([*lines, ""])


def _difference(table: str, before: PolicyRules, after: PolicyRules) -> str:
    lines = []
    for name in sorted(after.chains.keys() - before.chains.keys()):
        lines.append(f"add chain ip {table} {name}")
        lines += [f"add rule ip {table} {name} {line}" for line in after.chains[name]]
    lines += _pairs("delete", table, before.addresses - after.addresses)
    lines += _pairs("add", table, after.addresses - before.addresses)
    lines += _elements("delete", table, dict(before.leads.items() - after.leads.items()))
    lines += _elements("add", table, dict(after.leads.items() - before.leads.items()))
    lines += [f"delete chain ip {table} {name}" for name in sorted(before.chains.keys() - after.chains.keys())]
    return "\n".join([*lines, ""])


def _pairs(verb: str, table: str, addresses: Iterable[str]) -> Iterable[str]:
    listed = ", ".join(f"{address} . {address}" for address in sorted(addresses))
    if listed:
        yield f"{verb} element ip {table} themselves {{ {listed} }}"


def _elements(verb: str, table: str, leads: Mapping[tuple[Direction, str], str]) -> Iterable[str]:
    for direction in _PEER:
        mine = sorted((address, chain) for (towards, address), chain in leads.items() if towards == direction)
        if mine:
            listed = ", ".join(f"{address} : jump {chain}" for address, chain in mine)
            yield f"{verb} element ip {table} {direction} {{ {listed} }}"


def _lines(allowance: Allowance, peer: str) -> Iterable[str]:
    """What matches goes on to the next judge."""
    for who in _whom(allowance.peers, peer):
        for what in _what(allowance.ports):
            yield " ".join(filter(None, (who, what, "return")))


def _whom(peers: tuple[Block, ...], peer: str) -> Iterable[str]:
    """As expressions; "" for everybody."""
    if ANYWHERE in peers:
        return [""]
    whole = [block.network for block in peers if not block.excepts]
    found = [f"ip {peer} {{ {', '.join(whole)} }}"] if whole else []
    for block in peers:
        if block.excepts:
            found.append(f"ip {peer} {block.network} ip {peer} != {{ {', '.join(block.excepts)} }}")
    return found


def _what(ports: tuple[Ports, ...]) -> Iterable[str]:
    """As expressions; "" for everything."""
    if any(not one.protocol for one in ports):
        return [""]
    found = []
    for protocol in sorted({one.protocol for one in ports}):
        mine = [one for one in ports if one.protocol == protocol]
        if any((one.first, one.last) == (0, PORT_MAX) for one in mine):
            found.append(f"meta l4proto {protocol.lower()}")
        else:
            listed = ", ".join(f"{one.first}-{one.last}" if one.last > one.first else str(one.first) for one in mine)
            found.append(f"{protocol.lower()} dport {{ {listed} }}")
    return found
