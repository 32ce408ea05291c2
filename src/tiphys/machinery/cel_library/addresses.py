"""IP addresses and CIDR ranges in CEL: ``cidr('10.0.0.0/8').containsIP('10.1.2.3')``.

No zones and no IPv4-mapped IPv6 addresses. Error texts are those of Go's netip.
"""

from __future__ import annotations

import ipaddress
import re

from tiphys.lang.cel.declarations import Functions, member, plain
from tiphys.lang.cel.types import BOOL, INT, STRING, opaque
from tiphys.lang.cel.values import Failure, Opaque
from tiphys.lang.gofmt import quote

IP = opaque("net.IP")
CIDR = opaque("net.CIDR")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Address(Opaque):
    """One address; its size is its bytes."""

    __slots__ = ("ip",)
    cel_type = IP

    def __init__(self, ip: _Address) -> None:
        self.ip = ip

    def size(self) -> int:
        return len(self.ip.packed)

    def equal_to(self, other: object) -> bool:
        return isinstance(other, Address) and self.ip == other.ip


class Network(Opaque):
    """An address with a prefix length; the address keeps its host bits."""

    __slots__ = ("ip", "length")
    cel_type = CIDR

    def __init__(self, ip: _Address, length: int) -> None:
        self.ip, self.length = ip, length

    def size(self) -> int:
        return -(-self.length // 8)

    def equal_to(self, other: object) -> bool:
        return isinstance(other, Network) and (self.ip, self.length) == (other.ip, other.length)

    def masked_ip(self) -> _Address:
        return ipaddress.ip_network((self.ip, self.length), strict=False).network_address

    def has(self, ip: _Address) -> bool:
        return ip.version == self.ip.version and ip in ipaddress.ip_network((self.ip, self.length), strict=False)


def _parse(text: str) -> Address | Failure:
    reason = _refusal(text)
    if reason is not None:
        return Failure(f"IP Address {quote(text)} parse error during conversion from string: {reason}")
    if "%" in text:
        return Failure(f"IP address {quote(text)} with zone value is not allowed")
    ip = ipaddress.ip_address(text)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return Failure(f"IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return Address(ip)


def _refusal(text: str) -> str | None:
    """Why netip.ParseAddr refuses a text; None when it takes it."""
    bare, percent, zone = text.partition("%")
    try:
        ip = ipaddress.ip_address(bare)
        if not percent or (ip.version == 6 and zone):
            return None
    except ValueError:
        pass
    return f"ParseAddr({quote(text)}): {_reason(text)}"


def _reason(text: str) -> str:
    first = next((c for c in text if c in ".:%"), "")
    if first == "":
        return "unable to parse IP"
    if first == "%":
        return "missing IPv6 address"
    return _reason_v4(text) if first == "." else "unexpected character, want colon" if ":" in text else "bad"


def _reason_v4(text: str) -> str:
    if re.search(r"[^0-9.]", text):
        return "unexpected character"
    parts = text.split(".")
    for at, part in enumerate(parts):
        if not part:
            return "IPv4 field must have at least one digit"
        if len(part) > 1 and part[0] == "0":
            return "IPv4 field has octet with leading zero"
        if int(part[:9]) > 255:
            return "IPv4 field has value >255"
        if at >= 4:
            return "IPv4 address too long"
    return "IPv4 address too short"


def _parse_network(text: str) -> Network | Failure:
    before = "network address parse error during conversion from string: "
    address, slash, length = text.rpartition("/")
    if not slash:
        return Failure(f"{before}netip.ParsePrefix({quote(text)}): no '/'")
    reason = _refusal(address)
    if reason is not None:
        return Failure(f"{before}netip.ParsePrefix({quote(text)}): {reason}")
    if "%" in address:
        return Failure(f"{before}netip.ParsePrefix({quote(text)}): IPv6 zones cannot be present in a prefix")
    ip = ipaddress.ip_address(address)
    if re.fullmatch(r"0|[1-9][0-9]{0,2}", length, re.ASCII) is None:
        return Failure(f"{before}netip.ParsePrefix({quote(text)}): bad bits after slash: {quote(length)}")
    if int(length) > ip.max_prefixlen:
        return Failure(f"{before}netip.ParsePrefix({quote(text)}): prefix length out of range")
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return Failure(f"IPv4-mapped IPv6 address {quote(text)} is not allowed")
    return Network(ip, int(length))


def _is_canonical(text: str) -> bool | Failure:
    found = _parse(text)
    return found if isinstance(found, Failure) else str(found.ip) == text


def _contains(network: Network, address: Address | str) -> bool | Failure:
    found = _parse(address) if isinstance(address, str) else address
    return found if isinstance(found, Failure) else network.has(found.ip)


def _contains_network(network: Network, other: Network | str) -> bool | Failure:
    found = _parse_network(other) if isinstance(other, str) else other
    if isinstance(found, Failure):
        return found
    return network.length <= found.length and network.has(found.masked_ip())


def _is_global_unicast(address: Address) -> bool:
    ip = address.ip
    is_broadcast = isinstance(ip, ipaddress.IPv4Address) and int(ip) == 0xFFFFFFFF
    return not (ip.is_unspecified or ip.is_loopback or ip.is_multicast or ip.is_link_local or is_broadcast)


def _is_link_local_multicast(address: Address) -> bool:
    packed = address.ip.packed
    return packed[:3] == b"\xe0\x00\x00" if len(packed) == 4 else packed[0] == 0xFF and packed[1] & 0x0F == 2


FUNCTIONS: Functions = {
    "ip": (
        plain("string_to_ip", (STRING,), IP, _parse),
        member("cidr_ip", (CIDR,), IP, lambda network: Address(network.ip)),
    ),
    "isIP": (plain("is_ip", (STRING,), BOOL, lambda text: not isinstance(_parse(text), Failure)),),
    "ip.isCanonical": (plain("ip_is_canonical", (STRING,), BOOL, _is_canonical),),
    "family": (member("ip_family", (IP,), INT, lambda address: int(address.ip.version)),),
    "isUnspecified": (member("ip_is_unspecified", (IP,), BOOL, lambda address: address.ip.is_unspecified),),
    "isLoopback": (member("ip_is_loopback", (IP,), BOOL, lambda address: address.ip.is_loopback),),
    "isLinkLocalMulticast": (member("ip_is_link_local_multicast", (IP,), BOOL, _is_link_local_multicast),),
    "isLinkLocalUnicast": (member("ip_is_link_local_unicast", (IP,), BOOL, lambda address: address.ip.is_link_local),),
    "isGlobalUnicast": (member("ip_is_global_unicast", (IP,), BOOL, _is_global_unicast),),
    "cidr": (plain("string_to_cidr", (STRING,), CIDR, _parse_network),),
    "isCIDR": (plain("is_cidr", (STRING,), BOOL, lambda text: not isinstance(_parse_network(text), Failure)),),
    "containsIP": (
        member("cidr_contains_ip_string", (CIDR, STRING), BOOL, _contains),
        member("cidr_contains_ip_ip", (CIDR, IP), BOOL, _contains),
    ),
    "containsCIDR": (
        member("cidr_contains_cidr_string", (CIDR, STRING), BOOL, _contains_network),
        member("cidr_contains_cidr", (CIDR, CIDR), BOOL, _contains_network),
    ),
    "prefixLength": (member("cidr_prefix_length", (CIDR,), INT, lambda network: network.length),),
    "masked": (member("cidr_masked", (CIDR,), CIDR, lambda found: Network(found.masked_ip(), found.length)),),
    "string": (
        plain("ip_to_string", (IP,), STRING, lambda address: str(address.ip)),
        plain("cidr_to_string", (CIDR,), STRING, lambda network: f"{network.ip}/{network.length}"),
    ),
}
