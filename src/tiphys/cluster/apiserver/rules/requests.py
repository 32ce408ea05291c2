"""Certificate signing requests."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from typing import Final

from tiphys.cluster.apiserver.problems import Complaint, forbidden_value, invalid_value, required, unsupported
from tiphys.cluster.apiserver.record import Object
from tiphys.cluster.apiserver.rules.signers import signer_complaints
from tiphys.cluster.apiserver.rules.values import Fields, duplicate
from tiphys.machinery.equality import same

_USAGES: Final = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)
_DECISIONS: Final = ("Approved", "Denied")
_LASTING: Final = (*_DECISIONS, "Failed")
_SECONDS_MIN: Final = 600
_PEM: Final = re.compile(rb"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----", re.S)


def signing_request(obj: Object, old: Object | None) -> Iterator[Complaint]:
    yield from _content(obj)
    if old is not None:
        yield from _changes(obj, old, may_decide=False, may_issue=False)


def approval(obj: Object, old: Object) -> Iterator[Complaint]:
    yield from _content(obj)
    yield from _changes(obj, old, may_decide=True, may_issue=False)


def status(obj: Object, old: Object) -> Iterator[Complaint]:
    yield from _content(obj)
    yield from _changes(obj, old, may_decide=False, may_issue=True)


def _content(obj: Object) -> Iterator[Complaint]:
    spec = obj.get("spec") or {}
    usages, seconds = spec.get("usages") or [], spec.get("expirationSeconds")
    problem = _request_problem(spec.get("request") or "")
    if problem:
        yield invalid_value("spec.request", spec.get("request"), problem)
    if not usages:
        yield required("spec.usages")
    for number, usage in enumerate(usages):
        if usage not in _USAGES:
            yield unsupported(f"spec.usages[{number}]", usage, _USAGES)
    for number, usage in enumerate(usages):
        if usage in usages[:number]:
            yield duplicate(f"spec.usages[{number}]", usage)
    signer = spec.get("signerName") or ""
    if signer == "kubernetes.io/legacy-unknown":
        yield invalid_value("spec.signerName", signer, "the legacy signerName is not allowed via this API version")
    else:
        yield from signer_complaints(signer, "spec.signerName")
    if seconds is not None and seconds < _SECONDS_MIN:
        text = "may not specify a duration less than 600 seconds (10 minutes)"
        yield invalid_value("spec.expirationSeconds", seconds, text)
    yield from _conditions((obj.get("status") or {}).get("conditions") or [], "status.conditions")


def _request_problem(text: str) -> str:
    """What is wrong with a PEM-encoded request, base64 around it; "" for nothing."""
    try:
        pem = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return "PEM block type must be CERTIFICATE REQUEST"
    block = _PEM.search(pem)
    if block is None or block[1] != b"CERTIFICATE REQUEST":
        return "PEM block type must be CERTIFICATE REQUEST"
    from cryptography import x509  # takes long to load, and hardly anybody asks for certificates
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        request = x509.load_pem_x509_csr(block[0])
        return "" if request.is_signature_valid else "x509: ECDSA verification failure"
    except (ValueError, UnsupportedAlgorithm) as err:
        return f"asn1: structure error: {err}"


def _conditions(conditions: Sequence[Fields], at: str) -> Iterator[Complaint]:
    seen: list[str] = []
    for number, condition in enumerate(conditions):
        here, kind, state = f"{at}[{number}]", condition.get("type") or "", condition.get("status") or ""
        allowed = ("True",) if kind in _LASTING else ("False", "True", "Unknown")
        if not kind:
            yield required(f"{here}.type")
        if not state:
            yield required(f"{here}.status")
        elif state not in allowed:
            yield unsupported(f"{here}.status", state, allowed)
        if kind in _DECISIONS and ({*_DECISIONS} - {kind}) & set(seen):
            yield invalid_value(at, kind, "Approved and Denied conditions are mutually exclusive")
        if kind in seen:
            yield duplicate(f"{here}.type", kind)
        seen.append(kind)


def _changes(obj: Object, old: Object, *, may_decide: bool, may_issue: bool) -> Iterator[Complaint]:
    mine, held = ((each.get("status") or {}).get("conditions") or [] for each in (obj, old))
    for kind in _LASTING:
        if len(_of(mine, kind)) < len(_of(held, kind)):
            yield forbidden_value("status.conditions", f'updates may not remove a condition of type "{kind}"')
    for kind in () if may_decide else _DECISIONS:
        now, before = _of(mine, kind), _of(held, kind)
        if len(now) > len(before):
            yield forbidden_value("status.conditions", f'updates may not add a condition of type "{kind}"')
        elif len(now) == len(before) and not same(now, before):
            yield forbidden_value("status.conditions", f'updates may not modify a condition of type "{kind}"')
    issued, had = ((each.get("status") or {}).get("certificate") or "" for each in (obj, old))
    if issued != had and not may_issue:
        yield forbidden_value("status.certificate", "updates may not set certificate content")
    elif issued != had and had:
        yield forbidden_value("status.certificate", "updates may not modify existing certificate content")


def _of(conditions: Sequence[Fields], kind: str) -> list[Fields]:
    return [condition for condition in conditions if condition.get("type") == kind]
