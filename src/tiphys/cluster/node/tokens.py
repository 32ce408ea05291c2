"""The service account tokens that a pod's volumes show: asked for once, and again before they expire.

As a kubelet does (pkg/kubelet/token): a token is renewed when four fifths of its time are over, or it is a day old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tiphys.client.client import Client
from tiphys.client.transport import Request
from tiphys.machinery.resources import SERVICE_ACCOUNTS
from tiphys.runtime.clock import Clock

DEFAULT_SECONDS = 3600
RENEWED_AFTER_SHARE, RENEWED_AFTER = 0.8, timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    renew_at: datetime


class PodTokens:
    """For one pod."""

    def __init__(self, client: Client, pod: Mapping[str, Any], clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._namespace: str = pod["metadata"].get("namespace", "")
        self._account: str = pod["spec"].get("serviceAccountName") or "default"
        self._bound = {
            "kind": "Pod",
            "apiVersion": "v1",
            "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"],
        }
        self._held: dict[tuple[str, int], _Held] = {}

    async def get(self, source: Mapping[str, Any]) -> str:
        """The token for a ``serviceAccountToken`` source of a projected volume. Raises ApiError."""
        audience, seconds = source.get("audience") or "", int(source.get("expirationSeconds") or DEFAULT_SECONDS)
        held = self._held.get((audience, seconds))
        now = self._clock.now()
        if held is None or held.renew_at <= now:
            token = await self._request(audience, seconds)
            wait = min(timedelta(seconds=seconds * RENEWED_AFTER_SHARE), RENEWED_AFTER)
            held = self._held[audience, seconds] = _Held(token, now + wait)
        return held.token

    async def _request(self, audience: str, seconds: int) -> str:
        spec: dict[str, Any] = {"expirationSeconds": seconds, "boundObjectRef": self._bound}
        if audience:
            spec["audiences"] = [audience]
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        request = Request("create", SERVICE_ACCOUNTS, self._namespace, self._account, "token", body=body)
        answer = await self._client.transport.call(request)
        return str(answer["status"]["token"])
