"""Forwards as a rule set of nftables: addresses are rewritten by the kernel, nothing of ours sees the traffic. Pure.

One table, replaced as a whole in one transaction, so that no connection ever meets half a configuration. A forward
picks a back end at random; with affinity it picks by a hash of the client's address, so a client keeps its back end for
as long as the back ends stay the same (the time-out of the affinity is not needed for that). A forward without back
ends is refused. Traffic from pods to elsewhere leaves with the machine's own address.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from tiphys.cluster.node.network.routes import Forward

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_COMMENT_LENGTH_MAX = 120


def rule_set(table: str, forwards: Iterable[Forward], pods: IPv4Network, bridge: str) -> str:
    """The text for ``nft -f -``. ``pods`` is the pods' network, ``bridge`` the interface they hang on."""
    kept = [one for one in forwards if one.protocol in _PROTOCOLS]
    own = sorted({end.address for one in kept for end in one.endpoints if IPv4Address(end.address) in pods})
    return "\n".join(
        [
            f"table ip {table}",
            f"delete table ip {table}",
            f"table ip {table} {{",
            *_block("chain services", (_rewrite(one) for one in kept if one.endpoints)),
            *_block("chain refused", (f"{_match(one)} {_refusal(one)}" for one in kept if not one.endpoints)),
            *_block("chain prerouting", ["type nat hook prerouting priority dstnat;", "jump services"]),
            *_block("chain output", ["type nat hook output priority -100;", "jump services"]),
            *_block("chain filter-input", ["type filter hook input priority filter;", "jump refused"]),
            *_block("chain filter-forward", ["type filter hook forward priority filter;", "jump refused"]),
            *_block(
                "chain filter-output",
                [
                    "type filter hook output priority filter;",
                    # pods see each other through the bridge's address only: there is no shorter way to tell them of
                    f'oifname "{bridge}" icmp type redirect drop',
                    "jump refused",
                ],
            ),
            *_block(
                "chain postrouting",
                [
                    "type nat hook postrouting priority srcnat;",
                    f'ip saddr {pods} oifname != "{bridge}" masquerade',
                    # a pod that reaches itself through its service, and loopback clients of a node port
                    *_hairpins(own),
                    f"ct status dnat ip saddr 127.0.0.0/8 ip daddr {pods} masquerade",
                ],
            ),
            "}",
            "",
        ]
    )


def _block(head: str, lines: Iterable[str]) -> list[str]:
    return [f"  {head} {{", *(f"    {line}" for line in lines), "  }"]


def _match(one: Forward) -> str:
    address = f"ip daddr {one.address}" if one.address else "fib daddr type local"
    return f"{address} {one.protocol.lower()} dport {one.port}"


def _rewrite(one: Forward) -> str:
    name = one.name.replace('"', "")[:_COMMENT_LENGTH_MAX]
    return f'{_match(one)} dnat to {_target(one)} comment "{name}"'


def _target(one: Forward) -> str:
    if len(one.endpoints) == 1:
        return f"{one.endpoints[0].address}:{one.endpoints[0].port}"
    choices = ", ".join(f"{at} : {end.address} . {end.port}" for at, end in enumerate(one.endpoints))
    choice = "jhash ip saddr" if one.affinity else "numgen random"
    return f"{choice} mod {len(one.endpoints)} map {{ {choices} }}"


def _hairpins(addresses: Sequence[str]) -> Iterable[str]:
    if addresses:
        pairs = ", ".join(f"{address} . {address}" for address in addresses)
        yield f"ct status dnat ip saddr . ip daddr {{ {pairs} }} masquerade"


def _refusal(one: Forward) -> str:
    return "reject with tcp reset" if one.protocol == "TCP" else "reject"
