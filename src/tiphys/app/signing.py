"""Certificates for signing requests, by the authority of the embedded cluster's API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tiphys.cluster.apiserver.users import MASTERS


@dataclass(frozen=True)
class AuthoritySigner:
    """A ``cluster.controllers.certificates.Signer``; ``folder`` is the authority's."""

    folder: Path

    async def sign(self, request: bytes, usages: list[str], seconds: int, now: datetime) -> bytes:
        """Raises ValueError for a request that cannot be signed, or may not."""
        from tiphys.serving.certificates import Authority, sign_request

        if MASTERS in _organizations(request):
            raise ValueError(f"the subject may not be of the group {MASTERS}")
        return await asyncio.to_thread(sign_request, Authority(self.folder), request, usages, seconds, now)


def _organizations(request: bytes) -> list[str | bytes]:
    """The groups of whoever shows the certificate (source: admission plugin CertificateSubjectRestriction)."""
    from cryptography import x509

    found = x509.load_pem_x509_csr(request).subject
    return [each.value for each in found.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
