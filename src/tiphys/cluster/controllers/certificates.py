"""The controller of CertificateSigningRequests: approved ones are signed, and all are forgotten after a while.

Nothing is approved by itself: no kubelet asks here. Signing itself is a driver's (``Signer``): where the
cluster has no authority nothing is signed.
Source: pkg/controller/certificates (signer, cleaner).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from tiphys.cluster.controllers.kit import Controller
from tiphys.machinery.actions import Delete
from tiphys.machinery.errors import Conflict
from tiphys.machinery.resources import CERTIFICATE_SIGNING_REQUESTS, ObjectKey
from tiphys.machinery.times import parse_time, to_time
from tiphys.runtime.controller import Outcome

Object = Mapping[str, Any]

_OURS: Final = frozenset(
    (
        "kubernetes.io/kube-apiserver-client",
        "kubernetes.io/kube-apiserver-client-kubelet",
        "kubernetes.io/kubelet-serving",
        "kubernetes.io/legacy-unknown",
    )
)
_SECONDS_MAX: Final = 365 * 24 * 3600
# How long a request is kept: decided or signed, and waiting.
_KEPT: Final = timedelta(hours=1)
_KEPT_PENDING: Final = timedelta(hours=24)


class Signer(Protocol):
    async def sign(self, request: bytes, usages: list[str], seconds: int, now: datetime) -> bytes:
        """The PEM certificate for a PEM request; raises ValueError where the request cannot be signed."""
        ...


class CertificateController(Controller):
    name = "certificate-controller"
    reads = (CERTIFICATE_SIGNING_REQUESTS,)

    def subscribe(self) -> None:
        self.on_own(CERTIFICATE_SIGNING_REQUESTS)

    async def reconcile(self, key: ObjectKey) -> Outcome:
        request = self.cache(CERTIFICATE_SIGNING_REQUESTS).get(key)
        if request is None:
            return None
        now = self.clock.now()
        ends = _kept_until(request)
        if now >= ends:
            uid = request["metadata"]["uid"]
            await self.carry_out([Delete(CERTIFICATE_SIGNING_REQUESTS, key, uid, why="kept long enough")])
            return None
        signer = self.kit.signer
        wanted = request["spec"]["signerName"] in _OURS and not (request.get("status") or {}).get("certificate")
        if signer is not None and wanted and _is(request, "Approved") and not _is(request, "Failed"):
            await self._sign(request, signer, now)
        return ends

    async def _sign(self, request: Object, signer: Signer, now: datetime) -> None:
        spec, status = request["spec"], dict(request.get("status") or {})
        seconds = min(int(spec.get("expirationSeconds") or _SECONDS_MAX), _SECONDS_MAX)
        try:
            signed = await signer.sign(base64.b64decode(spec["request"]), list(spec.get("usages") or ()), seconds, now)
            status["certificate"] = base64.b64encode(signed).decode()
        except ValueError as err:
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": str(err),
                "lastUpdateTime": to_time(now),
                "lastTransitionTime": to_time(now),
            }
            status["conditions"] = [*(status.get("conditions") or ()), failed]
        try:
            await self.client.replace(CERTIFICATE_SIGNING_REQUESTS, {**request, "status": status}, "status")
        except Conflict:
            return  # it changed: its event brings it back


def _is(request: Object, kind: str) -> bool:
    conditions = (request.get("status") or {}).get("conditions") or ()
    return any(each["type"] == kind and each.get("status", "True") == "True" for each in conditions)


def _kept_until(request: Object) -> datetime:
    settled = any(_is(request, kind) for kind in ("Approved", "Denied", "Failed"))
    return parse_time(request["metadata"]["creationTimestamp"]) + (_KEPT if settled else _KEPT_PENDING)
