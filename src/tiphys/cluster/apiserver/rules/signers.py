"""Names of signers of certificates, and of the trust bundles that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, invalid_value, required
from tiphys.cluster.apiserver.rules.values import Rule, too_long
from tiphys.lang import name_rules

_DOMAIN_MAX: Final = 253
_NAME_MAX: Final = 253 + (253 + 63 + 1) + 1


def is_kubernetes_signer(name: str) -> bool:
    host = name.partition("/")[0]
    return host == "kubernetes.io" or host.endswith(".kubernetes.io")


def signer_complaints(name: str, at: str) -> Iterator[Complaint]:
    """``domain.com/path``, both of dotted labels."""
    if not name:
        yield required(at)
        return
    if name.count("/") != 1:
        yield invalid_value(at, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
        return
    domain, _, path = name.partition("/")
    if len(domain) > _DOMAIN_MAX:
        yield too_long(at, _DOMAIN_MAX)
    yield from _segment(domain, at, name_rules.dns1123_label)
    if "." not in domain:
        yield invalid_value(at, domain, "should be a domain with at least two segments separated by dots")
    yield from _segment(path, at, name_rules.dns1123_subdomain)
    if len(name) > _NAME_MAX:
        yield too_long(at, _NAME_MAX)


def _segment(segment: str, at: str, rule: Rule) -> Iterator[Complaint]:
    """The faults of the first wrong label."""
    for label in segment.split("."):
        problems = rule(label)
        for problem in problems:
            yield invalid_value(at, segment, f'validating label "{label}": {problem}')
        if problems:
            return


def trust_bundle_name(name: str) -> list[str]:
    """``signer:domain:name``, or a plain name without colons."""
    prefix, colon, plain = name.rpartition(":")
    return name_rules.dns1123_subdomain(plain if colon else name) if not prefix or colon else []
