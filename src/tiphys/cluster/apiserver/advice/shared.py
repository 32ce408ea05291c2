"""What several kinds are warned of: old labels and volumes, fractions of bytes, addresses in odd forms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.rules.values import Fields, quantity, sloppy_address, sloppy_network
from tiphys.lang import name_rules
from tiphys.lang.gofmt import quote

OLD_LABELS: Final = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": "deprecated since v1.22; use Taints and Tolerations instead",
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
OLD_VOLUMES: Final = {
    "photonPersistentDisk": ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    "gitRepo": ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    "scaleIO": ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    "flocker": ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    "storageos": ("storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    "quobyte": ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    "glusterfs": ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    "cephfs": ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    "rbd": ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
}


def node_term(term: Fields, at: str, *, judges_values: bool = False) -> Iterator[str]:
    for number, each in enumerate(term.get("matchExpressions") or ()):
        here, key = f"{at}.matchExpressions[{number}]", each.get("key") or ""
        if key in OLD_LABELS:
            yield f"{here}.key: {key} is {OLD_LABELS[key]}"
        for index, value in enumerate(each.get("values") or () if judges_values else ()):
            for problem in name_rules.label_value(value):
                yield f"{here}.values[{index}]: {value} is invalid, {problem}"


def claim_spec(spec: Fields, at: str) -> Iterator[str]:
    resources = spec.get("resources") or {}
    for side in ("requests", "limits"):
        yield from fractions(resources.get(side) or {}, f"{at}.resources.{side}", ("storage",))


def fractions(amounts: Fields, at: str, names: Sequence[str] = ("memory", "ephemeral-storage")) -> Iterator[str]:
    for name in names:
        if name in amounts:
            value = quantity(amounts[name])
            if value.value(-3) % 1000:
                yield f'{at}[{name}]: fractional byte value "{value}" is invalid, must be an integer'


def address(text: str, at: str) -> Iterator[str]:
    found = sloppy_address(text)
    if found is None:
        return
    if found.version == 4 and str(found) != text:
        rest = f"will be considered invalid in a future Kubernetes release: use {quote(str(found))}"
        yield f"{at}: non-standard IP address {quote(text)} {rest}"
    elif str(found) != text:
        yield f"{at}: IPv6 address {quote(text)} should be in RFC 5952 canonical format ({quote(str(found))})"


def network(text: str, at: str) -> Iterator[str]:
    found = sloppy_network(text)
    address = sloppy_address(text.partition("/")[0])
    if found is None or address is None:
        return
    said = False
    if address != found.network_address:
        single = f"{address}/{found.max_prefixlen}"
        told = f"(should be {quote(str(found))} or {quote(single)}?)"
        yield f"{at}: CIDR value {quote(text)} is ambiguous in this context {told}"
        said = True
    if found.version == 4 and str(address) != text.partition("/")[0]:
        rest = f"will be considered invalid in a future Kubernetes release: use {quote(str(found))}"
        yield f"{at}: non-standard CIDR value {quote(text)} {rest}"
    elif found.version == 6 and not said and str(found) != text:
        yield f"{at}: IPv6 CIDR value {quote(text)} should be in RFC 5952 canonical format ({quote(str(found))})"
