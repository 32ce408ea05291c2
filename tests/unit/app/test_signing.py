from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from tiphys.app.signing import AuthoritySigner

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request(*groups: str) -> bytes:
    names = [x509.NameAttribute(x509.NameOID.COMMON_NAME, "ann")]
    names += [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group) for group in groups]
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return built.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.PEM)


async def test_nobody_is_made_a_master_by_a_request(tmp_path: Path) -> None:
    signer = AuthoritySigner(tmp_path)
    signed = await signer.sign(request("devs"), ["client auth"], 3600, NOW)
    assert "devs" in x509.load_pem_x509_certificate(signed).subject.rfc4514_string()
    with pytest.raises(ValueError, match="system:masters"):
        await signer.sign(request("devs", "system:masters"), ["client auth"], 3600, NOW)
