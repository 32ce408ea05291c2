"""Certificates for signing requests, by the authority of the embedded cluster's API server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class AuthoritySigner:
    """A ``cluster.controllers.certificates.Signer``; ``folder`` is the authority's."""

    folder: Path

    async def sign(self, request: bytes, usages: list[str], seconds: int, now: datetime) -> bytes:
        """Raises ValueError for a request that cannot be signed."""
        from tiphys.serving.certificates import Authority, sign_request

        return await asyncio.to_thread(sign_request, Authority(self.folder), request, usages, seconds, now)
