"""Certificates and their keys, as Go's TLS judges them."""

from __future__ import annotations

import re
from typing import Final

_PEM: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s.*?-----END \1-----", re.S)


def pair_problem(certificate: bytes, key: bytes) -> str:
    """What Go's ``tls.X509KeyPair`` says to them."""
    kinds = [block[1].decode() for block in _PEM.finditer(certificate)]
    if "CERTIFICATE" not in kinds:
        if not kinds:
            return "tls: failed to find any PEM data in certificate input"
        if any(kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY") for kind in kinds) and len(kinds) == 1:
            return (
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs"
                " may have been switched"
            )
        return (
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the'
            f" following types: [{' '.join(kinds)}]"
        )
    kinds = [block[1].decode() for block in _PEM.finditer(key)]
    if not any(kind == "PRIVATE KEY" or kind.endswith(" PRIVATE KEY") for kind in kinds):
        if not kinds:
            return "tls: failed to find any PEM data in key input"
        if kinds == ["CERTIFICATE"]:
            return "tls: found a certificate rather than a key in the PEM for the private key"
        told = " ".join(kinds)
        text = 'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks'
        return f"{text} of the following types: [{told}]"
    return _mismatch(certificate, key)


def _mismatch(certificate: bytes, key: bytes) -> str:
    from cryptography import x509  # loaded for what is a certificate
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        found = x509.load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "x509: malformed certificate"
    try:
        own = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if found.public_bytes(*form) == own.public_bytes(*form):
        return ""
    if type(found) is not type(own):
        return "tls: private key type does not match public key type"
    return "tls: private key does not match public key"
